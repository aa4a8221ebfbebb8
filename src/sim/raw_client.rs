//! The smallest HTTP/1.1 client that can see everything: one request, one connection, all bytes until the end.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bbb::{Algorithm, signed_query};
use crate::sim::Node;

/// An answer as text.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value))
    }

    /// The text of the first element of that name.
    pub(crate) fn element(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
    }
}

/// A signed GET.
pub(crate) async fn call(node: &Node, call: &str, query: &str) -> Answer {
    let query = signed_query(Algorithm::Sha256, call, query.as_bytes(), node.secret());
    get(node.address(), &format!("/bigbluebutton/api/{call}?{query}"), "").await.unwrap()
}

/// A GET with more header lines, each with its line end.
pub(crate) async fn get(address: SocketAddr, target: &str, headers: &str) -> io::Result<Answer> {
    send(address, "GET", target, headers, "").await
}

/// A POST of a body of that type.
pub(crate) async fn post(
    address: SocketAddr,
    target: &str,
    content_type: &str,
    body: String,
) -> io::Result<Answer> {
    let headers = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
    send(address, "POST", target, &headers, &body).await
}

async fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
