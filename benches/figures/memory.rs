//! Resident memory with no, many and very many meetings on 100 nodes.

use std::time::Duration;

use tokio::time::sleep;

use crate::pool::{Pool, Size};
use crate::table::{Bound, Row, Table, note};

/// Long enough that only the first poll is seen, whose whole answer a slow machine may take its time for.
const POLLING: &str = "{ interval: 10m, timeout: 60s }";
/// The allocator's own thread gives back what was freed ten seconds ago, and looks only every ten seconds while that is little.
const PAGES_RETURNED: Duration = Duration::from_secs(35);

pub(crate) async fn measure(table: &mut Table) -> anyhow::Result<()> {
    let mut empty = 0;
    for meetings_per_node in [0, 100, 1_000] {
        let size = Size { nodes: 100, meetings_per_node, attendees_per_meeting: 0 };
        note(&format!("memory with {} meetings", size.meetings()));
        let pool = Pool::start(size, POLLING).await?;
        pool.portico.until_idle().await?;
        sleep(PAGES_RETURNED).await;
        let resident = pool.portico.resident_bytes()?;
        let figure = format!("memory: 100 nodes, {} meetings", size.meetings());
        let portico = format!("{:.1} MiB", f64::from(u32::try_from(resident / 1024)?) / 1024.0);
        if size.meetings() == 0 {
            empty = resident;
            table.push(Row::told(figure, portico, String::new()));
            continue;
        }
        let growth = resident.saturating_sub(empty) / u64::try_from(size.meetings())?;
        table.push(Row {
            figure: format!("{figure}: KiB/meeting"),
            portico,
            baseline: String::new(),
            ratio: Some(f64::from(u32::try_from(growth)?) / 1024.0),
            bound: Bound::AtMost(2.0),
        });
    }
    Ok(())
}
