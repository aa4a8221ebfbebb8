//! What the process does on signals.
//!
//! | signal | meaning |
//! | --- | --- |
//! | `SIGINT` | as `SIGTERM`; while we are leaving: leave at once |
//! | `SIGTERM` | say on `/readyz` that we leave; after `server.drain` take no new connections, finish what is under way, leave; the demo leaves at once |
//! | `SIGHUP` | read configuration and certificates again |
//! | `SIGUSR2` | start the program anew, as it is on disk now, and hand the sockets over to it |

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::edge::{Farewell, InFlight};
use crate::fleet::Fleet;
use crate::tasks::Ending;
use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use log::{error, info, warn};
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use prometheus::IntGauge;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

/// The new process reads its configuration and its store, then waits for the sockets.
const SUCCESSOR_WITHIN: Duration = Duration::from_secs(30);
/// Nothing under way for so long, and a stop is over: a client that had connected has sent its request.
const QUIET: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How to start the program anew.
#[derive(Debug, Clone)]
pub(super) struct Successor {
    /// The program by the name it was started with: after an update this is the new one.
    pub(super) program: PathBuf,
    pub(super) config: PathBuf,
    /// Where it waits for the sockets.
    pub(super) upgrade_socket: PathBuf,
}

/// Waits for a signal that ends this process.
#[derive(Clone)]
pub(super) struct Signals {
    pub(super) successor: Option<Successor>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) in_flight: InFlight,
    /// Callbacks that are being delivered.
    pub(super) delivering: IntGauge,
    /// Of the tasks that tell the store what was done.
    pub(super) ending: Ending,
    /// Ends connections with their next answer.
    pub(super) farewell: Farewell,
    /// What `/readyz` says; true once we are about to leave.
    pub(super) leaving: watch::Sender<bool>,
    /// How long everything goes on after that.
    pub(super) drain: Duration,
    /// How long requests may take after that.
    pub(super) grace: Duration,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let [mut int, mut term, mut usr2] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::user_defined2()]
                .map(|kind| signal(kind).expect("signals can be listened to"));
        loop {
            tokio::select! {
                _ = int.recv() => {
                    if self.successor.is_some() {
                        info!("SIGINT: what is under way is finished first; another one leaves at once");
                    }
                    return self.leave(int).await;
                }
                _ = term.recv() => return self.leave(int).await,
                _ = usr2.recv() => match self.start_successor().await {
                    Ok(()) => {
                        self.fleet.set_overlapping(true);
                        self.farewell.say();
                        return ShutdownSignal::GracefulUpgrade;
                    }
                    Err(trouble) => error!("no upgrade, everything goes on as it is: {trouble:#}"),
                },
            }
        }
    }
}

impl Signals {
    /// Whether a process that ended now would cut something off.
    fn is_busy(&self) -> bool {
        self.in_flight.count() > 0 || self.delivering.get() > 0 || !self.fleet.under_way.is_empty()
    }

    /// Waits until it is time to stop.
    async fn leave(&self, mut int: Signal) -> ShutdownSignal {
        // The demo stops its nodes and removes its directory when pingora has ended.
        if self.successor.is_none() {
            return ShutdownSignal::FastShutdown;
        }
        self.farewell.say();
        self.leaving.send_replace(true);
        if !self.drain.is_zero() {
            info!("not ready any more; the listeners close in {:?}", self.drain);
            tokio::select! {
                () = sleep(self.drain) => {}
                _ = int.recv() => {
                    info!("SIGINT: leaving at once");
                    return ShutdownSignal::FastShutdown;
                }
            }
        }
        tokio::spawn(leave_when_idle(self.clone()));
        // Pingora listens to no more signals by then.
        tokio::spawn(async move {
            if int.recv().await.is_some() {
                info!("SIGINT: leaving at once");
                exit();
            }
        });
        ShutdownSignal::GracefulTerminate
    }

    /// Starts the new process and waits until it is there for the sockets.
    async fn start_successor(&self) -> anyhow::Result<()> {
        let Some(successor) = &self.successor else { bail!("the demo cannot be upgraded") };
        info!("upgrade: checking {}", successor.program.display());
        let checked = tokio::process::Command::new(&successor.program)
            .args(["check", "-c"])
            .arg(&successor.config)
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| format!("starting {}", successor.program.display()))?;
        ensure!(
            checked.status.success(),
            "the new program does not accept the configuration: {}",
            String::from_utf8_lossy(&checked.stderr).trim()
        );
        if let Err(missing) = std::fs::remove_file(&successor.upgrade_socket)
            && missing.kind() != std::io::ErrorKind::NotFound
        {
            bail!("{} is in the way: {missing}", successor.upgrade_socket.display());
        }
        start(successor)?;
        wait_for(&successor.upgrade_socket).await
    }
}

/// Leaves as soon as nothing is under way. Pingora by itself would sleep through all of `server.grace`,
/// which then is only the longest that a stop takes. What was acknowledged is on the disk, and what was learned of it
/// is told the store first.
async fn leave_when_idle(all: Signals) {
    let end = Instant::now() + all.grace;
    let until_quiet = async || {
        let mut quiet_since = Instant::now();
        while quiet_since.elapsed() < QUIET {
            sleep(LOOK_EVERY).await;
            if all.is_busy() {
                quiet_since = Instant::now();
            }
        }
    };
    match timeout_at(end, until_quiet()).await {
        Ok(()) => info!("nothing is under way any more"),
        Err(_elapsed) if all.is_busy() => {
            warn!("what is still under way after server.grace is cut off");
        }
        Err(_elapsed) => {}
    }
    all.ending.come().await;
    // That may have taken its time, and somebody have come meanwhile.
    while all.is_busy() && Instant::now() < end {
        sleep(LOOK_EVERY).await;
    }
    exit();
}

fn exit() -> ! {
    log::logger().flush();
    std::process::exit(i32::from(super::DONE))
}

/// Starts it through a shell that leaves at once: systemd takes only a process as the new main one that
/// is not a child of the old.
fn start(successor: &Successor) -> anyhow::Result<()> {
    let status = Command::new("/bin/sh")
        .args(["-c", r#""$0" serve --upgrade -c "$1" &"#])
        .args([&successor.program, &successor.config])
        .stdin(Stdio::null())
        .status()
        .context("starting a shell")?;
    ensure!(status.success(), "the shell that starts the new program ended with {status}");
    Ok(())
}

async fn wait_for(socket: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + SUCCESSOR_WITHIN;
    while !socket.exists() {
        ensure!(
            Instant::now() < deadline,
            "the new program did not ask for the sockets within {} s; its log says why",
            SUCCESSOR_WITHIN.as_secs()
        );
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Takes over the signals that would end the process before somebody waits for them.
pub(super) fn prepare(runtime: &tokio::runtime::Runtime) -> std::io::Result<()> {
    let _entered = runtime.enter();
    for kind in [SignalKind::hangup(), SignalKind::user_defined2()] {
        // Once taken over, a signal stays so for as long as the process lives.
        drop(signal(kind)?);
    }
    Ok(())
}

/// The signal to read the configuration again.
pub(super) fn hangup() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}
