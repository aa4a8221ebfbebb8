//! Request bodies: forms are read whole, slides are streamed to the node.
//!
//! Of a slides body the first part is kept, so that a create can still go to another node when the first
//! one cannot be reached; the rest passes through a short channel and is never held whole.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use parking_lot::Mutex;
use pingora_proxy::Session;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::bbb;
use crate::node::RequestBody;

/// A form is all parameters; the longest that front ends send (`groups`, welcome texts) are far below.
pub(super) const MAX_FORM_BYTES: usize = 1024 * 1024;
/// What is kept of a slides body for another try. Most uploads by URL fit whole.
const KEPT_BYTES: usize = 256 * 1024;
/// Chunks under way between the front end and the node.
const CHUNKS_UNDER_WAY: usize = 8;
/// A whole upload must be in by then. 64 MiB take 120 s at half a megabyte a second.
const UPLOAD_DEADLINE: Duration = Duration::from_mins(2);
/// A body of ours waits for nobody: a megabyte to a node, or what the node fetches from us meanwhile.
const OWN_DEADLINE: Duration = Duration::from_secs(15);
/// What is read and thrown away after an early answer, so that the connection stays usable: as much again
/// as the default of `limits.max_body`.
const DRAINED_BYTES: usize = 128 * 1024 * 1024;

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// More than `limits.max_body`.
    TooLarge,
    /// Not in by its deadline.
    TooSlow,
    /// The client went away.
    Gone,
    /// Others have taken what there is for bodies together.
    NoRoom,
}

/// Asks for the body where the client waits to be asked (`Expect: 100-continue`).
pub(super) async fn invite(session: &mut Session) {
    if waits_for_invitation(session) {
        // Pingora would take the invitation for an answer before the body is in, and close.
        session.set_close_on_response_before_downstream_finish(false);
        // A client that is gone by now shows when its body is read.
        drop(session.write_continue_response().await);
        session.set_close_on_response_before_downstream_finish(true);
    }
}

