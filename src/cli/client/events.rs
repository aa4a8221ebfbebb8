//! What has happened a moment ago, and what happens now.

use std::time::Duration;

use clap::Args;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::failure::{Failure, plain};
use super::output::{Column, Format};
use super::{Access, Api, api, output};

const COLUMNS: &[Column] = &[("AT", "/at"), ("KIND", "/kind"), ("TEXT", "/text")];
/// A server that says nothing for so long is gone: it says that it is there every 15 s.
const SILENCE: Duration = Duration::from_mins(1);
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// One event; they are far smaller.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// Which events.
#[derive(Debug, Args)]
pub(in crate::cli) struct Which {
    /// Go on with what happens from now on
    #[arg(short, long)]
    follow: bool,
    /// How many of the last ones; with --follow none, unless this is said
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: Option<u32>,
    /// Only those about this tenant
    #[arg(long, value_name = "SLUG")]
    tenant: Option<String>,
    /// Only those about this node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Only those whose kind begins so, such as node. or meeting.lost
    #[arg(long)]
    kind: Option<String>,
}

pub(super) async fn run(access: &Access, which: &Which) -> Result<(), Failure> {
    let api = Api::new(access)?;
    let sieve = [
        ("tenant", which.tenant.as_deref()),
        ("node", which.node.as_deref()),
        ("kind", which.kind.as_deref()),
    ];
    let query = api::query(sieve);
    if !which.follow {
        let limit = which.limit.unwrap_or(100);
        let mut list = api.get(&format!("/events?limit={limit}{query}")).await?.body;
        return output::list(access.output, COLUMNS, &api::list(&mut list, "items")?);
    }
    // From a place that is known, so that nothing is missed when the connection breaks before the first event.
    let before = match which.limit {
        None => None,
        Some(limit) => match api.get(&format!("/events?limit={limit}{query}")).await {
            Ok(told) => Some(told.body),
            // It names what is still to come. If that is not what is wrong, the stream is refused as well.
            Err(refused) if refused.status == Some(StatusCode::UNPROCESSABLE_ENTITY) => None,
            Err(failure) => return Err(failure),
        },
    };
    let is_shown = before.is_some();
    let mut before = match before {
        None => api.get("/events?limit=1").await?.body,
        Some(before) => before,
    };
    let wanted = api::list(&mut before, "items")?;
    for event in wanted.iter().filter(|_| is_shown) {
        print(access.output, event)?;
    }
    let from = format!("&cursor={}", before["next"].as_str().unwrap_or_default());
    let path = format!("/events?limit=1{query}{from}");
    let mut last = None;
    tokio::select! {
        ended = follow(access, &api, &path, &mut last) => ended,
        _interrupted = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Follows for ever; who was followed before is looked for again when its connection breaks.
async fn follow(
    access: &Access,
    api: &Api,
    path: &str,
    last: &mut Option<String>,
) -> Result<(), Failure> {
    let (mut is_first, mut is_away) = (true, false);
    loop {
        match api.stream(path, last.as_deref()).await {
            Ok(mut body) => {
                (is_first, is_away) = (false, false);
                let mut parser = Parser::default();
                // It ends when our token of five minutes does, and goes on with the next.
                while let Ok(Some(Ok(frame))) = timeout(SILENCE, body.frame()).await {
                    let Ok(bytes) = frame.into_data() else { continue };
                    for told in parser.take(&bytes)? {
                        if told.kind == "lagged" {
                            eprintln!(
                                "events are missing here: they came too fast, or before a restart"
                            );
                            continue;
                        }
                        let event: Value = serde_json::from_str(&told.data).unwrap_or_default();
                        if !print(access.output, &event)? {
                            return Ok(());
                        }
                        *last = told.id.or(last.take());
                    }
                }
            }
            // The same will not do better next time, unless it has been good before.
            Err(failure)
                if is_first || failure.status.is_some_and(|status| status.is_client_error()) =>
            {
                return Err(failure);
            }
            Err(_away) => {
                if !std::mem::replace(&mut is_away, true) {
                    eprintln!("the connection is lost: trying again");
                }
            }
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// One line, or for YAML one document. Whether anybody reads on.
fn print(format: Format, event: &Value) -> Result<bool, Failure> {
    let text = |at: &str| plain(&output::text(event.pointer(at)));
    let line = match format {
        Format::Table => format!("{}  {:17}  {}\n", text("/at"), text("/kind"), text("/text")),
        Format::Json => format!("{event}\n"),
        Format::Yaml => format!("---\n{}", output::yaml(event)?),
        Format::Csv => return Err(Failure::wrong("only statistics can be printed as CSV")),
    };
    output::offer(line.as_bytes())
}

/// Server-sent events, as far as ours need it.
#[derive(Default)]
struct Parser {
    buffer: Vec<u8>,
}

/// One of them.
#[derive(Debug, Default, PartialEq)]
struct Told {
    id: Option<String>,
    kind: String,
    data: String,
}

impl Parser {
    fn take(&mut self, bytes: &[u8]) -> Result<Vec<Told>, Failure> {
        self.buffer.extend_from_slice(bytes);
        let mut all = Vec::new();
        while let Some(end) = memchr::memmem::find(&self.buffer, b"\n\n") {
            let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let mut told = Told::default();
            for line in String::from_utf8_lossy(&block).lines() {
                match line.split_once(": ") {
                    Some(("id", id)) => told.id = Some(id.to_owned()),
                    Some(("event", kind)) => kind.clone_into(&mut told.kind),
                    Some(("data", data)) => told.data.push_str(data),
                    // A comment.
                    _ => {}
                }
            }
            if !told.data.is_empty() {
                all.push(told);
            }
        }
        if self.buffer.len() > MAX_EVENT_BYTES {
            return Err(Failure::failed("this is no answer of Portico's API"));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_pieces() {
        let mut parser = Parser::default();
        let text = b": following\n\nid: 7\nevent: node.health\ndata: {\"a\":1}\n\nevent: lagged\ndata: {}\n\n";
        let mut told = Vec::new();
        for piece in text.chunks(5) {
            told.extend(parser.take(piece).unwrap());
        }
        assert_eq!(told.len(), 2, "{told:?}");
        let first = Told {
            id: Some("7".to_owned()),
            kind: "node.health".to_owned(),
            data: "{\"a\":1}".to_owned(),
        };
        assert_eq!(told[0], first);
        assert_eq!((told[1].kind.as_str(), &told[1].id), ("lagged", &None));
        assert!(parser.take(&vec![b'x'; MAX_EVENT_BYTES + 1]).is_err());
    }
}
