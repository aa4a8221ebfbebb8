//! The callbacks of a create: the front end's URLs are kept in the store, and its node gets ours.
//!
//! Each try on a node has tokens of its own, so that what a node did of a create that seemed to fail there
//! can be told from the meeting. So has a create of a meeting that runs: its node may have ended it just
//! now, and then creates it anew. If it has not, the tokens of the first create are those that count.

use std::borrow::Cow;

use log::{error, warn};

use crate::bbb::Params;
use crate::chain::Chain;
use crate::edge::Edge;
use crate::fleet::{callback_urls, now_ms};
use crate::model::{Callback, CallbackKind, CallbackToken, Forbidden, MeetingKey, NodeName, Scope};
use crate::store;

/// `BigBlueButton`'s name for the hook that stays on the node.
const MEETING_ENDED: &str = "meetingEndedURL";
/// Parameters that name a callback, lower-case. Of those for a recording a node takes the first that is there.
const NAMES: [(&str, CallbackKind); 6] = [
    ("meta_endcallbackurl", CallbackKind::End),
    ("meetingendedurl", CallbackKind::MeetingEnded),
    ("meta_bbb-recording-ready-url", CallbackKind::RecordingReady),
    ("meta_bn-recording-ready-url", CallbackKind::RecordingReady),
    ("meta_canvas-recording-ready-url", CallbackKind::RecordingReady),
    ("meta_analytics-callback-url", CallbackKind::Analytics),
];

/// The callbacks that a create asks for.
pub(in crate::edge) struct Wanted {
    /// Our own address. Without one no node can call us.
    base: Option<String>,
    /// Ordered as in [`NAMES`]; of one kind the first is the one that is called.
    items: Vec<Item>,
}

struct Item {
    /// As the front end wrote it.
    name: String,
    kind: CallbackKind,
    target: String,
}

/// What a node is asked with.
pub(in crate::edge) struct Issued<'a> {
    pub(in crate::edge) params: Params<'a>,
    tokens: Vec<CallbackToken>,
}

impl Wanted {
    /// Reads the callbacks of a create. Those that may not be called are taken out.
    pub(in crate::edge) fn take(
        edge: &Edge,
        base: Option<&str>,
        scope: &Scope,
        params: &mut Params<'_>,
    ) -> Self {
        let mut found: Vec<(usize, CallbackKind, String)> = Vec::new();
        for (name, _) in params.iter() {
            let rank = NAMES.iter().position(|(own, _)| own.eq_ignore_ascii_case(&name));
            let is_known = |(_, _, known): &(usize, CallbackKind, String)| *known == *name;
            if let Some(rank) = rank.filter(|_| !found.iter().any(is_known)) {
                found.push((rank, NAMES[rank].1, name.into_owned()));
            }
        }
        found.sort_by_key(|(rank, ..)| *rank);
        let mut items = Vec::new();
        for (_, kind, name) in found {
            let target = params.get(&name).unwrap_or_default().trim().to_owned();
            if target.is_empty() {
                continue;
            }
            let reach = &edge.settings.callbacks.reach;
            let problem = match reach.read(&target) {
                Ok(_) if base.is_some() => None,
                Ok(_) => Some((
                    "no_public_url",
                    Cow::Borrowed("nodes cannot call us: set server.public_url"),
                )),
                Err(forbidden) => Some((Forbidden::kind(forbidden), forbidden.to_string().into())),
            };
            match problem {
                None => items.push(Item { name, kind, target }),
                Some((reason, text)) => {
                    params.remove(&name);
                    edge.metrics
                        .callbacks
                        .dropped
                        .with_label_values(&[kind.as_str(), reason])
                        .inc();
                    warn!("tenant {scope}: a {kind} callback is left out of a create: {text}");
                }
            }
        }
        Self { base: base.map(str::to_owned), items }
    }

