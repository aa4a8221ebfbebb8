//! Where log lines go: gathered for a moment, then written at once by a thread of its own.
//!
//! A busy edge writes a line per request. One system call for each would cost as much as placing a
//! meeting, and a reader of the log that has stalled would stall every request.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// How long a line may wait for others.
const GATHER: Duration = Duration::from_millis(10);
/// Lines that wait for a reader that does not read, in bytes; what comes then is lost, and counted.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// Takes lines, and writes them a moment later.
pub(super) struct Sink(Arc<Shared>);

struct Shared {
    waiting: Mutex<Lines>,
    filled: Condvar,
    /// Held while lines are written, so that they stay in order.
    out: Mutex<Box<dyn Write + Send>>,
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    lost: u64,
}

impl Sink {
    /// Writes to `out` from a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(out: Box<dyn Write + Send>) -> io::Result<Self> {
        let sink = Self::new(out);
        let shared = sink.0.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            loop {
                let mut waiting = shared.waiting.lock();
                while waiting.is_empty() {
                    shared.filled.wait(&mut waiting);
                }
                // Only the first line gives notice, so this waits for the others.
                shared.filled.wait_for(&mut waiting, GATHER);
                drop(waiting);
                shared.write_out(shared.out.lock());
            }
        })?;
        Ok(sink)
    }

    fn new(out: Box<dyn Write + Send>) -> Self {
        let (waiting, filled) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { waiting, filled, out: Mutex::new(out) }))
    }

    /// Takes a whole line.
    pub(super) fn push(&self, line: &str) {
        let mut waiting = self.0.waiting.lock();
        if waiting.bytes.len() + line.len() > MAX_WAITING_BYTES {
            waiting.lost += 1;
            return;
        }
        let is_first = waiting.is_empty();
        waiting.bytes.extend_from_slice(line.as_bytes());
        drop(waiting);
        if is_first {
            self.0.filled.notify_one();
        }
    }

    /// Writes what waits now, if what is being written meanwhile is done within this time.
    pub(super) fn flush_within(&self, time: Duration) {
        if let Some(out) = self.0.out.try_lock_for(time) {
            self.0.write_out(out);
        }
    }
}

impl Lines {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.lost == 0
    }
}

impl Shared {
    fn write_out(&self, mut out: MutexGuard<'_, Box<dyn Write + Send>>) {
        let Lines { bytes, lost } = std::mem::take(&mut *self.waiting.lock());
        // Nobody is left to be told when even this cannot be written.
        out.write_all(&bytes).ok();
        if lost > 0 {
            writeln!(out, "{lost} log lines were lost: nobody read them in time").ok();
        }
        // The next lines take the same room, unless it has grown beyond reason.
        let mut waiting = self.waiting.lock();
        if waiting.bytes.capacity() == 0 && bytes.capacity() <= MAX_WAITING_BYTES / 16 {
            let mut bytes = bytes;
            bytes.clear();
            waiting.bytes = bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what it is given; can be held up.
    #[derive(Clone, Default)]
    struct Reader(Arc<Mutex<Vec<u8>>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_by_themselves_and_in_order() {
        let reader = Reader::default();
        let sink = Sink::start(Box::new(reader.clone())).unwrap();
        let lines = [("first\n", 1), ("second\n", 500), ("third\n", 1)];
        let expected: String = lines.map(|(line, times)| line.repeat(times)).concat();
        for line in expected.split_inclusive('\n') {
            sink.push(line);
        }
        while reader.0.lock().len() < expected.len() {
            thread::yield_now();
        }
        assert_eq!(String::from_utf8_lossy(&reader.0.lock()), expected);
    }

    #[test]
    fn what_waits_is_written_when_it_must_be() {
        let reader = Reader::default();
        let sink = Sink::new(Box::new(reader.clone()));
        sink.push("the last words\n");
        assert!(reader.0.lock().is_empty());
        sink.flush_within(Duration::ZERO);
        assert_eq!(*reader.0.lock(), b"the last words\n");
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_no_more() {
        let reader = Reader::default();
        let sink = Sink::new(Box::new(reader.clone()));
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..MAX_WAITING_BYTES / line.len() + 3 {
            sink.push(&line);
        }
        sink.flush_within(Duration::ZERO);
        let written = reader.0.lock();
        assert!(written.ends_with(b"\n3 log lines were lost: nobody read them in time\n"));
        assert!(written.len() < MAX_WAITING_BYTES + 100);
    }
}
