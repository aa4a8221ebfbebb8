//! A connection to a node, driven by whoever uses it.
//!
//! hyper gives two halves that talk through channels: a sender of requests, and a future that does
//! all reading and writing. Spawned, as usual, that future is a task of its own, and every word
//! between the halves wakes a task, on another thread at worst. Here both stay together and the
//! caller's task polls them: what a half has to say is picked up right after the other was polled.
//! Dropped, in whatever state, the connection is closed.
//!
//! hyper's channels wake all the same, and a task that is woken while it runs is run once more for
//! nothing. [`Bell`] keeps those wake-ups from the task.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http::header::{HOST, HeaderValue};
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::unconstrained;

use super::connect::{Heard, Wire};

/// The body of a request.
pub(super) type Sending = BoxBody<Bytes, io::Error>;

/// Of each connection, exactly: a buffer that grows with the longest list of meetings would stay with
/// every kept connection. The head of an answer has to fit into it.
pub(super) const READ_BUFFER_BYTES: usize = 16 * 1024;

/// An open connection.
pub(super) struct Connection {
    sender: http1::SendRequest<Sending>,
    /// Does the reading and writing; `None` once the connection is over.
    io: Option<http1::Connection<TokioIo<Wire>, Sending>>,
    bell: Arc<Bell>,
    /// Rings the bell. hyper is never given another waker.
    waker: Waker,
    heard: Heard,
    host: HeaderValue,
    /// Whether it has been idle since an answer.
    kept: bool,
}

/// What became of a request.
pub(super) enum Sent {
    /// The head of the answer is here. The body is read with [`Connection::frame`].
    Answered(Response<Incoming>),
    /// A kept connection that the node had closed meanwhile. Nothing has been sent.
    Unsent(Request<Sending>),
    /// A kept connection that broke before the node said a word: it had given it up before it saw
    /// the request.
    Stale(hyper::Error),
    /// No answer.
    Failed(hyper::Error),
}

impl Connection {
    /// Speaks HTTP/1.1 over a new wire to a host.
    pub(super) async fn new(wire: Wire, host: HeaderValue) -> Result<Self, hyper::Error> {
        let heard = wire.heard();
        let (sender, io) = http1::Builder::new()
            .read_buf_exact_size(Some(READ_BUFFER_BYTES))
            .handshake(TokioIo::new(wire))
            .await?;
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        Ok(Self { sender, io: Some(io), bell, waker, heard, host, kept: false })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&mut self, mut request: Request<Sending>) -> Sent {
        request.headers_mut().insert(HOST, self.host.clone());
        self.heard.reset();
        // It becomes ready only through what is polled right before it, so it needs no waker. Nor
        // may it be put off for another turn, as tokio does to tasks that never wait.
        let mut answer = pin!(unconstrained(self.sender.try_send_request(request)));
        let answered = poll_fn(|cx| {
            self.drive(cx);
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await;
        match answered {
            Ok(response) => Sent::Answered(response),
            Err(mut refused) => match refused.take_message() {
                Some(request) if self.kept => Sent::Unsent(request),
                None if self.kept && !self.heard.anything() => Sent::Stale(refused.into_error()),
                _ => Sent::Failed(refused.into_error()),
            },
        }
    }

    /// The next piece of the answer's body; `None` at its end.
    pub(super) async fn frame(
        &mut self,
        body: &mut Incoming,
    ) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        let mut driven = false;
        poll_fn(|cx| {
            loop {
                let (polled, rung) = self.bell.muted(|| {
                    Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop()))
                });
                if polled.is_ready() {
                    // A ring is not missed: nobody waits before having driven again.
                    return polled;
                }
                if driven && !rung {
                    driven = false;
                    return Poll::Pending;
                }
                self.drive(cx);
                driven = true;
            }
        })
        .await
    }

    /// Whether another request may follow, found out without waiting. If so, the connection is now
    /// idle and wakes nobody, whatever happens to it.
    pub(super) fn try_rest(&mut self) -> bool {
        self.bell.forget();
        self.poll_io();
        self.kept = true;
        self.io.is_some() && self.sender.is_ready()
    }

    fn drive(&mut self, cx: &Context<'_>) {
        self.bell.listen(cx.waker());
        self.poll_io();
    }

    fn poll_io(&mut self) {
        if let Some(io) = &mut self.io
            // Without a farewell: who is done with a connection drops it.
            && io.poll_without_shutdown(&mut Context::from_waker(&self.waker)).is_ready()
        {
            // With it goes its end of the channels, so that a request or a body in them ends too.
            // What failed is told there.
            self.io = None;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The halves tell each other; whoever drops them need not hear of it.
        self.bell.forget();
    }
}

/// Between a connection and the task that uses it.
///
/// Open → `MUTED` while the task picks up what hyper has for it → open. `MUTED` → `RUNG` when hyper
/// wakes meanwhile: because the task picked something up, or because the socket has news.
#[derive(Default)]
struct Bell {
    /// Nobody while the connection is idle.
    task: AtomicWaker,
    state: AtomicU8,
}

const OPEN: u8 = 0;
const MUTED: u8 = 1;
const RUNG: u8 = 2;

impl Bell {
    fn listen(&self, task: &Waker) {
        self.task.register(task);
    }

    fn forget(&self) {
        self.task.take();
    }

    /// The second value is whether the bell was rung meanwhile. Then the connection has to be
    /// polled again.
    fn muted<T>(&self, work: impl FnOnce() -> T) -> (T, bool) {
        self.state.store(MUTED, Ordering::Release);
        let done = work();
        (done, self.state.swap(OPEN, Ordering::AcqRel) == RUNG)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let muted = self.state.compare_exchange(MUTED, RUNG, Ordering::AcqRel, Ordering::Acquire);
        if muted == Err(OPEN) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_muted_bell_tells_afterwards() {
        let (bell, count) = (Arc::new(Bell::default()), Arc::new(Count::default()));
        let ring = || Waker::from(bell.clone()).wake();
        let woken = || count.0.load(Ordering::SeqCst);
        bell.listen(&count.clone().into());
        assert!(!bell.muted(|| ()).1);
        assert!(bell.muted(ring).1);
        assert_eq!(woken(), 0);
        ring();
        assert_eq!(woken(), 1);
        bell.listen(&count.clone().into());
        bell.forget();
        ring();
        assert_eq!(woken(), 1);
    }
}
