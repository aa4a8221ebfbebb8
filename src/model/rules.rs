//! Rules on the parameters of `create` and `join`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Deref;

use foldhash::fast::RandomState;
use smallvec::{SmallVec, smallvec};

use crate::bbb::Params;

/// The rules of a tenant or of one of its secrets, applied in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// On `create`.
    pub create: RuleList,
    /// On `join`.
    pub join: RuleList,
}

/// One rule on one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The parameter's name, any. Behind `meta_` its case does not matter, as nodes lower it.
    pub name: String,
    /// What to do with it.
    pub mode: RuleMode,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleMode {
    /// Removes the parameter.
    Block,
    /// Fills it in when absent.
    Set(String),
    /// Always wins.
    Override(String),
    /// Caps a number; an absent or unlimited (0) one becomes the cap.
    Max(u64),
    /// Adds to a comma list what is not in it yet.
    Append(String),
}

/// So many names need no memory of their own while they are looked up.
const USUAL_NAMES: usize = 64;

/// Rules in the order of the file, made ready for every request that comes.
///
/// No rule looks at another parameter than its own. So they are kept by name, and what they make of a
/// parameter that is absent, as most are, is known beforehand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleList {
    rules: Vec<Rule>,
    named: Vec<Named>,
    /// Positions in `named`, by names as nodes read them.
    by_name: HashMap<Box<[u8]>, usize, RandomState>,
    /// A bit for each byte with which one of the names begins. Most parameters begin with another.
    begins: [u64; 4],
}

/// The rules on one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    /// Positions in the list.
    rules: Vec<usize>,
    /// What is sent where the parameter is absent, encoded.
    if_absent: Option<Box<[u8]>>,
}

impl From<Vec<Rule>> for RuleList {
    fn from(rules: Vec<Rule>) -> Self {
        let mut list = Self { rules, ..Self::default() };
        for (at, rule) in list.rules.iter().enumerate() {
            let named = &mut list.named;
            let name = as_nodes_read(rule.name.as_bytes()).into_owned();
            if let Some(first) = name.first() {
                list.begins[usize::from(first / 64)] |= 1 << (first % 64);
            }
            let position = *list.by_name.entry(name.into()).or_insert_with(|| {
                named.push(Named { rules: Vec::new(), if_absent: None });
                named.len() - 1
            });
            named[position].rules.push(at);
        }
        for named in &mut list.named {
            let mut params = Params::default();
            let name = named.name(&list.rules);
            named.rules.iter().for_each(|at| list.rules[*at].apply(name, &mut params));
            named.if_absent = (!params.is_empty()).then(|| params.write().into());
        }
        list
    }
}

impl Deref for RuleList {
    type Target = [Rule];

    fn deref(&self) -> &[Rule] {
        &self.rules
    }
}

impl RuleList {
    /// Does what the rules say.
    pub fn apply<'r>(&'r self, params: &mut Params<'r>) {
        if self.rules.is_empty() {
            return;
        }
        let mut present: SmallVec<[bool; USUAL_NAMES]> = smallvec![false; self.named.len()];
        // Of metadata, how it is spelled. Nearly always there is none that is ruled.
        let mut spelled = Vec::new();
        for name in params.names(|first| self.is_begun_by(first)) {
            if let Some(&position) = self.by_name.get(&*as_nodes_read(&name)) {
                present[position] = true;
                if name.starts_with(METADATA) {
                    spelled.push((position, String::from_utf8_lossy(&name).into_owned()));
                }
            }
        }
        params.reserve(self.named.len());
        for (position, (named, is_present)) in self.named.iter().zip(present).enumerate() {
            if is_present {
                let mut own =
                    spelled.iter().filter(|(at, _)| *at == position).map(|(_, name)| name);
                let first = own.next().map_or(named.name(&self.rules), String::as_str);
                // For a node they are one parameter, and of a repeated one the first value counts.
                own.filter(|other| *other != first).for_each(|other| {
                    params.remove(other);
                });
                named.rules.iter().for_each(|at| self.rules[*at].apply(first, params));
            } else if let Some(item) = &named.if_absent {
                params.push_encoded(item);
            }
        }
    }
}

impl RuleList {
    fn is_begun_by(&self, first: u8) -> bool {
        self.begins[usize::from(first / 64)] >> (first % 64) & 1 == 1
    }
}

impl Named {
    /// The name as its first rule spells it.
    fn name<'r>(&self, rules: &'r [Rule]) -> &'r str {
        self.rules.first().map_or("", |at| &rules[*at].name)
    }
}

/// Before the names of metadata. Nodes know it in this one case.
const METADATA: &[u8] = b"meta_";

/// A name as nodes tell it from others.
fn as_nodes_read(name: &[u8]) -> Cow<'_, [u8]> {
    match name.strip_prefix(METADATA) {
        Some(key) if key.iter().any(u8::is_ascii_uppercase) => name.to_ascii_lowercase().into(),
        _ => name.into(),
    }
}

