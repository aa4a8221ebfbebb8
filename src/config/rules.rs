//! `params`: rules on the parameters of `create` and `join`.

use super::reader::Item;
use crate::model::{Rule, RuleMode, Rules};

pub(super) fn read(item: &Item<'_>) -> Option<Rules> {
    item.fields(|fields| {
        let create = fields.optional("create").list(rule);
        let join = fields.optional("join").list(rule);
        Some(Rules { create, join })
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

fn rule(item: &Item<'_>) -> Option<Rule> {
    item.fields(|fields| {
        let name = fields.required("name", "the parameter that the rule is about");
        let name = name.parse("the name of a parameter, without spaces, & or =", |text| {
            let odd = |c: char| c.is_whitespace() || c.is_control() || "&=#".contains(c);
            (!text.is_empty() && !text.contains(odd)).then_some(text)
        });
        let words = MODES.map(|(word, _)| word).join(", ");
        let mode = fields.required("mode", format_args!("one of {words}")).one_of(&MODES);
        let value = fields.optional("value");
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
            Mode::Max => value.whole(0..=u64::from(u32::MAX)).map(RuleMode::Max),
            Mode::Set => text(&value).map(RuleMode::Set),
            Mode::Override => text(&value).map(RuleMode::Override),
            Mode::Append => text(&value).map(RuleMode::Append),
        };
        Some(Rule { name: name?.to_owned(), mode: mode? })
    })
}

fn text(item: &Item<'_>) -> Option<String> {
    item.text("a text; put quotes around it").map(str::to_owned)
}
