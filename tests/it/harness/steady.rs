//! A front end that keeps its connection, as those behind a busy web server do.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::client::Client;
use super::http::Reply;
use super::wait::PATIENCE;

/// One connection, opened when there is none. Nothing is sent twice: a request whose connection breaks before
/// its answer is in has failed.
#[derive(Debug)]
pub(crate) struct Steady {
    client: Client,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    _connection: AbortOnDropHandle<()>,
}

impl Steady {
    /// Speaks for this front end.
    pub(crate) fn new(client: Client) -> Self {
        Self { client, open: None }
    }

    /// Goes to another address from the next connection on.
    pub(crate) fn at(mut self, address: SocketAddr) -> Self {
        self.client.address = address;
        self
    }

    /// A signed GET.
    ///
    /// # Errors
    /// When there is no answer.
    pub(crate) async fn get(&mut self, call: &str, query: &str) -> io::Result<Reply> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(self.client.target(call, query))
            .header("host", &self.client.host)
            .body(Full::default())
            .expect("a request");
        let answer = timeout(PATIENCE, self.send(request)).await;
        let answer = answer.unwrap_or_else(|elapsed| Err(io::Error::other(elapsed)));
        if answer.is_err() {
            self.open = None;
        }
        answer
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> io::Result<Reply> {
        // A server that closes says so with its last answer, or by closing.
        let is_open = match &mut self.open {
            Some(open) => open.sender.ready().await.is_ok(),
            None => false,
        };
        if !is_open {
            self.open = Some(Open::connect(self.client.address).await?);
        }
        let open = self.open.as_mut().expect("just opened");
        let (head, body) =
            open.sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}

impl Open {
    async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(async move { drop(connection.await) });
        sender.ready().await.map_err(io::Error::other)?;
        Ok(Self { sender, _connection: AbortOnDropHandle::new(connection) })
    }
}