impl Rule {
    fn apply(&self, name: &str, params: &mut Params<'_>) {
        match &self.mode {
            RuleMode::Block => {
                params.remove(name);
            }
            RuleMode::Set(value) => params.set_if_missing(name, value),
            RuleMode::Override(value) => params.set(name, value),
            RuleMode::Max(cap) => {
                let asked = params.get(name).and_then(|value| value.trim().parse::<u64>().ok());
                // 0 is BigBlueButton's word for "no limit".
                if !asked.is_some_and(|asked| asked > 0 && asked <= *cap) {
                    params.set(name, &cap.to_string());
                }
            }
            RuleMode::Append(value) => {
                let list = params.get(name).unwrap_or_default().into_owned();
                let mut items: Vec<&str> = Vec::new();
                for item in list.split(',').chain(value.split(',')).map(str::trim) {
                    if !item.is_empty() && !items.contains(&item) {
                        items.push(item);
                    }
                }
                params.set(name, &items.join(","));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(rules: Vec<Rule>, query: &str) -> String {
        let rules = RuleList::from(rules);
        let mut params = Params::parse(query.as_bytes());
        rules.apply(&mut params);
        String::from_utf8(params.write()).unwrap()
    }

    #[test]
    fn each_mode_does_what_it_says() {
        for (mode, query, after) in [
            (RuleMode::Block, "a=1&p=2&p=3", "a=1"),
            (RuleMode::Set("x".into()), "a=1", "a=1&p=x"),
            (RuleMode::Set("x".into()), "p=1", "p=1"),
            (RuleMode::Override("x".into()), "p=1&a=2&p=3", "p=x&a=2"),
            (RuleMode::Override("ü &".into()), "a=1", "a=1&p=%C3%BC+%26"),
            (RuleMode::Max(10), "p=5", "p=5"),
            (RuleMode::Max(10), "p=50", "p=10"),
            (RuleMode::Max(10), "p=0", "p=10"),
            (RuleMode::Max(10), "p=many", "p=10"),
            (RuleMode::Max(10), "", "p=10"),
            (RuleMode::Append("b,c".into()), "p=a,b", "p=a%2Cb%2Cc"),
            (RuleMode::Append("b".into()), "", "p=b"),
            // As sets: nothing twice, in the order of who named it first.
            (
                RuleMode::Append("chat, polls,chat".into()),
                "p=polls,,polls&a=1",
                "p=polls%2Cchat&a=1",
            ),
            (RuleMode::Append("b".into()), "p=", "p=b"),
            (RuleMode::Block, "%70=1&a=2", "a=2"),
        ] {
            assert_eq!(applied(vec![Rule { name: "p".into(), mode }], query), after, "{query}");
        }
    }

    #[test]
    fn rules_on_one_parameter_follow_each_other() {
        let rule = |name: &str, mode| Rule { name: name.into(), mode };
        let rules = vec![
            rule("a", RuleMode::Block),
            rule("b", RuleMode::Set("1".into())),
            rule("a", RuleMode::Set("2".into())),
            rule("b", RuleMode::Append("3".into())),
        ];
        for (query, after) in
            [("", "a=2&b=1%2C3"), ("a=9&c=8", "c=8&a=2&b=1%2C3"), ("b=3", "b=3&a=2")]
        {
            assert_eq!(applied(rules.clone(), query), after, "{query}");
        }
    }

    #[test]
    fn metadata_is_ruled_in_whatever_case_it_comes() {
        let rule = |name: &str, mode| Rule { name: name.into(), mode };
        let set = |value: &str| RuleMode::Set(value.into());
        for (rules, query, after) in [
            (
                vec![rule("meta_a-B", RuleMode::Block)],
                "meta_A-b=1&x=2&meta_a-b=3&%6deta_A-B=4",
                "x=2",
            ),
            (vec![rule("meta_a", set("9"))], "meta_A=1&meta_a=2&meta_A=3", "meta_A=1&meta_A=3"),
            (
                vec![rule("meta_A", RuleMode::Override("9".into()))],
                "x=1&meta_a=2&meta_A=3",
                "x=1&meta_a=9",
            ),
            (vec![rule("meta_A", RuleMode::Block), rule("meta_a", set("9"))], "", "meta_A=9"),
            (
                vec![rule("meta_A", RuleMode::Block), rule("meta_a", set("9"))],
                "meta_a=1",
                "meta_a=9",
            ),
            // The prefix and all other names are what they are.
            (
                vec![rule("meta_a", RuleMode::Block), rule("p", set("1"))],
                "Meta_a=1&P=2",
                "Meta_a=1&P=2&p=1",
            ),
        ] {
            assert_eq!(applied(rules, query), after, "{query}");
        }
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let value = || "[a-c,]{1,3}".prop_map(String::from);
        let mode = prop_oneof![
            Just(RuleMode::Block),
            value().prop_map(RuleMode::Set),
            value().prop_map(RuleMode::Override),
            (1_u64..20).prop_map(RuleMode::Max),
            value().prop_map(RuleMode::Append),
        ];
        ("[a-c]", mode).prop_map(|(name, mode)| Rule { name, mode })
    }

    proptest! {
        #[test]
        fn made_ready_they_say_what_they_say_one_by_one(
            rules in prop::collection::vec(any_rule(), 0..8),
            query in "([a-d%+]=[0-9a-c]{0,2}&?){0,4}",
        ) {
            let mut params = Params::parse(query.as_bytes());
            for rule in &rules {
                rule.apply(&rule.name, &mut params);
            }
            let sorted = |query: &[u8]| {
                let params = Params::parse(query);
                let mut all: Vec<_> =
                    params.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
                // What was absent may come in another order.
                all.sort();
                all
            };
            let one_by_one = sorted(&params.write());
            prop_assert_eq!(sorted(applied(rules, &query).as_bytes()), one_by_one);
        }
    }
}
