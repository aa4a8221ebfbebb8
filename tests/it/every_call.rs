//! Every call, in each of the ways that it can be made: what Portico answers is, byte for byte, what a node answers to the
//! same request. Where it is not, the row says what comes instead, and why.
//!
//! Each cell of the table has a node of its own that is asked directly, and a scope of its own in a pool: both are
//! prepared alike, both are asked alike. What another tenant has is there in the pool only, and asking for it must
//! be answered, byte for byte, as asking for what nobody has.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `rows` | the table: meetings and people |
//! | `record_rows` | the table: recordings, webhooks, sessions, calls that are gone |
//! | `side` | one of the two who are asked: prepares what a cell needs, and asks |
//! | `shown` | a whole answer as one text, without what must differ |

mod record_rows;
mod rows;
mod shown;
mod side;

use portico::bbb::Call;

use crate::harness::{Config, Pool, Tenant};
use crate::hooks;
use shown::shown;
use side::Side;

/// What a call is about, which its query names as `{id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// A meeting that does not run yet.
    NewMeeting,
    /// A meeting with one moderator in it.
    Meeting,
    Recording,
    Hook,
    /// Somebody's session.
    Session,
}

/// How a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Get,
    /// A POST of a form with everything in it, its checksum too.
    Form,
    /// A POST with a signed query and the body that the call is there for.
    Body,
    /// By GET, or with the body, and so are the following.
    WrongChecksum,
    /// Without this parameter.
    Without(&'static str),
    Unknown,
    /// By the ids of what another tenant has.
    Foreign,
}

/// The body that a call is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    None,
    /// Slides.
    Xml,
    /// A form in parts with a file in it.
    File,
}

/// One call.
struct Row {
    call: Call,
    /// `{id}` is what it is about, `{room}` a word of the cell's own.
    query: &'static str,
    about: About,
    /// The parameters that it cannot be without.
    needs: &'static [&'static str],
    body: Body,
    differs: &'static [Differs],
}

/// A difference that is meant.
struct Differs {
    /// In these cells; empty is all.
    ways: &'static [Way],
    why: &'static str,
    /// What Portico answers, as `shown` shows it; `{room}` is a word of the cell's own.
    answer: &'static str,
}

impl Row {
    fn ways(&self) -> Vec<Way> {
        let mut ways = vec![Way::Get, Way::Form, Way::WrongChecksum, Way::Unknown, Way::Foreign];
        if self.body != Body::None {
            ways.push(Way::Body);
        }
        ways.extend(self.needs.iter().map(|name| Way::Without(name)));
        ways
    }

    fn differs(&self, way: Way) -> Option<&Differs> {
        // A foreign id is an unknown one.
        let way = if way == Way::Foreign { Way::Unknown } else { way };
        self.differs.iter().find(|differs| differs.ways.is_empty() || differs.ways.contains(&way))
    }
}

/// Calls that are not in the table, and why.
const ELSEWHERE: [(Call, &str); 1] = [(
    Call::Root,
    "carries neither checksum nor parameters, and says which server it is; see `answers`",
)];

fn all_rows() -> impl Iterator<Item = &'static Row> {
    rows::ROWS.iter().chain(&record_rows::ROWS)
}

#[test]
fn no_call_is_left_out_of_the_table() {
    for call in Call::ALL {
        let has_row = all_rows().any(|row| row.call == call);
        let is_elsewhere = ELSEWHERE.iter().any(|(known, _)| *known == call);
        assert!(has_row != is_elsewhere, "{call:?}");
    }
}

#[tokio::test]
async fn every_call_is_answered_as_by_a_node() {
    let cells: Vec<_> =
        all_rows().flat_map(|row| row.ways().into_iter().map(move |way| (row, way))).collect();
    let acme = (1..=cells.len()).fold(Tenant::new("acme"), |acme, number| {
        acme.sub(u16::try_from(number).expect("fewer than a thousand"))
    });
    let config = Config::new().tenant(acme).tenant(Tenant::new("other"));
    let pool = hooks::reachable(config).await;
    let mut wrong = Vec::new();
    for (number, (row, way)) in (1..).zip(cells) {
        let told = check(&pool, &format!("acme-{number}"), row, way).await;
        wrong.extend(
            told.err().map(|told| format!("{} {way:?} ?{}\n{told}", row.call.as_str(), row.query)),
        );
    }
    assert!(wrong.is_empty(), "{} cells are wrong:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Fills one cell: asks both, and says what is wrong with our answer.
async fn check(pool: &Pool, scope: &str, row: &Row, way: Way) -> Result<(), String> {
    let (node, ours) = (Side::node().await, Side::pool(pool, scope));
    let room = scope.replace("acme", "room");
    let (of_node, of_ours) = (node.prepare(&room, row).await, ours.prepare(&room, row).await);
    let nodes = node.ask(row, way, &of_node, &of_node.unknown).await;
    let nodes_shown = shown(&nodes, &node, &of_node, &of_node.unknown);
    let ids = match way {
        Way::Foreign => Side::foreign(pool, &room, row).await,
        _ => Vec::new(),
    };
    let mut expected = nodes_shown.clone();
    if let Some(Differs { answer, why, .. }) = row.differs(way) {
        expected = answer.replace("{room}", &room);
        if expected == nodes_shown {
            return Err(format!("no longer differs ({why}):\n{expected}"));
        }
    }
    for id in std::iter::once(&of_ours.unknown).chain(&ids) {
        let answer = ours.ask(row, way, &of_ours, id).await;
        let answer_shown = shown(&answer, &ours, &of_ours, id);
        if answer_shown != expected {
            return Err(format!("--- expected\n{expected}\n--- ours, {id}\n{answer_shown}"));
        }
        // Whoever is sent to a node gets there what the node answers to a link.
        if let Some(answer) = ours.follow(&answer).await {
            let there = shown(&answer, &ours, &of_ours, id);
            let way = if way == Way::Form { Way::Get } else { way };
            let nodes = node.ask(row, way, &of_node, &of_node.unknown).await;
            let nodes_shown = shown(&nodes, &node, &of_node, &of_node.unknown);
            if there != nodes_shown {
                return Err(format!("--- node\n{nodes_shown}\n--- where we lead to\n{there}"));
            }
        }
    }
    Ok(())
}
