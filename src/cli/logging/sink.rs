//! Where log lines go: gathered for a moment, then written by a thread of its own.
//!
//! A busy edge writes a line per request. A system call for each was more than half of what a line cost,
//! and a reader of the log that has stalled would stall every request. So nobody but that thread ever
//! writes; whoever is about to leave waits for it, but not for ever.

use std::io::{self, ErrorKind, Write};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::{Condvar, Mutex};
use thread_local::ThreadLocal;

/// How long a line may wait for others.
const GATHER: Duration = Duration::from_millis(10);
/// So many bytes of one thread do not wait: a processor's cache holds them easily.
const ENOUGH_BYTES: usize = 32 * 1024;
/// Lines of one thread that wait for a reader that does not read, in bytes; what comes then is lost, and
/// counted.
const MAX_WAITING_BYTES: usize = 1024 * 1024;
/// A pipe takes so much in one piece, so that lines of two processes do not get into each other.
const PIECE_BYTES: usize = 4096;

/// Takes lines, and writes them a moment later.
///
/// Each thread has a place of its own for its lines, so that threads do not wait for each other. Those of
/// one thread stay in their order; between those of two there is none within the moment.
pub(super) struct Sink(Arc<Shared>);

#[derive(Default)]
struct Shared {
    of_threads: ThreadLocal<CachePadded<Mutex<Waiting>>>,
    /// The writer has found nothing, and sleeps until it is called.
    is_idle: AtomicBool,
    state: Mutex<State>,
    /// There is something to write, enough of it, or something that cannot wait.
    called: Condvar,
    /// A round is over.
    written: Condvar,
}

/// Lines of one thread.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Lines that found no room.
    lost: u64,
}

/// In rounds the writer takes what all threads have, and writes it.
#[derive(Default)]
struct State {
    is_called: bool,
    /// It is not to wait for more.
    is_hurried: bool,
    /// Rounds that have begun, and those that are over.
    begun: u64,
    over: u64,
}

impl Sink {
    /// Writes to `out` from a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let sink = Self(shared.clone());
        let mut out = Out { out, is_cut: false };
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            let mut bytes = Vec::new();
            let mut unwritten = 0;
            loop {
                let lost = shared.next_round(&mut bytes) + mem::take(&mut unwritten);
                if lost > 0 {
                    let told = format!("{lost} log lines were lost: nobody read them in time\n");
                    bytes.extend(told.into_bytes());
                }
                unwritten = out.write(&bytes, || shared.pause());
                shared.end_round();
            }
        })?;
        Ok(sink)
    }

    /// Takes a whole line.
    pub(super) fn push(&self, line: &str) {
        let mut is_new = false;
        let waiting = self.0.of_threads.get_or(|| {
            is_new = true;
            CachePadded::default()
        });
        let mut waiting = waiting.lock();
        let before = waiting.bytes.len();
        if before + line.len() > MAX_WAITING_BYTES {
            waiting.lost += 1;
        } else {
            waiting.bytes.extend_from_slice(line.as_bytes());
        }
        let is_enough = before < ENOUGH_BYTES && waiting.bytes.len() >= ENOUGH_BYTES;
        drop(waiting);
        // The writer says that it is idle before it looks for the last time at what a thread has: it has
        // found this line, or it is called. It may not know the first line of a thread.
        if is_enough || is_new || self.0.is_idle.load(Ordering::Relaxed) {
            let _begun = self.0.call(is_enough);
        }
    }

    /// What waits is to be written at once.
    pub(super) fn hurry(&self) {
        let _begun = self.0.call(true);
    }

    /// Waits until what was pushed is written, but no longer than this.
    pub(super) fn flush_within(&self, time: Duration) {
        // A round that has begun may have passed by the last line already.
        let awaited = self.0.call(true) + 1;
        let mut state = self.0.state.lock();
        self.0.written.wait_while_for(&mut state, |state| state.over < awaited, time);
    }
}

impl Shared {
    /// Wakes the writer; returns how many rounds have begun. The next one takes what is there now.
    fn call(&self, is_hurried: bool) -> u64 {
        let mut state = self.state.lock();
        state.is_called = true;
        state.is_hurried |= is_hurried;
        let begun = state.begun;
        drop(state);
        self.called.notify_one();
        begun
    }

    /// Waits for lines and puts them into `bytes`; returns how many were lost meanwhile.
    fn next_round(&self, bytes: &mut Vec<u8>) -> u64 {
        bytes.clear();
        // The next lines take the same room, unless it has grown beyond reason.
        bytes.shrink_to(2 * ENOUGH_BYTES);
        self.is_idle.store(true, Ordering::Relaxed);
        let is_empty = self.is_empty();
        let mut state = self.state.lock();
        if is_empty {
            self.called.wait_while(&mut state, |state| !state.is_called);
        }
        self.is_idle.store(false, Ordering::Relaxed);
        self.called.wait_while_for(&mut state, |state| !state.is_hurried, GATHER);
        let begun = state.begun + 1;
        *state = State { begun, over: state.over, ..State::default() };
        drop(state);
        let mut lost = 0;
        for own in &self.of_threads {
            let mut own = own.lock();
            bytes.extend_from_slice(&own.bytes);
            own.bytes.clear();
            own.bytes.shrink_to(2 * ENOUGH_BYTES);
            lost += mem::take(&mut own.lost);
        }
        lost
    }

