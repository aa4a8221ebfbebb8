//! `portico simulate load`: plays a trace against a running Portico, over the network, with simulated nodes behind it,
//! and says how well it has placed the meetings.
//!
//! `script.rs` reads the trace, `stage.rs` brings nodes and tenants into Portico and takes them away again, `player.rs`
//! plays, `front.rs` makes the calls of front ends and browsers, `tally.rs` counts; `progress.rs` says how far it is.

mod front;
mod player;
mod progress;
mod script;
mod stage;
mod tally;

use std::fmt::Display;
use std::fs::File;
use std::future::pending;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;
use super::{Access, Api, output, signing};
use crate::cli::simulate::PolicyName;
use crate::cli::{DONE, FAILED};
use crate::trace::score::Placement;
use front::Front;
use player::{Ended, Played, Player};
use script::Script;
use stage::Stage;

/// As shells have it for a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;
const MINUTE_MS: i64 = 60_000;
const MAX_SPEED: f64 = 10_000.0;
const MAX_RATE: f64 = 100_000.0;
const MOST_TIME: Duration = Duration::from_hours(7 * 24);

/// What is played, and how.
#[derive(Debug, Args)]
pub(in crate::cli) struct Wanted {
    /// The trace: CSV, or CSV packed with gzip; - is standard input
    #[arg(value_name = "TRACE")]
    trace: PathBuf,
    /// Where front ends reach Portico; without it `server.public_url` of the configuration file, or its first listener
    #[arg(long, visible_alias = "url", value_name = "URL")]
    server: Option<String>,
    /// How many times faster than it happened. What Portico expects of a meeting fades in real time all the same, which is
    /// as many times too slow for the trace, and so are its polls: scores at high speed are those of a slower Portico
    #[arg(long, value_name = "N", default_value = "60", value_parser = speed)]
    speed: f64,
    /// Leave out meetings that began before this time of the trace
    #[arg(long, value_name = "HH:MM", value_parser = time_of_day)]
    from: Option<i64>,
    /// End all meetings at this time of the trace
    #[arg(long, value_name = "HH:MM", value_parser = time_of_day)]
    until: Option<i64>,
    /// Requests to Portico in a second, at most; what has to wait for it is told as being behind
    #[arg(long, value_name = "N/s", default_value = "500/s", value_parser = rate)]
    rate: f64,
    /// Stop after so long, however far it is
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = max_time)]
    max_time: Duration,
    /// The policy of the cluster that is made for it
    #[arg(long, value_enum, default_value_t)]
    policy: PolicyName,
    /// Address that the simulated nodes listen on, where Portico reaches them
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = reachable)]
    bind: IpAddr,
    /// Write each placement to this file, for `tests/traces/score.py`
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.1..=MAX_SPEED).contains(speed));
    speed.ok_or_else(|| format!("write a number from 0.1 to {MAX_SPEED}, such as 60"))
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let rate = number.parse().ok().filter(|rate| (0.1..=MAX_RATE).contains(rate));
    rate.ok_or_else(|| format!("write a number from 0.1 to {MAX_RATE}, such as 500/s"))
}

fn max_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let is_sane = time <= MOST_TIME;
    is_sane.then_some(time).ok_or_else(|| "write a time of 7 days or less, such as 2h".to_owned())
}

/// Milliseconds since the trace's time 0.
fn time_of_day(text: &str) -> Result<i64, String> {
    let parsed = text.split_once(':').and_then(|(hours, minutes)| {
        let [hours, minutes] = [hours, minutes].map(|number| number.parse::<u8>().ok());
        Some((i64::from(hours?), i64::from(minutes?)))
    });
    match parsed {
        Some((hours, minutes)) if minutes < 60 && hours * 60 + minutes <= 24 * 60 => {
            Ok((hours * 60 + minutes) * MINUTE_MS)
        }
        _ => Err("write hours and minutes, from 00:00 to 24:00, such as 08:30".to_owned()),
    }
}

fn reachable(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_no_address| "is no IP address".to_owned())?;
    if address.is_unspecified() {
        return Err("Portico is told this address: write one of this machine".to_owned());
    }
    Ok(address)
}

