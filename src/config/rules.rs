//! `params`: rules on the parameters of `create` and `join`.

use std::ops::RangeInclusive;

use super::formats::{Format, Of};
use super::reader::Item;
use crate::model::{Rule, RuleMode, Rules};

pub(super) fn read(item: &Item<'_>) -> Option<Rules> {
    item.fields(|fields| {
        let create = fields.optional("create").list(|item| rule(item, Of::Create));
        let join = fields.optional("join").list(|item| rule(item, Of::Join));
        Some(Rules { create: create.into(), join: join.into() })
    })
}

/// The words of `mode`.
#[derive(Clone, Copy)]
enum Mode {
    Block,
    Set,
    Override,
    Max,
    Append,
}

const MODES: [(&str, Mode); 5] = [
    ("block", Mode::Block),
    ("set", Mode::Set),
    ("override", Mode::Override),
    ("max", Mode::Max),
    ("append", Mode::Append),
];

/// What is written anew for every node, after the rules.
const OURS: [&str; 3] = ["meetingID", "checksum", "checksumHash"];
const NOT_RULED: &str = "the name of a parameter that can be ruled; meetingID, checksum and checksumHash are \
    set by Portico itself for each node: remove this rule";
/// BigBlueButton counts in Java's `int`; 0 is its word for "no limit".
const CAPS: RangeInclusive<u64> = 1..=i32::MAX as u64;

fn rule(item: &Item<'_>, call: Of) -> Option<Rule> {
    item.fields(|fields| {
        let name = fields.required("name", "the parameter that the rule is about");
        let name = name
            .parse("the name of a parameter, without spaces, & or =", |text| {
                let odd = |c: char| c.is_whitespace() || c.is_control() || "&=#".contains(c);
                (!text.is_empty() && !text.contains(odd)).then_some(text)
            })
            .filter(|text| {
                let is_ours = OURS.contains(text);
                if is_ours {
                    name.refuse(NOT_RULED);
                }
                !is_ours
            });
        let words = MODES.map(|(word, _)| word).join(", ");
        let mode = fields.required("mode", format_args!("one of {words}")).one_of(&MODES);
        let value = fields.optional("value");
        let format = name.and_then(|name| Format::of(call, name));
        let mode = match mode? {
            Mode::Block if value.is_absent() => Some(RuleMode::Block),
            Mode::Block => {
                value.problem("a blocked parameter is removed and takes no value; remove this one");
                None
            }
            _ if value.is_absent() => {
                value.problem("is missing: every mode but block needs a value");
                None
            }
            Mode::Max if format.is_some_and(|format| format != Format::Number) => {
                unfit(&value, "max caps a number", name?, format?)
            }
            Mode::Append if format.is_some_and(|format| format != Format::Text) => {
                unfit(&value, "append adds to a comma list", name?, format?)
            }
            Mode::Max => value.whole(CAPS).map(RuleMode::Max),
            Mode::Set => fit(&value, name, format).map(RuleMode::Set),
            Mode::Override => fit(&value, name, format).map(RuleMode::Override),
            Mode::Append => fit(&value, name, format).map(RuleMode::Append),
        };
        Some(Rule { name: name?.to_owned(), mode: mode? })
    })
}

/// The value, if BigBlueButton will take it for this parameter. Of a name that is not known it may.
fn fit(item: &Item<'_>, name: Option<&str>, format: Option<Format>) -> Option<String> {
    let text = item.text("a text; put quotes around it")?;
    if let (Some(name), Some(format)) = (name, format)
        && !format.allows(text)
    {
        item.refuse(format_args!("what {name} takes: {}", format.words()));
        return None;
    }
    Some(text.to_owned())
}

/// A mode that makes no sense for this parameter.
fn unfit<T>(item: &Item<'_>, what_it_does: &str, name: &str, format: Format) -> Option<T> {
    let words = format.words();
    item.problem(format_args!("{what_it_does}, but {name} takes {words}; use the mode override"));
    None
}
