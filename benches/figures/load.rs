//! The load: a number of connections that are kept, each asking its next question when it has the answer
//! to the last. Plain TCP, so that asking costs little beside answering.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, timeout};

use crate::process::Process;

/// A server that does not answer within this time has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked, and how it is answered where all is well.
pub(crate) struct Questions {
    /// Whole requests; asked in turn, and again from the first.
    pub(crate) requests: Vec<Vec<u8>>,
    /// The beginning of each answer.
    pub(crate) expected: &'static str,
}

/// How long and from how many connections.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    /// Whether it keeps its core busy while it waits. Otherwise a server on this machine pays for waking it
    /// with every answer, and pays the more the faster the load is done with the last one.
    pub(crate) is_awake: bool,
}

/// A task that is always ready, so that the runtime never sleeps.
struct Awake(JoinHandle<()>);

impl Awake {
    fn keep() -> Self {
        Self(tokio::spawn(async {
            loop {
                yield_now().await;
            }
        }))
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a round of load has shown.
pub(crate) struct Round {
    elapsed: Duration,
    cpu: Duration,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Round {
    pub(crate) fn per_second(&self) -> f64 {
        count(self.latencies.len()) / self.elapsed.as_secs_f64()
    }

    /// CPU time of the server for one request.
    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / count(self.latencies.len())
    }

    /// The latency that so many of a hundred requests did not exceed.
    pub(crate) fn percentile_micros(&self, percent: usize) -> f64 {
        let last = self.latencies.len() - 1;
        self.latencies[last * percent / 100].as_secs_f64() * 1e6
    }
}

fn count(requests: usize) -> f64 {
    u32::try_from(requests).map_or(f64::INFINITY, f64::from)
}

impl Load {
    /// Puts it on a server.
    pub(crate) async fn on(
        self,
        server: &Process,
        address: SocketAddr,
        questions: &Questions,
    ) -> anyhow::Result<Round> {
        let _awake = self.is_awake.then(Awake::keep);
        let next = Arc::new(AtomicUsize::new(0));
        let (cpu, begun) = (server.cpu()?, Instant::now());
        let until = begun + self.duration;
        let connections =
            (0..self.connections).map(|_| converse(address, questions, next.clone(), until));
        let answered = try_join_all(connections).await;
        let mut latencies = answered.with_context(|| server.state())?.concat();
        let (elapsed, cpu) = (begun.elapsed(), server.cpu()?.saturating_sub(cpu));
        ensure!(!latencies.is_empty(), "nothing was answered");
        latencies.sort_unstable();
        Ok(Round { elapsed, cpu, latencies })
    }
}

async fn converse(
    address: SocketAddr,
    questions: &Questions,
    next: Arc<AtomicUsize>,
    until: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).await.context("connecting")?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut latencies = Vec::new();
    loop {
        let begun = Instant::now();
        if begun >= until {
            return Ok(latencies);
        }
        let turn = next.fetch_add(1, Ordering::Relaxed) % questions.requests.len();
        stream.write_all(&questions.requests[turn]).await?;
        let reading = read_answer(&mut stream, &mut buffer, questions.expected);
        timeout(ANSWER_TIMEOUT, reading).await.context("waiting for an answer")??;
        latencies.push(begun.elapsed());
    }
}

/// Reads an answer to its end, and forgets it.
async fn read_answer(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    expected: &str,
) -> anyhow::Result<()> {
    let mut filled = 0;
    let head_bytes = loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        ensure!(read > 0, "the connection was closed instead of an answer");
        filled += read;
        let end = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_bytes]);
    ensure!(head.starts_with(expected), "it answered otherwise than expected: {head}");
    let body_bytes = content_length(&head).context("an answer without its length")?;
    ensure!(
        !buffer[head_bytes..filled].starts_with(b"<response><returncode>FAILED"),
        "it refused: {}",
        String::from_utf8_lossy(&buffer[head_bytes..filled])
    );
    let mut left = body_bytes - (filled - head_bytes);
    while left > 0 {
        let room = left.min(buffer.len());
        let read = stream.read(&mut buffer[..room]).await?;
        ensure!(read > 0, "the connection was closed within an answer");
        left -= read;
    }
    Ok(())
}

fn content_length(head: &str) -> Option<usize> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })
}
