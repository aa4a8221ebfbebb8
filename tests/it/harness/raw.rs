//! A connection that sends any bytes and sees all that comes back.

use std::io;
use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http::Reply;
use super::wait::PATIENCE;

/// A TCP connection.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    /// Read, but not yet part of an answer.
    ahead: Vec<u8>,
}

impl Raw {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        Self { stream, ahead: Vec::new() }
    }

    /// Sends these bytes.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("the connection is open");
    }

    /// Sends these bytes, if the other side still takes them.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// Reads one answer with a `Content-Length`; the connection may be used further.
    ///
    /// # Errors
    /// When the connection ends before.
    pub(crate) async fn reply(&mut self) -> io::Result<Reply> {
        timeout(PATIENCE, self.read_reply()).await.expect("no answer in time")
    }

    /// Reads until the other side closes; a reset is an end too.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.ahead);
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        drop(read.expect("the connection stays open"));
        rest
    }

    async fn read_reply(&mut self) -> io::Result<Reply> {
        let head_len = loop {
            if let Some(at) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more().await?;
        };
        let head: Vec<u8> = self.ahead.drain(..head_len).collect();
        let head = String::from_utf8(head).expect("ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let status: StatusCode = status.parse().expect("a status");
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').expect("a header");
            let name: HeaderName = name.parse().expect("a name");
            headers
                .append(name, HeaderValue::from_bytes(value.trim().as_bytes()).expect("a value"));
        }
        let length = headers.get("content-length").map_or(0, |length| {
            length.to_str().expect("ASCII").parse::<usize>().expect("a number")
        });
        while self.ahead.len() < length {
            self.read_more().await?;
        }
        let body: Vec<u8> = self.ahead.drain(..length).collect();
        Ok(Reply { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    async fn read_more(&mut self) -> io::Result<()> {
        if self.stream.read_buf(&mut self.ahead).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}
