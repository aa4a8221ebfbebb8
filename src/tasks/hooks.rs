//! One webhook of ours on every node whose tenants want to be told what happens there.
//!
//! bbb-webhooks forgets hooks when it cannot reach us for some minutes or is set up anew, and nodes come and
//! go, so the nodes are looked at again and again. Nodes without bbb-webhooks are left alone.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use log::{debug, info, warn};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use url::Url;

use super::driver::{Failed, Metrics, Task, activate};
use crate::bbb::{Answer, Call, Params, signed_url};
use crate::bus::Duties;
use crate::chain::Chain;
use crate::fleet::{Fleet, Node, callback_urls, hook_path};
use crate::model::{Health, NodeName};
use crate::node::Client;

/// How often nodes are looked at where nothing has changed.
const EVERY: Duration = Duration::from_mins(1);
/// How soon nodes that are new are looked for where one waits for a good poll.
const SOON: Duration = Duration::from_secs(1);
/// A change of the inventory is followed by others.
const SETTLE: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_secs(5);
/// Nodes that are asked at the same time.
const AT_ONCE: usize = 16;
/// A thousand hooks of others.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// See the module.
pub struct NodeHooks {
    /// The pool.
    pub fleet: Arc<Fleet>,
    /// The way to the nodes.
    pub client: Client,
    /// Where nodes reach us.
    pub public_url: Url,
    /// Whoever polls a node also sees to its webhook: all instances are reached by one address.
    pub duties: Duties,
}

/// Why a node has not the hooks that it should have.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Http(#[from] crate::node::Error),
    #[error("it has no bbb-webhooks")]
    None,
    #[error("its answer is no XML")]
    Xml(#[from] crate::bbb::XmlError),
    #[error("it answered FAILED: {0}")]
    Failed(String),
}

impl NodeHooks {
    /// Looks at all nodes when something has changed, and every minute, until `stop` turns true.
    pub async fn run(&self, metrics: &Metrics, mut stop: watch::Receiver<bool>) {
        let (mut hooks, mut inventory) = (self.fleet.hooks.changes(), self.fleet.changes());
        let mut round = Round { hooks: self, is_of_all: true, seen_up: Mutex::default() };
        let mut duties = self.duties.clone();
        let mut all_at = Instant::now() + EVERY;
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = activate(&round, metrics) => {}
            }
            let (is_changed, is_settled) = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                Ok(()) = hooks.changed() => (true, true),
                Ok(()) = inventory.changed() => (true, false),
                () = duties.changed() => (true, false),
                () = sleep_until(self.next_look(all_at)) => (false, true),
            };
            if !is_settled {
                sleep(SETTLE).await;
            }
            if is_changed {
                // All of it is seen by the next round. What changes from here on begins another one.
                hooks.mark_unchanged();
                inventory.mark_unchanged();
                duties.mark_unchanged();
            }
            round.is_of_all = is_changed || all_at <= Instant::now();
            if round.is_of_all {
                all_at = Instant::now() + EVERY;
            }
        }
    }

    /// Until when to wait for a change. A node that was added is there before its first poll, and must not
    /// go without its hook for a whole minute. One that is down may be so for long.
    fn next_look(&self, all_at: Instant) -> Instant {
        let is_awaited =
            |node: &Arc<Node>| matches!(node.live.health(), Health::Unknown | Health::Suspect);
        let is_any_awaited = self.fleet.snapshot().nodes().any(is_awaited);
        if is_any_awaited { all_at.min(Instant::now() + SOON) } else { all_at }
    }

    /// Gives a node our hook, or takes it away.
    async fn adjust(&self, node: &Node, is_wanted: bool) -> Result<(), Trouble> {
        let path = hook_path(node);
        let own = callback_urls::below(&self.public_url, &path);
        let mut has_own = false;
        for (id, url) in self.list(node).await? {
            if url == own && is_wanted && !has_own {
                has_own = true;
            } else if url.ends_with(&path) {
                // No longer wanted, or from when we were reached by another address.
                let mut params = Params::default();
                params.push("hookID", &id);
                self.ask(node, Call::HooksDestroy, &params).await?;
                info!("node {}: its webhook was taken away", node.name());
            }
        }
        if is_wanted && !has_own {
            let mut params = Params::default();
            params.push("callbackURL", &own);
            self.ask(node, Call::HooksCreate, &params).await?;
            info!("node {}: it has a webhook now", node.name());
        }
        Ok(())
    }

    /// Numbers and addresses of a node's hooks.
    async fn list(&self, node: &Node) -> Result<Vec<(String, String)>, Trouble> {
        let answer = self.ask(node, Call::HooksList, &Params::default()).await?;
        let hooks = answer.element().child("hooks");
        let pairs = hooks.into_iter().flat_map(|hooks| hooks.children_named("hook")).map(|hook| {
            let text = |name| hook.child_text(name).unwrap_or_default().trim().to_owned();
            (text("hookID"), text("callbackURL"))
        });
        Ok(pairs.collect())
    }

    async fn ask(&self, node: &Node, call: Call, params: &Params<'_>) -> Result<Answer, Trouble> {
        let (algorithm, secret) = (node.cluster.checksum, node.spec.secret.expose());
        let query = signed_url(&[], algorithm, call.as_str(), params, secret);
        let response = self
            .client
            .call(&node.spec.url, call.as_str(), &query, None, TIMEOUT, MAX_ANSWER_BYTES)
            .await?;
        if response.status != 200 {
            return Err(Trouble::None);
        }
        let answer = Answer::parse(&response.body)?;
        if answer.is_success() {
            return Ok(answer);
        }
        match answer.message_key().as_deref() {
            Some("unsupportedRequest") => Err(Trouble::None),
            key => Err(Trouble::Failed(key.unwrap_or_default().chars().take(40).collect())),
        }
    }
}

