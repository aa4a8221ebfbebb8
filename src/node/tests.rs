//! The client against raw servers that misbehave as nodes do.

mod answers;
mod failures;
mod keep_alive;
mod pool;
mod tls;
mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::*;

/// Long enough for a slow machine, short enough to notice a call that hangs.
const PLENTY: Duration = Duration::from_secs(20);

/// The timeout of calls that are meant to run into it.
const SHORT: Duration = Duration::from_millis(200);

const QUERY: &str = "meetingID=secret-room&checksum=0123";

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server that does with each connection what it is told; it ends when dropped.
struct Raw {
    url: Url,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Raw {
    /// `serve` is given each connection and its number, from 1. A connection closes when it returns.
    async fn start<S>(serve: impl Fn(usize, TcpStream) -> S + Send + 'static) -> Self
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/bigbluebutton/api", listener.local_addr().unwrap());
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(count.fetch_add(1, Ordering::SeqCst) + 1, stream));
            }
        });
        Self { url: Url::parse(&url).unwrap(), accepted, task }
    }

    /// One that sends the same bytes after each request and then closes.
    async fn says(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::start(move |_, mut stream| {
            let bytes = bytes.clone();
            async move {
                request(&mut stream).await;
                stream.write_all(&bytes).await.unwrap();
            }
        })
        .await
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    async fn get(&self, client: &Client) -> Result<Response, Error> {
        client.call(&self.url, "getMeetings", QUERY, None, PLENTY, 1000).await
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads the head of a request; `None` at the end of the connection.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

fn client() -> Client {
    Client::with_roots(ClientSettings::default(), RootCertStore::empty())
}

/// An error's label, once it is clear that nothing of it tells the query.
fn kind(error: &Error) -> &'static str {
    let first: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    let told: Vec<_> = causes.map(|error| format!("{error} {error:?}")).collect();
    let told = told.join(": ");
    assert!(!told.contains("secret-room") && !told.contains("checksum"), "{told}");
    assert!(Error::KINDS.contains(&error.kind()));
    error.kind()
}
