//! In touch and out of touch: what begins anew each time, and the loop that hears the others.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use log::{debug, info, warn};
use tokio::sync::mpsc;
use tokio::time::{interval, sleep};

use super::mirror::with_known_names;
use super::{Instances, Link};
use crate::bus::{News, Position};
use crate::chain::Chain;
use crate::fleet::entry::{Entry, Phase};
use crate::fleet::{Fleet, Snapshot};
use crate::model::Meeting;
use crate::store::{Saved, Store};

/// How often placements are looked through for such as are too old.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// A store that is away is asked again after this.
const LOADED_AGAIN: Duration = Duration::from_secs(1);
/// Meetings between which others get their turn.
const AT_A_TIME: usize = 500;

/// What the store has, once it was read.
type Loading<'f> = Pin<Box<dyn Future<Output = Loaded> + Send + 'f>>;

/// Takes us out of touch when it is dropped.
struct BreaksOff<'i>(&'i Instances);

impl Drop for BreaksOff<'_> {
    fn drop(&mut self) {
        self.0.break_off();
    }
}

struct Loaded {
    saved: Saved,
    /// What the store had, as far as we knew before.
    before: HashSet<Box<str>>,
    /// What we had before that no poll has shown.
    unshown: Vec<Arc<Entry>>,
    /// The hooks are as they were when the reading began.
    hooks_are_quiet: bool,
}

impl Fleet {
    /// Hears what the others tell and tells them what we do, until the news end.
    pub async fn keep_in_step(&self, mut news: mpsc::Receiver<News>, store: Arc<dyn Store>) {
        let Some(link) = self.instances.link.get() else { return };
        // However it ends, and be it by a panic: nobody waits for us from then on.
        let _ends = BreaksOff(&self.instances);
        tokio::select! {
            () = self.hear(link, &mut news, store.as_ref()) => self.away(),
            () = self.instances.tell_all(link) => {}
            () = self.place_all(link) => {}
        }
    }

    async fn hear(&self, link: &Link, news: &mut mpsc::Receiver<News>, store: &dyn Store) {
        let mut sweep = interval(SWEEP_EVERY);
        let mut loading: Option<Loading<'_>> = None;
        loop {
            let loaded = async {
                match loading.as_mut() {
                    Some(loading) => loading.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                news = news.recv() => match news {
                    Some(News::Events(events)) => self.apply_events(&link.me, events),
                    Some(News::Joined(at)) => {
                        self.joined(at);
                        loading = Some(Box::pin(self.load(store)));
                    }
                    Some(News::Away) => {
                        self.away();
                        loading = None;
                    }
                    None => return,
                },
                loaded = loaded => {
                    loading = None;
                    if self.resync(loaded).await.is_err() {
                        loading = Some(Box::pin(self.load(store)));
                    }
                }
                now = sweep.tick() => self.instances.sweep(now),
            }
        }
    }

    fn joined(&self, at: Position) {
        debug!("the bus is followed from here on");
        self.instances.mirror.lock().begin(at);
        self.instances.set_reading(true);
        self.directory.departed.keep(true);
        self.instances.in_touch.store(true, Ordering::Release);
        self.instances.telling.begin_anew(|internal_id| {
            let known = self.directory.get_internal(internal_id);
            known.is_some_and(|entry| {
                entry.phase() == Phase::Running && self.directory.has_key(&entry)
            })
        });
    }

    fn away(&self) {
        if self.instances.in_touch() {
            warn!("out of touch with the other instances: this one goes on by itself");
        }
        self.instances.break_off();
        self.directory.departed.keep(false);
    }

    /// Reads what happened while we were not in touch.
    async fn load(&self, store: &dyn Store) -> Loaded {
        loop {
            let mut hooks = self.hooks.changes();
            hooks.mark_unchanged();
            let mut unshown = self.all_entries();
            unshown.retain(|entry| entry.is_saved());
            let before = unshown.iter().map(|entry| entry.internal_id().into()).collect();
            unshown.retain(|entry| !entry.is_shown());
            match store.load().await {
                Ok(saved) => {
                    let hooks_are_quiet = !hooks.has_changed().unwrap_or(true);
                    return Loaded { saved, before, unshown, hooks_are_quiet };
                }
                Err(trouble) => warn!("the store cannot be read yet: {}", Chain(&trouble)),
            }
            sleep(LOADED_AGAIN).await;
        }
    }

    /// Brings the directory in line with the store.
    ///
    /// # Errors
    /// When hooks came or went meanwhile: they are to be read again.
    async fn resync(&self, loaded: Loaded) -> Result<(), ()> {
        let Loaded { saved, before, unshown, hooks_are_quiet } = loaded;
        let ids: HashSet<&str> =
            saved.meetings.iter().map(|meeting| meeting.internal_id.as_str()).collect();
        let mut dropped = 0_usize;
        for (number, entry) in unshown.iter().enumerate() {
            if !ids.contains(entry.internal_id()) && !entry.is_shown() {
                self.directory.remove(entry);
                dropped += 1;
            }
            if number % AT_A_TIME == 0 {
                tokio::task::yield_now().await;
            }
        }
        let (snapshot, mut adopted) = (self.snapshot(), 0_usize);
        for (number, meeting) in saved.meetings.into_iter().enumerate() {
            if self.adopt_saved(&snapshot, &before, meeting) {
                adopted += 1;
            }
            if number % AT_A_TIME == 0 {
                tokio::task::yield_now().await;
            }
        }
        if dropped + adopted > 0 {
            info!("told by the store of meetings: {adopted} that run, {dropped} that are gone");
        }
        if !hooks_are_quiet {
            return Err(());
        }
        self.hooks.resync(saved.hooks);
        self.instances.set_reading(false);
        self.directory.departed.keep(false);
        Ok(())
    }

    /// Takes up a meeting that the store has, unless we know better. `before` is what the store had, as far as
    /// we knew, when the reading began: what else has the key came into the store later, or is still to come.
    pub(super) fn adopt_saved(
        &self,
        snapshot: &Snapshot,
        before: &HashSet<Box<str>>,
        meeting: Meeting,
    ) -> bool {
        let id = &*meeting.internal_id;
        if self.directory.get_internal(id).is_some() || self.directory.departed.fate(id).is_some() {
            return false;
        }
        let holder = self.directory.get(&meeting.key.scope, &meeting.key.id);
        if holder.is_some_and(|other| {
            other.phase() == Phase::Running && !before.contains(other.internal_id())
        }) {
            return false;
        }
        let Some(meeting) = with_known_names(snapshot, meeting) else { return false };
        self.weighed(snapshot, self.directory.adopt(meeting, true));
        true
    }

    /// A meeting that no poll has counted here weighs what is expected of it.
    pub(super) fn weighed(&self, snapshot: &Snapshot, entry: Arc<Entry>) -> Arc<Entry> {
        if let Some(node) = snapshot.node(entry.node().as_str()) {
            self.weigh_unpolled(node, &entry);
        }
        entry
    }
}
