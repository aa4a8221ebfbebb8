//! Signed links of BigBlueButton's API, to be tried by hand; made here, and sent nowhere.

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::meetings::print_link;
use super::output::Column;
use super::signing::{self, Means, Signer};
use super::{Access, output};
use crate::bbb::Call;
use crate::model::Scope;

const COLUMNS: &[Column] = &[("CALL", "/call"), ("LINK", "/link")];

/// Values of a test, where nobody has named others.
const DEFAULTS: &[(&str, &str)] = &[
    ("name", "A test"),
    ("meetingID", "portico-test"),
    ("fullName", "Tester"),
    ("role", "MODERATOR"),
    ("recordID", "portico-test"),
    ("publish", "false"),
    ("meta_name", "A test"),
    ("message", "Hello"),
    ("callbackURL", "https://front.example/hook"),
    ("hookID", "1"),
];

/// The calls that are shown together, and what each needs.
const CALLS: &[(Call, &[&str])] = &[
    (Call::Create, &["name", "meetingID"]),
    (Call::Join, &["fullName", "meetingID", "role"]),
    (Call::IsMeetingRunning, &["meetingID"]),
    (Call::GetMeetingInfo, &["meetingID"]),
    (Call::GetMeetings, &[]),
    (Call::SendChatMessage, &["meetingID", "message"]),
    (Call::InsertDocument, &["meetingID"]),
    (Call::End, &["meetingID"]),
    (Call::GetRecordings, &["meetingID"]),
    (Call::PublishRecordings, &["recordID", "publish"]),
    (Call::UpdateRecordings, &["recordID", "meta_name"]),
    (Call::DeleteRecordings, &["recordID"]),
    (Call::GetRecordingTextTracks, &["recordID"]),
    (Call::HooksCreate, &["callbackURL"]),
    (Call::HooksList, &[]),
    (Call::HooksDestroy, &["hookID"]),
];

/// Which links.
#[derive(Debug, Args)]
pub(in crate::cli) struct Wanted {
    /// The tenant, or one of its secrets such as acme-5
    #[arg(long, value_name = "SLUG[-SUB]", value_parser = signing::scope)]
    tenant: Scope,
    #[command(flatten)]
    means: Means,
    /// The call, such as create or hooks/list, and its parameters, such as record=true; without a call all that one
    /// may want to try, with what is named of their parameters
    #[arg(value_name = "CALL | NAME=VALUE", value_parser = word)]
    words: Vec<Word>,
}

/// A word behind the options.
#[derive(Debug, Clone)]
enum Word {
    Call(Call),
    Pair(String, String),
}

fn word(text: &str) -> Result<Word, String> {
    if text.contains('=') {
        return signing::parameter(text).map(|(name, value)| Word::Pair(name, value));
    }
    let call = Call::from_path(text).filter(|call| *call != Call::Root);
    call.map(Word::Call)
        .ok_or_else(|| "is neither a call of BigBlueButton's API nor NAME=VALUE".to_owned())
}

pub(super) fn run(access: &Access, wanted: &Wanted) -> Result<(), Failure> {
    let signer = Signer::new(access, &wanted.tenant, &wanted.means)?;
    let (mut calls, mut pairs) = (Vec::new(), Vec::new());
    for word in &wanted.words {
        match word {
            Word::Call(call) => calls.push(*call),
            Word::Pair(name, value) => pairs.push((name.clone(), value.clone())),
        }
    }
    match *calls {
        [] => {}
        [call] => return print_link(access, &signer.link(call, &pairs)),
        _ => return Err(Failure::wrong("one call at a time, or none for all")),
    }
    let links: Vec<_> = CALLS
        .iter()
        .map(|(call, needs)| {
            let link = signer.link(*call, &parameters(*call, needs, &pairs));
            json!({"call": call.as_str(), "link": link})
        })
        .collect();
    output::list(access.output, COLUMNS, &links)
}

/// What one of all calls is given.
fn parameters(call: Call, needs: &[&str], pairs: &[(String, String)]) -> Vec<(String, String)> {
    let defaults: Vec<_> =
        DEFAULTS.iter().filter(|(name, _)| needs.contains(name)).copied().collect();
    let is_of_any = |name: &str| CALLS.iter().any(|(_, needs)| needs.contains(&name));
    let takes = |name: &str| {
        needs.contains(&name) || (matches!(call, Call::Create | Call::Join) && !is_of_any(name))
    };
    let own: Vec<_> = pairs.iter().filter(|(name, _)| takes(name)).cloned().collect();
    signing::with_defaults(&own, &defaults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_what_it_needs() {
        let pairs = ["meetingID=m", "record=true"].map(|pair| signing::parameter(pair).unwrap());
        for (call, needs) in CALLS {
            let all = parameters(*call, needs, &pairs);
            for need in *needs {
                assert!(all.iter().any(|(name, _)| name == need), "{call:?}: {need}");
            }
            let is_recorded = all.iter().any(|(name, _)| name == "record");
            assert_eq!(is_recorded, matches!(call, Call::Create | Call::Join), "{call:?}");
            assert!(all.iter().all(|(name, value)| name != "meetingID" || value == "m"));
        }
    }
}
