//! A long list in parts, while meetings come and go.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ByInternal, Directory, Entry};

/// Which meetings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sought<'a> {
    /// Only those of this tenant.
    pub tenant: Option<&'a str>,
    /// Only those on this node.
    pub node: Option<&'a str>,
}

impl Directory {
    /// The first `count` of the meetings that are sought and wanted, by their internal ids, behind the id `after`.
    ///
    /// An internal id never changes, so pages that follow each other show every meeting that runs all the time
    /// exactly once, whatever comes and goes between them. No more than a page is held at any time.
    pub fn page(
        &self,
        sought: Sought<'_>,
        after: Option<&str>,
        count: usize,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> Vec<Arc<Entry>> {
        let lists = self.lists.lock();
        let all: Box<dyn Iterator<Item = &ByInternal>> = match sought {
            Sought { tenant: Some(tenant), .. } => {
                Box::new(lists.of_tenant.get(tenant).into_iter().flatten())
            }
            Sought { node: Some(node), .. } => {
                Box::new(lists.on_node.get(node).into_iter().flatten())
            }
            Sought { tenant: None, node: None } => Box::new(lists.on_node.values().flatten()),
        };
        let mut first: BTreeMap<&str, &Arc<Entry>> = BTreeMap::new();
        for ByInternal(entry) in all {
            let id = entry.internal_id();
            let is_behind = after.is_none_or(|after| id > after);
            let is_there = sought.node.is_none_or(|node| entry.node().as_str() == node);
            if !is_behind || !is_there {
                continue;
            }
            let is_full = first.len() >= count;
            if is_full && first.last_key_value().is_none_or(|(last, _)| id > *last) {
                continue;
            }
            if !is_wanted(entry) {
                continue;
            }
            if is_full {
                first.pop_last();
            }
            first.insert(id, entry);
        }
        first.into_values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Extent, Meeting, MeetingKey, NodeName, Scope};

    fn add(directory: &Directory, tenant: &str, node: &str, internal_id: &str) {
        let key = MeetingKey { scope: Scope::parse(tenant).unwrap(), id: internal_id.to_owned() };
        let meeting = Meeting {
            node_meeting_id: format!("{internal_id}@{tenant}"),
            key,
            node: NodeName::new(node),
            internal_id: internal_id.to_owned(),
            created_at_ms: 1,
            parent_internal_id: None,
            extent: Extent::default(),
            xml: Box::default(),
        };
        directory.adopt(meeting, true);
    }

    fn ids(
        directory: &Directory,
        sought: Sought<'_>,
        after: Option<&str>,
        count: usize,
    ) -> Vec<String> {
        let page = directory.page(sought, after, count, |_| true);
        page.iter().map(|entry| entry.internal_id().to_owned()).collect()
    }

    #[test]
    fn pages_show_each_meeting_once_while_others_come_and_go() {
        let directory = Directory::default();
        let all: Vec<String> = (0..100).map(|number| format!("m{number:03}")).collect();
        for (number, id) in all.iter().enumerate() {
            add(&directory, ["acme", "other"][number % 2], ["a", "b"][number / 50], id);
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = ids(&directory, Sought::default(), after.as_deref(), 7);
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            // One that was shown goes, one comes in front.
            directory.remove(&directory.get_internal(last).unwrap());
            add(&directory, "acme", "a", &format!("a{}", seen.len()));
            seen.extend(page);
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn only_what_is_sought_is_shown() {
        let directory = Directory::default();
        for (tenant, node, id) in
            [("acme", "a", "1"), ("acme-5", "b", "2"), ("other", "b", "3"), ("other", "a", "4")]
        {
            add(&directory, tenant, node, id);
        }
        let of = |tenant, node| ids(&directory, Sought { tenant, node }, None, 9);
        assert_eq!(of(None, None), ["1", "2", "3", "4"]);
        assert_eq!(of(Some("acme"), None), ["1", "2"]);
        assert_eq!(of(None, Some("b")), ["2", "3"]);
        assert_eq!(of(Some("acme"), Some("b")), ["2"]);
        assert!(of(Some("nobody"), None).is_empty());
        let some =
            directory.page(Sought::default(), Some("1"), 1, |entry| entry.internal_id() != "2");
        assert_eq!(some[0].internal_id(), "3");
    }
}
