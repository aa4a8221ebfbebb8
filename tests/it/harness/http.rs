//! One request, one connection, the whole answer.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portico::bbb::Element;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::wait::PATIENCE;

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    /// The body as XML.
    pub(crate) fn xml(&self) -> Element {
        Element::parse(self.body.as_bytes())
            .unwrap_or_else(|error| panic!("{error} in the answer {}", self.body))
    }

    /// The text of an element directly in `<response>`; empty if there is none.
    pub(crate) fn text(&self, name: &str) -> String {
        self.xml().child_text(name).map(Cow::into_owned).unwrap_or_default()
    }

    /// The `messageKey`; empty if there is none.
    pub(crate) fn key(&self) -> String {
        self.text("messageKey")
    }

    /// Whether the `returncode` is `SUCCESS`.
    pub(crate) fn is_success(&self) -> bool {
        self.text("returncode") == "SUCCESS"
    }

    /// A header; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// The answer, unless it is a failure.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert!(self.status == 200 && self.is_success(), "{} {}", self.status, self.body);
        self
    }

    /// Status and body, which is most of an answer.
    pub(crate) fn seen(&self) -> (u16, &str) {
        (self.status.as_u16(), &self.body)
    }
}

/// Sends a request and reads its answer; `target` is path and query as they are to stand on the wire.
///
/// # Errors
/// When there is no answer.
pub(crate) async fn request(
    address: SocketAddr,
    method: Method,
    host: &str,
    target: &str,
    headers: &[(String, String)],
    body: impl Into<Bytes>,
) -> io::Result<Reply> {
    let body = body.into();
    let mut request = Request::builder().method(method.clone()).uri(target).header("host", host);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if method == Method::POST || !body.is_empty() {
        request = request.header("content-length", body.len());
    }
    let request = request.body(Full::new(body)).expect("a request");
    timeout(PATIENCE, async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let exchange = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            drop(sender);
            Ok::<_, hyper::Error>((head, body))
        };
        // The connection ends once its sender is dropped. An answer that came counts, however it ends.
        let (answer, _ended) = tokio::join!(exchange, connection);
        let (head, body) = answer.map_err(io::Error::other)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Reply { status: head.status, headers: head.headers, body })
    })
    .await
    .unwrap_or_else(|_| panic!("no answer to {method} {target} within {PATIENCE:?}"))
}