    /// New callbacks for a create on this node, which are in the store when this returns.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(in crate::edge) async fn issue<'a>(
        &self,
        edge: &Edge,
        key: &MeetingKey,
        node: &NodeName,
        node_meeting_id: &str,
        params: &Params<'a>,
    ) -> Result<Issued<'a>, store::Error> {
        let Some(base) = &self.base else { return Ok(Issued::none(params.clone())) };
        let created_at_ms = now_ms();
        let callbacks: Vec<Callback> = self
            .kinds()
            .map(|(kind, target)| Callback {
                token: CallbackToken::new(rand::random()),
                kind,
                key: key.clone(),
                node: node.clone(),
                node_meeting_id: node_meeting_id.to_owned(),
                internal_id: None,
                target: target.map(str::to_owned),
                created_at_ms,
            })
            .collect();
        edge.store.put_callbacks(&callbacks).await?;
        Ok(self.written(base, params, &callbacks))
    }

    /// None for a new meeting, as the store cannot keep any.
    pub(in crate::edge) fn drop_all<'a>(
        &self,
        edge: &Edge,
        params: &Params<'a>,
        trouble: &store::Error,
    ) -> Issued<'a> {
        error!("a create goes on without callbacks, they cannot be saved: {}", Chain(trouble));
        for item in &self.items {
            let labels = [item.kind.as_str(), "store"];
            edge.metrics.callbacks.dropped.with_label_values(&labels).inc();
        }
        self.without(params)
    }

    /// None, for a meeting that runs, and has its own.
    pub(in crate::edge) fn without<'a>(&self, params: &Params<'a>) -> Issued<'a> {
        let mut params = params.clone();
        for item in &self.items {
            params.remove(&item.name);
        }
        Issued::none(params)
    }

    /// What is to be called, each kind once. The end of the meeting always is.
    fn kinds(&self) -> impl Iterator<Item = (CallbackKind, Option<&str>)> {
        CallbackKind::ALL.into_iter().filter_map(|kind| {
            let item = self.items.iter().find(|item| item.kind == kind);
            let target = item.map(|item| item.target.as_str());
            (target.is_some() || kind == CallbackKind::MeetingEnded).then_some((kind, target))
        })
    }

    fn written<'a>(&self, base: &str, params: &Params<'a>, callbacks: &[Callback]) -> Issued<'a> {
        let mut params = params.clone();
        let url = |kind, target: Option<&str>| {
            let callback = callbacks.iter().find(|callback| callback.kind == kind)?;
            Some(callback_urls::wrap(base, &callback.token, target))
        };
        for item in &self.items {
            if item.kind == CallbackKind::MeetingEnded {
                if item.name != MEETING_ENDED {
                    params.remove(&item.name);
                }
            } else if let Some(url) = url(item.kind, Some(&item.target)) {
                params.set(&item.name, &url);
            }
        }
        if let Some(url) = url(CallbackKind::MeetingEnded, None) {
            params.set(MEETING_ENDED, &url);
        }
        let tokens = callbacks.iter().map(|callback| callback.token.clone()).collect();
        Issued { params, tokens }
    }
}

impl<'a> Issued<'a> {
    fn none(params: Params<'a>) -> Self {
        Self { params, tokens: Vec::new() }
    }

    /// Notes which meeting these callbacks are about.
    pub(in crate::edge) async fn bind(&self, edge: &Edge, internal_id: &str) {
        if !self.tokens.is_empty()
            && let Err(trouble) = edge.store.bind_callbacks(&self.tokens, internal_id).await
        {
            // They are found by the name of the meeting all the same.
            warn!("callbacks are not tied to their meeting: {}", Chain(&trouble));
        }
    }

    /// Forgets callbacks of which no node can know.
    pub(in crate::edge) async fn withdraw(&self, edge: &Edge) {
        if !self.tokens.is_empty()
            && let Err(trouble) = edge.store.remove_callbacks(&self.tokens).await
        {
            warn!(
                "callbacks of a create that came to nothing stay for a while: {}",
                Chain(&trouble)
            );
        }
    }
}