    fn is_empty(&self) -> bool {
        self.of_threads.iter().all(|own| {
            let own = own.lock();
            own.bytes.is_empty() && own.lost == 0
        })
    }

    /// Lets the reader take a breath.
    fn pause(&self) {
        self.called.wait_for(&mut self.state.lock(), GATHER);
    }

    fn end_round(&self) {
        let mut state = self.state.lock();
        state.over = state.begun;
        drop(state);
        self.written.notify_all();
    }
}

struct Out<W> {
    out: W,
    /// The last line broke off.
    is_cut: bool,
}

impl<W: Write> Out<W> {
    /// Writes lines; returns how many could not be written.
    fn write(&mut self, lines: &[u8], pause: impl Fn()) -> u64 {
        let mut lost = 0;
        let mut rest = lines;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(end_of_piece(rest));
            lost += self.write_piece(piece, &pause);
            rest = behind;
        }
        lost
    }

    fn write_piece(&mut self, piece: &[u8], pause: &impl Fn()) -> u64 {
        let mut at = 0;
        if self.is_cut && self.out.write(b"\n").is_ok() {
            self.is_cut = false;
        }
        while at < piece.len() {
            match self.out.write(&piece[at..]) {
                Ok(bytes) if bytes > 0 => at += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody else who has this terminal or pipe has made it so.
                Err(error) if error.kind() == ErrorKind::WouldBlock => pause(),
                Ok(_) | Err(_) => {
                    self.is_cut |= at > 0;
                    let lost = memchr::memchr_iter(b'\n', &piece[at..]).count();
                    return u64::try_from(lost).unwrap_or(u64::MAX);
                }
            }
        }
        0
    }
}

/// Behind as many whole lines as go into one piece, or behind the first.
fn end_of_piece(lines: &[u8]) -> usize {
    let usual = &lines[..lines.len().min(PIECE_BYTES)];
    memchr::memrchr(b'\n', usual)
        .or_else(|| memchr::memchr(b'\n', lines))
        .map_or(lines.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Longer than anything here takes, shorter than a person waits for a test that hangs.
    const PLENTY: Duration = Duration::from_secs(20);

    /// Sends on what it is given, and takes no more than it is allowed.
    struct Reader(mpsc::SyncSender<Vec<u8>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn read_until(reader: &mpsc::Receiver<Vec<u8>>, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            text.push_str(str::from_utf8(&reader.recv_timeout(PLENTY).unwrap()).unwrap());
        }
        text
    }

    #[test]
    fn lines_come_out_by_themselves_in_order_and_in_whole_pieces() {
        let (sender, reader) = mpsc::sync_channel(1000);
        let sink = Sink::start(Reader(sender)).unwrap();
        let lines = [("first\n", 1), ("second\n", 5000), ("third\n", 1)];
        let expected: String = lines.map(|(line, times)| line.repeat(times)).concat();
        expected.split_inclusive('\n').for_each(|line| sink.push(line));
        let mut text = String::new();
        while text.len() < expected.len() {
            let piece = reader.recv_timeout(PLENTY).unwrap();
            assert!(piece.len() <= PIECE_BYTES && piece.ends_with(b"\n"));
            text.push_str(str::from_utf8(&piece).unwrap());
        }
        assert_eq!(text, expected);
    }

    #[test]
    fn the_last_words_are_written_before_the_end() {
        let (sender, reader) = mpsc::sync_channel(10);
        let sink = Sink::start(Reader(sender)).unwrap();
        sink.push("the last words\n");
        sink.flush_within(PLENTY);
        assert_eq!(reader.try_recv().unwrap(), b"the last words\n");
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_no_more() {
        let (sender, reader) = mpsc::sync_channel(0);
        let sink = Sink::start(Reader(sender)).unwrap();
        sink.push("held up\n");
        sink.flush_within(Duration::from_millis(50));
        let line = "x".repeat(1023) + "\n";
        for _ in 0..MAX_WAITING_BYTES / line.len() + 3 {
            sink.push(&line);
        }
        sink.flush_within(Duration::from_millis(1));
        let text = read_until(&reader, "in time\n");
        assert!(text.ends_with("\n3 log lines were lost: nobody read them in time\n"));
        // It goes on, also behind a line that never had room.
        sink.push(&"y".repeat(MAX_WAITING_BYTES + 1));
        assert_eq!(read_until(&reader, "in time\n").split(' ').next(), Some("1"));
        sink.push("on it goes\n");
        assert_eq!(read_until(&reader, "goes\n"), "on it goes\n");
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_cuts_no_other_line() {
        struct Full(Vec<u8>, [usize; 4]);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let room = std::mem::take(&mut self.1[0]).min(bytes.len());
                self.1.rotate_left(1);
                self.0.extend_from_slice(&bytes[..room]);
                match room {
                    0 => Err(ErrorKind::StorageFull.into()),
                    room => Ok(room),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut out = Out { out: Full(Vec::new(), [3, 0, 1, 99]), is_cut: false };
        assert_eq!(out.write(b"one\ntwo\n", || {}), 2);
        assert_eq!(out.write(b"three\n", || {}), 0);
        assert_eq!(String::from_utf8_lossy(&out.out.0), "one\nthree\n");
    }
}