fn waits_for_invitation(session: &Session) -> bool {
    session
        .req_header()
        .headers
        .get(header::EXPECT)
        .is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Reads a whole body of at most `max` bytes.
pub(super) async fn read_whole(
    session: &mut Session,
    max: usize,
    within: Duration,
) -> Result<Vec<u8>, Broken> {
    let mut whole = Vec::new();
    let deadline = Instant::now() + within;
    while let Some(chunk) = next_chunk(session, deadline).await? {
        if whole.len() + chunk.len() > max {
            return Err(Broken::TooLarge);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

/// The same within a common bound: each KiB takes a permit of `memory` when it is needed, so that a body which
/// is announced but does not come holds nothing. The permits are to be kept for as long as the bytes.
pub(super) async fn read_whole_within<'m>(
    session: &mut Session,
    max: usize,
    within: Duration,
    memory: &'m Semaphore,
) -> Result<(Vec<u8>, Option<SemaphorePermit<'m>>), Broken> {
    let (mut whole, mut held) = (Vec::new(), None::<SemaphorePermit<'m>>);
    let deadline = Instant::now() + within;
    while let Some(chunk) = next_chunk(session, deadline).await? {
        let needed = whole.len() + chunk.len();
        if needed > max {
            return Err(Broken::TooLarge);
        }
        if needed > whole.capacity() {
            let room = needed.max(whole.capacity() * 2).min(max);
            let kib = room.div_ceil(1024) - held.as_ref().map_or(0, SemaphorePermit::num_permits);
            let more = memory.acquire_many(u32::try_from(kib).unwrap_or(u32::MAX));
            let Ok(Ok(more)) = timeout_at(deadline, more).await else { return Err(Broken::NoRoom) };
            match &mut held {
                Some(held) => held.merge(more),
                None => held = Some(more),
            }
            whole.reserve_exact(room - whole.len());
        }
        whole.extend_from_slice(&chunk);
    }
    Ok((whole, held))
}

/// Reads a body of at most `max` bytes to its end and keeps nothing of it.
pub(super) async fn skip(
    session: &mut Session,
    max: usize,
    within: Duration,
) -> Result<(), Broken> {
    let (mut skipped, deadline) = (0, Instant::now() + within);
    while let Some(chunk) = next_chunk(session, deadline).await? {
        skipped += chunk.len();
        if skipped > max {
            return Err(Broken::TooLarge);
        }
    }
    Ok(())
}

async fn next_chunk(session: &mut Session, deadline: Instant) -> Result<Option<Bytes>, Broken> {
    match timeout_at(deadline, session.downstream_session.read_request_body()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(_)) => Err(Broken::Gone),
        Err(_) => Err(Broken::TooSlow),
    }
}

/// Reads on after an early answer, a bounded bit. False if the client still sends then, or was never
/// asked to send: the connection cannot be used again.
pub(super) async fn drain(session: &mut Session, within: Duration) -> bool {
    if waits_for_invitation(session) {
        return false;
    }
    let deadline = Instant::now() + within;
    let mut drained = 0;
    while drained <= DRAINED_BYTES {
        match next_chunk(session, deadline).await {
            Ok(Some(chunk)) => drained += chunk.len(),
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
    false
}

type Tail = Arc<Mutex<Option<mpsc::Receiver<io::Result<Bytes>>>>>;

/// A slides body on its way to a node.
pub(super) struct Upload {
    content_type: Option<HeaderValue>,
    kept: Bytes,
    length: Option<u64>,
    /// What follows the kept part; `None` in the slot once a node has begun to read it.
    tail: Option<Tail>,
    within: Duration,
}

/// Moves the rest of a body from the client into the channel.
pub(super) struct Pump {
    sender: mpsc::Sender<io::Result<Bytes>>,
    read: usize,
    max: usize,
    deadline: Instant,
}

impl Upload {
    /// Reads the first part. If there is more, the pump has to run while the node is asked.
    pub(super) async fn begin(
        session: &mut Session,
        content_type: Option<HeaderValue>,
        length: Option<u64>,
        max: usize,
    ) -> Result<(Self, Option<Pump>), Broken> {
        let deadline = Instant::now() + UPLOAD_DEADLINE;
        let mut kept = BytesMut::new();
        while kept.len() < KEPT_BYTES {
            let Some(chunk) = next_chunk(session, deadline).await? else {
                let length = Some(kept.len() as u64);
                return Ok((
                    Self {
                        content_type,
                        kept: kept.freeze(),
                        length,
                        tail: None,
                        within: UPLOAD_DEADLINE,
                    },
                    None,
                ));
            };
            if kept.len() + chunk.len() > max {
                return Err(Broken::TooLarge);
            }
            kept.extend_from_slice(&chunk);
        }
        let (sender, receiver) = mpsc::channel(CHUNKS_UNDER_WAY);
        let pump = Pump { sender, read: kept.len(), max, deadline };
        let tail = Some(Arc::new(Mutex::new(Some(receiver))));
        Ok((
            Self { content_type, kept: kept.freeze(), length, tail, within: UPLOAD_DEADLINE },
            Some(pump),
        ))
    }

    /// A body of our own.
    pub(super) fn ours(content_type: HeaderValue, body: Bytes) -> Self {
        let length = Some(body.len() as u64);
        let content_type = Some(content_type);
        Self { content_type, kept: body, length, tail: None, within: OWN_DEADLINE }
    }

    /// The body, if all of it is here.
    pub(super) fn whole(&self) -> Option<Bytes> {
        self.is_whole().then(|| self.kept.clone())
    }

    /// Whether no node could read it as XML, as far as that can be seen.
    pub(super) fn is_broken_xml(&self) -> bool {
        self.is_whole() && bbb::is_broken_xml(&self.kept)
    }

    /// Whether some node may be unable to read it as XML. Of one that is not all here nothing is known, and so
    /// nothing is said against it.
    pub(super) fn may_be_broken_xml(&self) -> bool {
        self.is_whole() && !bbb::is_sound_xml(&self.kept)
    }

    /// How long a node may take longer for it than for a call without a body.
    pub(super) fn within(&self) -> Duration {
        self.within
    }

    /// Whether all of the body is here, so that it can be sent any number of times.
    pub(super) fn is_whole(&self) -> bool {
        self.tail.is_none()
    }

    /// Whether the body can still be sent from its beginning.
    pub(super) fn is_replayable(&self) -> bool {
        self.tail.as_ref().is_none_or(|tail| tail.lock().is_some())
    }

    /// The body for one try.
    pub(super) fn body(&self) -> RequestBody {
        let body = match &self.tail {
            None => Full::new(self.kept.clone()).map_err(|never| match never {}).boxed(),
            Some(tail) => BodyExt::boxed(Streamed {
                kept: Some(self.kept.clone()),
                slot: tail.clone(),
                tail: None,
            }),
        };
        RequestBody { content_type: self.content_type.clone(), body, length: self.length }
    }
}

impl Pump {
    /// Runs until the body is in or nobody wants more of it.
    ///
    /// # Cancel safety
    /// Dropping the future ends the body with an error for the node.
    pub(super) async fn run(mut self, session: &mut Session) -> Result<(), Broken> {
        loop {
            let broken = match next_chunk(session, self.deadline).await {
                Ok(None) => return Ok(()),
                Ok(Some(chunk)) => {
                    self.read += chunk.len();
                    if self.read <= self.max {
                        if self.sender.send(Ok(chunk)).await.is_err() {
                            return Ok(());
                        }
                        continue;
                    }
                    Broken::TooLarge
                }
                Err(broken) => broken,
            };
            // The node must not take what came so far for the whole.
            let cut =
                io::Error::new(io::ErrorKind::UnexpectedEof, "the front end's body broke off");
            drop(self.sender.send(Err(cut)).await);
            return Err(broken);
        }
    }
}

/// The kept part, then whatever the pump brings.
struct Streamed {
    kept: Option<Bytes>,
    slot: Tail,
    tail: Option<mpsc::Receiver<io::Result<Bytes>>>,
}

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(kept) = self.kept.take() {
            return Poll::Ready(Some(Ok(Frame::data(kept))));
        }
        if self.tail.is_none() {
            let receiver = self.slot.lock().take();
            self.tail = receiver;
        }
        match &mut self.tail {
            Some(tail) => {
                tail.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
            }
            None => Poll::Ready(Some(Err(io::Error::other("the body was sent to another node")))),
        }
    }
}
