//! A walk through the tree that never stops at a mistake.
//!
//! An [`Item`] is a value and where it stands; [`Fields`] are the keys of a mapping. Everything that reads
//! a value gives `None` after it has noted why, so a section reads all its fields first and only then
//! asks, with `?`, whether they are all there. Which keys exist is what a section has asked for: the rest
//! is reported as unknown when it is done.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use super::branding::MissingAsset;
use super::report::Problem;
use super::tree::{Entry, Node, Value};
use crate::model::AssetKey;

/// What one reading of a file knows and finds.
pub(super) struct Reading<'a> {
    /// The directory of the file, where relative paths start.
    pub(super) dir: &'a Path,
    /// The environment.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// What must be mended.
    pub(super) problems: RefCell<Vec<Problem>>,
    /// Files of a tenant's look that are not there.
    pub(super) missing_assets: RefCell<Vec<MissingAsset>>,
    /// Key paths and lines of what others read to the end.
    pub(super) lines: RefCell<HashMap<String, u64>>,
    /// What works but should be looked at.
    pub(super) warnings: RefCell<Vec<String>>,
    /// Whether a secret stands in the file itself.
    pub(super) has_inline_secrets: Cell<bool>,
    /// It comes over the network: whoever writes it must not learn what is in our files and environment.
    pub(super) is_remote: bool,
}

impl<'a> Reading<'a> {
    pub(super) fn new(dir: &'a Path, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            dir,
            env,
            problems: RefCell::default(),
            missing_assets: RefCell::default(),
            lines: RefCell::default(),
            warnings: RefCell::default(),
            has_inline_secrets: Cell::default(),
            is_remote: false,
        }
    }
}

/// A value of the file, or the place where it would stand.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) reading: &'a Reading<'a>,
    path: String,
    line: u64,
    value: Option<&'a Value>,
}

/// Keys that people know by another word, from other load balancers or from the admin API.
const RENAMED: [(&str, &str); 18] = [
    ("backends", "nodes"),
    ("servers", "nodes"),
    ("host", "url"),
    ("load_factor", "weight"),
    ("frontends", "tenants"),
    ("realms", "tenants"),
    ("groups", "cluster_groups"),
    ("group", "cluster_group"),
    ("hostnames", "domains"),
    ("main", "default"),
    ("rules", "params"),
    ("certificate", "cert"),
    ("private_key", "key"),
    ("max_header_bytes", "max_header"),
    ("max_body_bytes", "max_body"),
    ("hash", "checksum"),
    ("bind", "listen"),
    ("rollover_secret", "secret2"),
];

/// How alike two words must be (Jaro-Winkler, 0..=1) to be taken for a slip of the fingers.
const ALIKE: f64 = 0.8;

/// What stood there is shown up to this many characters: enough to recognise it.
const SHOWN_CHARS: usize = 60;

impl<'a> Item<'a> {
    /// The whole file.
    pub(super) fn root(reading: &'a Reading<'a>, node: &'a Node) -> Self {
        Self { reading, path: String::new(), line: node.line, value: present(node) }
    }

    /// Where this is, for people: key path and, in a file, line.
    pub(super) fn place(&self) -> String {
        // What comes over the network has no lines.
        if self.reading.is_remote {
            return self.path.clone();
        }
        format!("{} (line {})", self.path, self.line)
    }

    /// Whether nothing stands there.
    pub(super) fn is_absent(&self) -> bool {
        self.value.is_none()
    }

