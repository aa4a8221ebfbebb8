//! A list of recordings that comes from many nodes.

use std::time::Duration;

use crate::load::Load;
use crate::pool::{Pool, Size};
use crate::requests;
use crate::table::{Row, Table, note};

const SIZE: Size = Size { nodes: 20, meetings_per_node: 1, attendees_per_meeting: 0 };
/// The documented default.
const POLLING: &str = "{ interval: 5s }";
/// One front end asks, again and again.
const LOAD: Load = Load { connections: 1, duration: Duration::from_secs(10), is_awake: false };

pub(crate) async fn measure(table: &mut Table) -> anyhow::Result<()> {
    note("getRecordings");
    let pool = Pool::start(SIZE, POLLING).await?;
    pool.portico.until_idle().await?;
    let before = pool.portico.peak_bytes()?;
    let round = LOAD.on(&pool.portico, pool.public, &requests::recordings()).await?;
    let peak = pool.portico.peak_bytes()?;
    let figure = "getRecordings: 20 nodes, 500 recordings each";
    let mib = |bytes: u64| anyhow::Ok(f64::from(u32::try_from(bytes / 1024)?) / 1024.0);
    for (what, value) in [
        ("time", format!("{:.0} ms", round.percentile_micros(50) / 1000.0)),
        ("CPU ms/request", format!("{:.0}", round.cpu_micros() / 1000.0)),
        ("peak memory", format!("{:.1} MiB", mib(peak)?)),
        ("peak memory before", format!("{:.1} MiB", mib(before)?)),
    ] {
        table.push(Row::told(format!("{figure}: {what}"), value, String::new()));
    }
    Ok(())
}
