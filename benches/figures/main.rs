//! `make bench`: what Portico costs, beside bare pingora doing the same work, in one run on one machine.
//!
//! Everything that is measured is a process of its own: the release binary with a configuration file, a
//! bare pingora server (`bare.rs`), and the nodes (`nodes.rs`), for all of which this program starts
//! itself again. The load comes from here (`load.rs`). Portico and its baseline take turns, and the
//! median of the rounds counts, since other work on the machine is never evenly spread.
//!
//! A bound that is missed is printed, not an error: only what does not work at all ends with an exit
//! code. `docs/benchmarks.md` tells how to read the figures.

mod bare;
mod duel;
mod instances;
mod load;
mod memory;
mod nodes;
mod operators;
mod placement;
mod polling;
mod pool;
mod process;
mod recordings;
mod requests;
mod stores;
mod table;

#[path = "../../tests/it/harness/postgres.rs"]
#[expect(dead_code, reason = "tests do more with it")]
mod postgres;
#[path = "../../tests/it/harness/redis.rs"]
#[expect(dead_code, reason = "tests do more with it")]
mod redis;

use std::process::ExitCode;

use anyhow::{Context, bail};

use bare::Constant;
use table::Table;

/// The same as Portico's, so that it does not tell the two apart.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["role", role @ ..] => play(role),
        // Words choose among the figures; cargo adds a flag to them.
        [words @ .., "--bench"] | words => measure(words),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            table::note(&format!("the measurement failed: {trouble:#}"));
            ExitCode::FAILURE
        }
    }
}

/// What this program does when it has started itself.
fn play(role: &[&str]) -> anyhow::Result<()> {
    match role {
        ["nodes", count, meetings, attendees] => {
            nodes::serve(count.parse()?, meetings.parse()?, attendees.parse()?)
        }
        ["redirect", address, location] => bare::serve(address, Constant::redirect(location)?),
        ["bytes", address, file] => bare::serve(address, Constant::body(file)?),
        ["proxy", address, upstream] => bare::serve(address, Constant::Proxy(upstream.parse()?)),
        _ => bail!("no such role: {role:?}"),
    }
}

/// Takes all figures, or those whose name has one of `words` in it.
fn measure(words: &[&str]) -> anyhow::Result<()> {
    let is_asked = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(*word));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let mut table = Table::default();
    runtime.block_on(async {
        duel::measure(&mut table, &is_asked).await?;
        if is_asked("memory") {
            memory::measure(&mut table).await?;
        }
        if is_asked("polling") {
            polling::measure(&mut table).await?;
        }
        if is_asked("getRecordings") {
            recordings::measure(&mut table).await?;
        }
        if is_asked("metrics") {
            operators::metrics(&mut table).await?;
        }
        if is_asked("list") {
            operators::list(&mut table).await?;
        }
        if is_asked("placement") {
            placement::measure(&mut table)?;
        }
        if is_asked("instances") {
            instances::measure(&mut table).await?;
        }
        if is_asked("start") {
            stores::cold_start(&mut table).await?;
        }
        if is_asked("create") {
            stores::creates(&mut table).await?;
        }
        anyhow::Ok(())
    })?;
    table.print();
    Ok(())
}