    /// Whether a list stands there.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.value, Some(Value::List(_)))
    }

    /// Whether a mapping stands there.
    pub(super) fn is_mapping(&self) -> bool {
        matches!(self.value, Some(Value::Map(_)))
    }

    /// Notes a mistake here.
    pub(super) fn problem(&self, message: impl Display) {
        self.reading.problems.borrow_mut().push(self.to_problem(message));
    }

    /// Notes a file of a tenant's look that is not there.
    pub(super) fn missing_asset(&self, key: AssetKey, path: PathBuf, message: String) {
        let problem = self.to_problem(message);
        self.reading.missing_assets.borrow_mut().push(MissingAsset { key, path, problem });
    }

    /// Remembers where this stands, for whoever knows more of it than we do.
    pub(super) fn remember_line(&self) {
        self.reading.lines.borrow_mut().insert(self.path.clone(), self.line);
    }

    fn to_problem(&self, message: impl Display) -> Problem {
        Problem { line: Some(self.line), path: self.path.clone(), message: message.to_string() }
    }

    /// Notes that what stands here is not what is allowed.
    pub(super) fn refuse(&self, allowed: impl Display) {
        self.problem(format_args!("{} is not {allowed}", Shown(self.value)));
    }

    /// Notes that no structure stands here. The text is not shown: it may be a misplaced secret.
    fn refuse_shape(&self, allowed: &str) {
        let found = match self.value {
            Some(Value::Scalar(_)) => "a single value",
            Some(Value::List(_)) => "a list",
            _ => "a mapping",
        };
        self.problem(format_args!("{found} is not {allowed}"));
    }

    /// Notes something that works, but not as one may think.
    pub(super) fn warn(&self, message: impl Display) {
        let warning = format!("line {}: {}: {message}", self.line, self.path);
        self.reading.warnings.borrow_mut().push(warning);
    }

    /// The scalar as written; `allowed` describes it in case it is none.
    pub(super) fn text(&self, allowed: impl Display) -> Option<&'a str> {
        if let Value::Scalar(text) = self.value? {
            return Some(text);
        }
        self.refuse(allowed);
        None
    }

    /// A scalar that `parse` understands; `allowed` describes what that is.
    pub(super) fn parse<T>(
        &self,
        allowed: impl Display,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Option<T> {
        let parsed = parse(self.text(&allowed)?);
        if parsed.is_none() {
            self.refuse(allowed);
        }
        parsed
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let find = |text: &str| Some(words.iter().find(|(word, _)| *word == text)?.1);
        self.parse(format_args!("one of {}", names.join(", ")), find)
    }

    /// Every element that `each` understands; nothing when nothing stands there.
    pub(super) fn list<T>(&self, mut each: impl FnMut(&Item<'a>) -> Option<T>) -> Vec<T> {
        let elements: &[Node] = match self.value {
            None => &[],
            Some(Value::List(elements)) => elements,
            Some(_) => {
                self.refuse_shape("a list, such as [a, b]");
                &[]
            }
        };
        let item = |(index, node): (usize, &'a Node)| Item {
            reading: self.reading,
            path: format!("{}[{index}]", self.path),
            line: node.line,
            value: present(node),
        };
        elements.iter().enumerate().map(item).filter_map(|item| each(&item)).collect()
    }

    /// Reads a mapping; nothing there is an empty one. Keys that `read` has not asked for are reported.
    pub(super) fn fields<T>(&self, read: impl FnOnce(&Fields<'a, '_>) -> Option<T>) -> Option<T> {
        let entries: &[Entry] = match self.value {
            None => &[],
            Some(Value::Map(entries)) => entries,
            Some(_) => {
                self.refuse_shape("a mapping of keys and values");
                return None;
            }
        };
        let fields = Fields { item: self, entries, known: RefCell::default() };
        let result = read(&fields);
        fields.refuse_unknown();
        result
    }
}

/// The keys of a mapping.
pub(super) struct Fields<'a, 'i> {
    item: &'i Item<'a>,
    entries: &'a [Entry],
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a, '_> {
    /// What stands under a key, if anything.
    pub(super) fn optional(&self, key: &'static str) -> Item<'a> {
        self.known.borrow_mut().push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key);
        Item {
            reading: self.item.reading,
            path: self.path_of(key),
            line: entry.map_or(self.item.line, |entry| entry.line),
            value: entry.and_then(|entry| present(&entry.node)),
        }
    }

    /// What stands under a key that must be there; `what` says what belongs there.
    pub(super) fn required(&self, key: &'static str, what: impl Display) -> Item<'a> {
        let item = self.optional(key);
        if item.is_absent() {
            item.problem(format_args!("is missing: {what}"));
        }
        item
    }

    fn path_of(&self, key: &str) -> String {
        if self.item.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.item.path) }
    }

    fn refuse_unknown(&self) {
        let known = self.known.borrow();
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let key = entry.key.as_str();
            self.item.reading.problems.borrow_mut().push(Problem {
                line: Some(entry.line),
                path: self.path_of(&Shown::clip(key)),
                message: unknown_key(key, &known),
            });
        }
    }
}

