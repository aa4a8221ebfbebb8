//! What watching 100 busy nodes costs.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::pool::{Pool, Size};
use crate::table::{Row, Table, note};

const SIZE: Size = Size { nodes: 100, meetings_per_node: 50, attendees_per_meeting: 10 };
/// The documented default.
const POLLING: &str = "{ interval: 5s }";
/// Four polls of each node.
const WINDOW: Duration = Duration::from_secs(20);
/// By then what the first poll has found is in the store.
const SETTLED: Duration = Duration::from_secs(10);

pub(crate) async fn measure(table: &mut Table) -> anyhow::Result<()> {
    note("polling");
    let pool = Pool::start(SIZE, POLLING).await?;
    sleep(SETTLED).await;
    let (cpu, begun) = (pool.portico.cpu()?, Instant::now());
    sleep(WINDOW).await;
    let cpu = pool.portico.cpu()?.saturating_sub(cpu).as_secs_f64();
    let per_minute = cpu * 60.0 / begun.elapsed().as_secs_f64();
    table.push(Row::told(
        "polling: 100 nodes, 50 meetings of 10 people each, every 5 s: CPU s/min",
        format!("{per_minute:.1}"),
        String::new(),
    ));
    Ok(())
}
