//! Child processes: started, measured through `/proc`, and gone when they are dropped.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

/// Linux counts CPU time in hundredths of a second, whatever the kernel's own tick is.
const TICK: Duration = Duration::from_millis(10);
const PAGE_BYTES: u64 = 4096;
/// How long a process may take to answer, or to become idle after its start.
const PATIENCE: Duration = Duration::from_mins(1);

/// A process that is killed when it is no longer needed.
pub(crate) struct Process(Child);

impl Process {
    /// Starts this program again, in another role.
    pub(crate) fn role<S: AsRef<OsStr>>(role: impl IntoIterator<Item = S>) -> anyhow::Result<Self> {
        let this = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(this);
        command.arg("role").args(role);
        Self::start(&mut command)
    }

    /// Starts a program. Its log goes nowhere, at the price of writing it.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(Self(command.spawn().with_context(|| format!("starting {command:?}"))?))
    }

    /// The first lines that it prints.
    pub(crate) fn lines(&mut self, count: usize) -> anyhow::Result<Vec<String>> {
        let output = self.0.stdout.take().context("its output is read once")?;
        let lines: Vec<_> = BufReader::new(output).lines().take(count).collect::<Result<_, _>>()?;
        if lines.len() < count {
            bail!("it ended early");
        }
        Ok(lines)
    }

    /// CPU time so far, its own and the kernel's for it.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = self.proc("stat")?;
        // The name before it, in parentheses, may have spaces.
        let (_, fields) = stat.rsplit_once(')').context("a line of /proc/PID/stat")?;
        let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u32>);
        let (Some(user), Some(system)) = (ticks.next(), ticks.next()) else {
            bail!("/proc/PID/stat is short")
        };
        Ok(TICK * (user? + system?))
    }

    /// Bytes of memory that it really has.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let statm = self.proc("statm")?;
        let pages = statm.split_whitespace().nth(1).context("/proc/PID/statm is short")?;
        Ok(pages.parse::<u64>()? * PAGE_BYTES)
    }

    /// The most memory that it ever had at once.
    pub(crate) fn peak_bytes(&self) -> anyhow::Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("/proc/PID/status has no VmHWM")?.parse::<u64>()? * 1024)
    }

    /// Waits until it does next to nothing.
    pub(crate) async fn until_idle(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut calm = 0;
        while calm < 3 {
            let before = self.cpu()?;
            sleep(Duration::from_millis(500)).await;
            calm = if self.cpu()?.saturating_sub(before) <= 2 * TICK { calm + 1 } else { 0 };
            if begun.elapsed() > PATIENCE {
                bail!("it is still busy after {PATIENCE:?}");
            }
        }
        Ok(())
    }

    /// Whether it still runs, for whoever gets no answer from it.
    pub(crate) fn state(&self) -> String {
        let stat = self.proc("stat").unwrap_or_default();
        match stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next()) {
            None | Some('Z') => format!("process {} has ended", self.0.id()),
            Some(_) => format!("process {} runs", self.0.id()),
        }
    }

    fn proc(&self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.0.id());
        std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only when it has ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// An address on which nobody listens at the moment.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("finding a free port")?;
    Ok(listener.local_addr()?)
}

/// Waits until somebody listens there.
pub(crate) async fn until_open(address: SocketAddr) -> anyhow::Result<()> {
    until(&format!("a listener on {address}"), || TcpStream::connect(address).is_ok()).await
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > PATIENCE {
            bail!("waited in vain for {what}");
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// One plain GET, the whole answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
