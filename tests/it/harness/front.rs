//! A front end that is called back: notes what it hears and answers as it was told to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// A real HTTP server on a free port of 127.0.0.1.
pub(crate) struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serves: AbortOnDropHandle<()>,
}

/// One request that it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// What it answered.
    pub(crate) status: u16,
    pub(crate) at: Instant,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Vec<Heard>>,
    answers: Mutex<VecDeque<u16>>,
}

impl Front {
    /// Answers with these statuses, one after the other, and then with 200 for ever.
    pub(crate) async fn start(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            heard: Mutex::default(),
            answers: Mutex::new(answers.iter().copied().collect()),
        });
        let router = Router::new().fallback(hear).with_state(shared.clone());
        let serves = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self { address, shared, _serves: AbortOnDropHandle::new(serves) }
    }

    /// A URL of this front end.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// The same, encoded for a query.
    pub(crate) fn encoded(&self, target: &str) -> String {
        form_urlencoded::byte_serialize(self.url(target).as_bytes()).collect()
    }

    /// What it has heard so far at paths that begin so.
    pub(crate) fn heard(&self, path: &str) -> Vec<Heard> {
        let heard = self.shared.heard.lock();
        heard.iter().filter(|heard| heard.target.starts_with(path)).cloned().collect()
    }
}

async fn hear(State(shared): State<Arc<Shared>>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let status = shared.answers.lock().pop_front().unwrap_or(200);
    let heard = Heard {
        method: parts.method,
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        status,
        at: Instant::now(),
    };
    shared.heard.lock().push(heard);
    StatusCode::from_u16(status).expect("a status")
}
