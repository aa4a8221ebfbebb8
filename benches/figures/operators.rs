//! What operators cost: a scrape of `/metrics`, joins while there is one every second, and a long list over the API.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use portico::bbb::jwt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::duel::median;
use crate::load::Load;
use crate::pool::{Plan, Pool, Size};
use crate::process::get;
use crate::requests;
use crate::table::{Bound, Row, Table, note};

/// A scrape finds 1,000 nodes and 200 tenants.
const SIZE: Size = Size { nodes: 1_000, meetings_per_node: 1, attendees_per_meeting: 10 };
const TENANTS: usize = 200;
/// 10,000 meetings.
const LISTED: Size = Size { nodes: 100, meetings_per_node: 100, attendees_per_meeting: 10 };
/// Long enough that only the first poll is seen.
const POLLING: &str = "{ interval: 10m, timeout: 60s }";
const KEY: &str = "a-key-that-signs-tokens-for-measurements-only";
const TURNS: usize = 20;
const ROUNDS: usize = 5;
const BUSY: Load = Load { connections: 16, duration: Duration::from_secs(3), is_awake: true };
const SCRAPE_EVERY: Duration = Duration::from_secs(1);
/// The allocator gives freed pages back after ten seconds.
const PAGES_RETURNED: Duration = Duration::from_secs(12);

/// A scrape, and joins meanwhile.
pub(crate) async fn metrics(table: &mut Table) -> anyhow::Result<()> {
    note("a scrape of /metrics, and joins while there is one every second");
    let mut plan = Plan::new(SIZE, POLLING)?;
    for number in 1..TENANTS {
        let secret = requests::SECRET;
        writeln!(
            plan.tenant,
            "  - slug: tenant{number:03}x\n    cluster_group: default\n    \
             secrets: [{{ sub_id: 0, secret: {secret} }}]"
        )?;
    }
    let pool = plan.start().await?;
    pool.portico.until_idle().await?;
    let (mut times, mut bytes) = (Vec::new(), 0);
    let cpu = pool.portico.cpu()?;
    for _ in 0..TURNS {
        let begun = Instant::now();
        bytes = get(pool.admin, "/metrics")?.len();
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let cpu = pool.portico.cpu()?.saturating_sub(cpu);
    let name = format!("metrics: {} nodes, {TENANTS} tenants", SIZE.nodes);
    table.push(Row::told(
        format!("{name}: time"),
        format!("{:.1} ms", median(times)),
        String::new(),
    ));
    let each = cpu.as_secs_f64() * 1e3 / f64::from(u32::try_from(TURNS)?);
    table.push(Row::told(format!("{name}: CPU"), format!("{each:.1} ms"), String::new()));
    table.push(Row::told(format!("{name}: bytes"), format!("{} KiB", bytes / 1024), String::new()));
    joins(&pool, table).await
}

/// The same Portico, turn by turn scraped and left alone.
async fn joins(pool: &Pool, table: &mut Table) -> anyhow::Result<()> {
    let questions = requests::joins(SIZE.meetings());
    let (mut watched, mut alone, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let admin = pool.admin;
        // A thread of its own: the load must not wait for it.
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let asking = std::thread::spawn(move || {
            let mut asked = 0_u32;
            while stopped.try_recv().is_err() {
                let begun = Instant::now();
                get(admin, "/metrics")?;
                asked += 1;
                let rest = SCRAPE_EVERY.saturating_sub(begun.elapsed());
                if stopped.recv_timeout(rest).is_ok() {
                    break;
                }
            }
            anyhow::Ok(asked)
        });
        let with = BUSY.on(&pool.portico, pool.public, &questions).await?.per_second();
        stop.send(()).ok();
        let count = asking.join().ok().context("the scraper has panicked")??;
        ensure!(count >= 2, "there were {count} scrapes only");
        let without = BUSY.on(&pool.portico, pool.public, &questions).await?.per_second();
        // The first is the warm-up.
        if round > 0 {
            watched.push(with);
            alone.push(without);
            ratios.push(with / without);
        }
    }
    table.push(Row {
        figure: "join with a scrape every second, against without: requests/s".to_owned(),
        portico: format!("{:.0}", median(watched)),
        baseline: format!("{:.0}", median(alone)),
        ratio: Some(median(ratios)),
        bound: Bound::AtLeast(0.95),
    });
    Ok(())
}

/// All meetings by pages of a thousand.
pub(crate) async fn list(table: &mut Table) -> anyhow::Result<()> {
    note("a list of 10,000 meetings over the API");
    let mut plan = Plan::new(LISTED, POLLING)?;
    plan.settings = format!("api: {{ jwt_secret: {KEY} }}\n");
    let pool = plan.start().await?;
    pool.portico.until_idle().await?;
    sleep(PAGES_RETURNED).await;
    let (before, mut times) = (pool.portico.peak_bytes()?, Vec::new());
    for _ in 0..TURNS {
        let begun = Instant::now();
        let listed = list_all(pool.admin)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(listed == LISTED.meetings(), "{listed} meetings were listed");
    }
    let name = format!("list of {} meetings, 10 pages", LISTED.meetings());
    table.push(Row::told(
        format!("{name}: time"),
        format!("{:.0} ms", median(times)),
        String::new(),
    ));
    let mib = |bytes: u64| {
        let kib = u32::try_from(bytes / 1024).map_or(f64::INFINITY, f64::from);
        format!("{:.1} MiB", kib / 1024.0)
    };
    let after = pool.portico.peak_bytes()?;
    table.push(Row::told(format!("{name}: peak memory, before"), mib(after), mib(before)));
    Ok(())
}

fn list_all(admin: SocketAddr) -> anyhow::Result<usize> {
    let claims = json!({"sub": "bench", "jti": "bench", "scope": "portico:operator"});
    let token = jwt::hs384(&claims, KEY);
    let (mut listed, mut cursor) = (0, String::new());
    loop {
        let mut stream = TcpStream::connect(admin)?;
        write!(
            stream,
            "GET /api/portico/v1/meetings?limit=1000{cursor} HTTP/1.1\r\nHost: localhost\r\n\
             Authorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let page: Value = serde_json::from_str(body)?;
        listed += page["items"].as_array().map_or(0, Vec::len);
        let Some(next) = page["next"].as_str() else { return Ok(listed) };
        cursor = format!("&cursor={next}");
    }
}