/// One look at the nodes.
struct Round<'h> {
    hooks: &'h NodeHooks,
    /// Whether those are asked, too, that were up the last time: while one node is waited for, which may take
    /// long, the others are not asked every second.
    is_of_all: bool,
    /// The nodes that were up the last time.
    seen_up: Mutex<HashSet<NodeName>>,
}

#[async_trait]
impl Task for Round<'_> {
    fn name(&self) -> &'static str {
        "hooks"
    }

    async fn activate(&self) -> Result<(), Failed> {
        let snapshot = self.hooks.fleet.snapshot();
        let hooks = &self.hooks.fleet.hooks;
        let wanted: HashSet<_> = snapshot
            .tenants()
            .filter(|tenant| hooks.has_any(&tenant.tenant.slug))
            .flat_map(|tenant| &tenant.nodes)
            .map(|node| node.name().clone())
            .collect();
        if wanted.is_empty() && !hooks.were_any() {
            return Ok(());
        }
        let is_due = |node: &&Arc<Node>| {
            node.live.health() == Health::Up && self.hooks.duties.is_ours(node.name().as_str())
        };
        let mut nodes: Vec<Arc<Node>> = snapshot.nodes().filter(is_due).cloned().collect();
        let up = nodes.iter().map(|node| node.name().clone()).collect();
        let seen_up = mem::replace(&mut *self.seen_up.lock(), up);
        nodes.retain(|node| self.is_of_all || !seen_up.contains(node.name()));
        let adjusted = stream::iter(nodes)
            .map(|node| {
                let is_wanted = wanted.contains(node.name());
                async move { (self.hooks.adjust(&node, is_wanted).await, node) }
            })
            .buffer_unordered(AT_ONCE);
        let failures = adjusted.fold(0_usize, |failures, (outcome, node)| async move {
            match outcome {
                Ok(()) => failures,
                Err(Trouble::None) => {
                    debug!("node {} has no bbb-webhooks", node.name());
                    failures
                }
                Err(trouble) => {
                    warn!("node {}: its webhook: {}", node.name(), Chain(&trouble));
                    failures + 1
                }
            }
        });
        if failures.await == 0 { Ok(()) } else { Err(Failed) }
    }
}