/// The one of these words that somebody may have meant.
pub(crate) fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    known
        .iter()
        .map(|known| (strsim::jaro_winkler(word, known), *known))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// What to say of a key that is none of those that are known here.
pub(crate) fn unknown_key(key: &str, known: &[&str]) -> String {
    let renamed = RENAMED.iter().find(|(old, new)| *old == key && known.contains(new));
    let remedy = match (renamed, nearest(key, known)) {
        (Some((_, new)), _) => format!("it is called {new:?} here"),
        (None, Some(word)) => format!("did you mean {word:?}?"),
        (None, None) if known.is_empty() => "there are no keys here".to_owned(),
        (None, None) => format!("the keys here are {}", known.join(", ")),
    };
    format!("is no known key; {remedy}")
}

/// Names that must not be given twice.
pub(super) struct Names {
    what: &'static str,
    taken: HashMap<String, String>,
    /// Others are not here to be compared.
    is_open: bool,
}

impl Names {
    /// `what` they name, such as `node`.
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, taken: HashMap::new(), is_open: false }
    }

    /// Among names that are known elsewhere, where it is looked whether they exist.
    pub(super) fn elsewhere(what: &'static str) -> Self {
        Self { is_open: true, ..Self::new(what) }
    }

    /// Takes a name for an item, or notes who has it.
    pub(super) fn claim(&mut self, item: &Item<'_>, name: &str) {
        if let Some(place) = self.taken.get(name) {
            let what = self.what;
            item.problem(format_args!(
                "{name:?} is already the {what} at {place}; give each its own"
            ));
        } else {
            self.taken.insert(name.to_owned(), item.place());
        }
    }

    /// Whether a name was taken.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.taken.contains_key(name)
    }

    /// Notes a mistake when an item refers to a name that nobody has.
    pub(super) fn require(&self, item: &Item<'_>, name: &str) {
        if self.is_open || self.contains(name) {
            return;
        }
        let mut names: Vec<_> = self.taken.keys().map(String::as_str).collect();
        names.sort_unstable();
        let remedy = match names.as_slice() {
            [] => "there is none in this file".to_owned(),
            names => format!("there is {}", Shown::clip(&names.join(", "))),
        };
        item.problem(format_args!("no {} is called {name:?}; {remedy}", self.what));
    }
}

fn present(node: &Node) -> Option<&Value> {
    Some(&node.value).filter(|value| **value != Value::Null)
}

/// What stands somewhere, short enough for a message and without the password of a URL.
struct Shown<'a>(Option<&'a Value>);

impl Shown<'_> {
    fn clip(text: &str) -> String {
        let mut chars = text.chars();
        let mut clipped: String = chars.by_ref().take(SHOWN_CHARS).collect();
        if chars.next().is_some() {
            clipped.push('…');
        }
        clipped
    }
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None | Some(Value::Null) => f.write_str("nothing"),
            Some(Value::List(_)) => f.write_str("a list"),
            Some(Value::Map(_)) => f.write_str("a mapping"),
            Some(Value::Scalar(text)) => match text.split_once("://") {
                Some((scheme, rest)) if rest.contains('@') => {
                    let (_, host) = rest.rsplit_once('@').unwrap_or_default();
                    write!(f, "{:?}", Self::clip(&format!("{scheme}://***@{host}")))
                }
                _ => write!(f, "{:?}", Self::clip(text)),
            },
        }
    }
}
