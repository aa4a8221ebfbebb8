//! Logging through `log` and `env_logger`, to standard error.

mod sink;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::thread;
use std::time::{Duration, SystemTime};

use env_logger::{Builder, Env, Logger};
use log::{Level, LevelFilter, Log, Metadata, Record};

use sink::Sink;

/// At its end the program waits so long for whoever reads its log.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Room that a thread keeps for its next line.
const USUAL_LINE_BYTES: usize = 4096;

/// `RUST_LOG` chooses, `info` is the default, in the demo `warn` and the access log.
///
/// # Errors
/// When the system gives no thread for it.
pub(super) fn init(is_demo: bool) -> io::Result<()> {
    let default = if is_demo { "warn,portico::access=info" } else { "info" };
    let sink = Sink::start(io::stderr())?;
    let chosen = Builder::from_env(Env::default().default_filter_or(default)).build();
    log::set_max_level(chosen.filter());
    log::set_boxed_logger(Box::new(Lines { chosen, sink })).map_err(io::Error::other)
}

/// The most that a module may say, whatever is chosen.
///
/// The libraries below us stay at `warn`, also where `RUST_LOG` asks for more of everything: at `debug`
/// pingora writes whole request heads, with checksums and names of people, and tokio-postgres all that
/// goes into a row. Pingora's balancer only repeats what our own polling has said.
fn most_of(target: &str) -> LevelFilter {
    let is_of = |names: &[&str]| names.iter().any(|name| target.starts_with(name));
    if target.starts_with("portico") {
        LevelFilter::Trace
    } else if is_of(&["pingora_load_balancing"]) {
        LevelFilter::Error
    } else if is_of(&["pingora", "hyper", "h2", "rustls", "tokio_postgres", "deadpool", "refinery"])
    {
        LevelFilter::Warn
    } else {
        LevelFilter::Trace
    }
}

/// `[time level target] text` for everything that is chosen.
struct Lines {
    chosen: Logger,
    sink: Sink,
}

thread_local! {
    /// Room for a line, kept for the next.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= most_of(metadata.target()) && self.chosen.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() > most_of(record.target()) || !self.chosen.matches(record) {
            return;
        }
        // What is logged while a line is made, by what it shows, or while a thread ends, gets a line of
        // its own.
        let made = LINE.try_with(|kept| {
            kept.try_borrow_mut().map(|mut line| self.write(record, &mut line)).is_ok()
        });
        if made != Ok(true) {
            self.write(record, &mut String::new());
        }
        // Others may wait for more; this one may be the last. The main thread has nothing else to do than
        // to start and to end the program.
        if record.level() == Level::Error {
            self.sink.hurry();
            if thread::current().name() == Some("main") {
                self.flush();
            }
        }
    }

    fn flush(&self) {
        self.sink.flush_within(LAST_WORDS_WITHIN);
    }
}

/// Waits for the log when the program ends, also by a panic.
pub(super) struct LastWords;

impl Drop for LastWords {
    fn drop(&mut self) {
        log::logger().flush();
    }
}

impl Lines {
    fn write(&self, record: &Record<'_>, line: &mut String) {
        line.clear();
        #[expect(clippy::disallowed_methods, reason = "a line tells when it was written")]
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let level = match record.level() {
            Level::Error => "ERROR",
            Level::Warn => "WARN ",
            Level::Info => "INFO ",
            Level::Debug => "DEBUG",
            Level::Trace => "TRACE",
        };
        let begun = write!(line, "[{time}");
        line.extend([" ", level, " ", record.target(), "] "]);
        let head_bytes = line.len();
        let written = line.write_fmt(*record.args());
        debug_assert!(begun.is_ok() && written.is_ok(), "a String takes everything");
        // A text cannot look like another entry, nor play with the terminal.
        let is_control = |c: char| c.is_control() && c != '\t';
        let text = line.get(head_bytes..).unwrap_or_default();
        if !is_plain(text) && text.contains(is_control) {
            let text = line.split_off(head_bytes);
            for c in text.chars() {
                match c {
                    '\n' => line.push_str("\n    "),
                    c if is_control(c) => line.extend(c.escape_default()),
                    c => line.push(c),
                }
            }
        }
        line.push('\n');
        self.sink.push(line);
        if line.capacity() > USUAL_LINE_BYTES {
            *line = String::new();
        }
    }
}

/// Whether a text has nothing but what can be seen, in plain ASCII: nearly every one.
fn is_plain(text: &str) -> bool {
    // Without an early end it takes many bytes at a time.
    text.bytes().fold(true, |is_plain, byte| is_plain & (b' '..0x7f).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libraries_know_of_requests_is_not_logged() {
        for (target, most) in [
            ("pingora_core::protocols::http", LevelFilter::Warn),
            ("pingora", LevelFilter::Warn),
            ("hyper_util::client", LevelFilter::Warn),
            ("pingora_load_balancing", LevelFilter::Error),
            ("tokio_postgres::query", LevelFilter::Warn),
            ("portico::access", LevelFilter::Trace),
            ("pingora_pool::connection", LevelFilter::Warn),
            ("axum::serve", LevelFilter::Trace),
        ] {
            assert_eq!(most_of(target), most, "{target}");
        }
    }
}