/// Plays it, and takes everything away again, however it ends.
pub(super) async fn run(access: &Access, wanted: &Wanted) -> Result<u8, Failure> {
    let server = signing::server(access, wanted.server.as_deref())?;
    let script = Script::read(&wanted.trace, wanted.from, wanted.until)?;
    let log = wanted.log.as_deref().map(|path| (path, File::create(path)));
    let log = match log {
        Some((path, Err(error))) => {
            return Err(Failure::wrong(format_args!("{}: {error}", path.display())));
        }
        Some((path, Ok(file))) => Some((path, file)),
        None => None,
    };
    let api = Api::new(access)?;
    let mut front = Front::new(&server)?;
    front.reach().await?;
    let mut stop = Stop::listen()?;

    let mut stage = Stage::new(api);
    let policy = wanted.policy.to_possible_value();
    let policy = policy.as_ref().map_or("predictive", |policy| policy.get_name());
    let built = tokio::select! {
        built = Box::pin(stage.build(&script, policy, wanted.bind, &mut front)) => built.map(Some),
        () = stop.asked() => Ok(None),
    };
    let played = match built {
        Ok(Some(learned)) => {
            if learned.is_none() && !script.past.is_empty() {
                say(
                    "rooms have no history: this Portico takes none, and what it expects of meetings is what it \
                     learns from now on",
                );
            }
            let all = Player::new(&script, stage.nodes(), front, wanted.speed, wanted.rate);
            let played = Box::pin(all.play(wanted.max_time, stop.asked())).await;
            stage.note_placed(&played.placements);
            Ok(Some((played, learned)))
        }
        Ok(None) => Ok(None),
        Err(failure) => Err(failure),
    };
    say("taking nodes and tenants of the load away");
    let cleared = tokio::select! {
        cleared = Box::pin(stage.clear()) => cleared,
        () = stop.asked() => Err(stage.left()),
    };
    stage.stop().await;

    let Some((played, learned)) = (match played {
        Ok(played) => played,
        Err(failure) => {
            return Failure::together(
                [Some(failure), cleared.err()].into_iter().flatten().collect(),
            )
            .map(|()| FAILED);
        }
    }) else {
        return cleared.map(|()| INTERRUPTED);
    };
    let logged = log.map_or(Ok(()), |(path, file)| write_log(path, file, &played.placements));
    let code = match played.ended {
        Ended::AtTheEnd => DONE,
        Ended::ByTime => {
            say("--max-time is over: the scores are of what was played");
            FAILED
        }
        Ended::BySignal => {
            say("stopped: the scores are of what was played");
            INTERRUPTED
        }
    };
    let told = result(wanted.speed, policy, learned, &played);
    let told = told.and_then(|told| output::one(access.output, &told));
    // Whatever else went wrong, what is left in Portico is told.
    let failures = [logged, told, cleared].into_iter().filter_map(Result::err).collect();
    Failure::together(failures).map(|()| code)
}

/// Says it to whoever looks on. A terminal that is gone must not keep us from taking things away.
fn say(line: impl Display) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// What came of it: scores, or why there are none.
fn result(
    speed: f64,
    policy: &str,
    learned: Option<u64>,
    played: &Played,
) -> Result<Value, Failure> {
    let mut value = json!({
        "complete": played.ended == Ended::AtTheEnd,
        "policy": policy,
        "speed": speed,
        "past_meetings": learned.unwrap_or_default(),
    });
    match &played.figures {
        Ok(figures) => {
            value["scores"] = serde_json::to_value(figures).map_err(Failure::failed)?;
        }
        Err(why) => value["no_scores"] = why.to_string().into(),
    }
    played.tally.tell(&mut value);
    Ok(value)
}

fn write_log(path: &Path, file: File, placements: &[Placement]) -> Result<(), Failure> {
    let failed = |error: csv::Error| Failure::failed(format_args!("{}: {error}", path.display()));
    let mut csv = csv::Writer::from_writer(file);
    csv.write_record(["time_ms", "tenant", "meeting_id", "node"]).map_err(failed)?;
    for Placement { at_ms, room, node } in placements {
        let at_ms = at_ms.to_string();
        csv.write_record([&at_ms, &room.tenant, &room.meeting_id, node]).map_err(failed)?;
    }
    csv.flush().map_err(|error| failed(error.into()))
}

/// Whoever wants us to stop.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal is closed.
    hangup: Option<Signal>,
}

impl Stop {
    fn listen() -> Result<Self, Failure> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        let hangup = (!outlives_terminal()).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self { interrupt, terminate, hangup })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = hung_up(self.hangup.as_mut()) => {}
        }
    }
}

async fn hung_up(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => pending().await,
    }
}

/// Whether we were started so, as by `nohup`: to listen to the signal would undo it.
fn outlives_terminal() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first bit is of signal 1.
    ignored.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::score::Error;

    #[test]
    fn of_what_was_stopped_at_once_nothing_is_told_without_a_value() {
        let (figures, tally) = (Err(Error::Nobody), tally::Tally::default());
        let played = Played { ended: Ended::BySignal, placements: Vec::new(), figures, tally };
        let told = result(60.0, "predictive", None, &played).unwrap();
        let mut rows = Vec::new();
        output::flatten("", &told, &mut rows);
        assert!(rows.iter().all(|(_, value)| !value.is_empty()), "{rows:?}");
        let why = ("no_scores".to_owned(), "nobody was in any meeting".to_owned());
        assert!(rows.contains(&why), "{rows:?}");
    }

    #[test]
    fn words_of_the_command_line_are_read_or_refused() {
        assert_eq!(time_of_day("08:30"), Ok(510 * MINUTE_MS));
        assert_eq!(time_of_day("24:00"), Ok(1440 * MINUTE_MS));
        for wrong in ["8", "24:01", "08:60", "-1:00", "a:b", ""] {
            assert!(time_of_day(wrong).is_err(), "{wrong}");
        }
        assert_eq!((rate("500/s"), rate("2.5"), speed("60")), (Ok(500.0), Ok(2.5), Ok(60.0)));
        for wrong in ["0", "-1", "NaN", "inf", "1e9", "x", ""] {
            assert!(rate(wrong).is_err() && speed(wrong).is_err(), "{wrong}");
        }
        assert_eq!(max_time("7days"), Ok(MOST_TIME));
        for wrong in ["8days", "1000000years", "18446744073709551615s", "-1s", "1", ""] {
            assert!(max_time(wrong).is_err(), "{wrong}");
        }
        assert!(reachable("127.0.0.1").is_ok() && reachable("::1").is_ok());
        assert!(reachable("0.0.0.0").is_err() && reachable("here").is_err());
    }
}
