//! A meeting that the directory does not have may have been created by another instance, or by the other
//! process of an upgrade: the store is asked.
//!
//! All that ask at one moment share a statement, and no two are under way, so clients that ask for what does not
//! exist cost the store next to nothing. What was asked for a moment ago is not asked for again, except where
//! an old answer would do harm: a meeting that was acknowledged must be there for whoever joins it. The
//! directory is always looked at first, so a meeting that has entered it is there at once. A store that is
//! silent or away is not waited for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use log::warn;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Edge;
use super::calls::Asked;
use super::patience::Patience;
use crate::bbb::Call;
use crate::chain::Chain;
use crate::fleet::{Fleet, Phase, identity};
use crate::model::Slug;
use crate::store::Store;

/// For so long nobody asks again for what nodes call and tell.
const ASKED_FOR: Duration = Duration::from_secs(1);
/// The same for questions of front ends. Where other instances are heard nothing is remembered for these: what
/// is missing has been created in the last moment, or not at all.
const ASKED_FOR_QUESTIONS: Duration = Duration::from_millis(100);
/// Names that were asked for are forgotten earlier if there are more.
const MAX_ASKED: usize = 50_000;
/// Names in one statement.
const MAX_WANTED: usize = 1_000;
/// Longer names no meeting has.
const MAX_NAME_BYTES: usize = 1024;

type Name = (Slug, String);

/// What is being asked for, and what was.
#[derive(Default)]
pub(super) struct Lookups(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What the next statement asks for, while another one is under way.
    next: Batch,
    is_asking: bool,
    asked: Recent,
}

struct Batch {
    names: HashSet<Name>,
    /// Changes when there is an answer, and closes when there will be none.
    done: watch::Sender<()>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { names: HashSet::new(), done: watch::Sender::new(()) }
    }
}

/// Digests of names, and when they were asked for, in two halves, the older of which goes at once.
struct Recent {
    young: HashMap<[u8; 16], Instant, RandomState>,
    old: HashMap<[u8; 16], Instant, RandomState>,
    since: Instant,
}

impl Default for Recent {
    fn default() -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), since: Instant::now() }
    }
}

impl Recent {
    fn contains(&mut self, name: &[u8; 16], within: Duration) -> bool {
        self.turn();
        let asked_at = self.young.get(name).or_else(|| self.old.get(name));
        asked_at.is_some_and(|asked_at| asked_at.elapsed() < within)
    }

    fn insert(&mut self, name: [u8; 16], asked_at: Instant) {
        self.turn();
        self.young.insert(name, asked_at);
    }

    fn turn(&mut self) {
        let age = self.since.elapsed();
        if age >= ASKED_FOR || self.young.len() >= MAX_ASKED {
            self.old = std::mem::take(&mut self.young);
            self.since = Instant::now();
        }
        if age >= 2 * ASKED_FOR {
            self.old.clear();
        }
    }
}

fn digest((tenant, id): &Name) -> [u8; 16] {
    let mut digest = Sha256::new();
    digest.update(tenant.as_str());
    digest.update([0]);
    digest.update(id);
    let mut short = [0; 16];
    short.copy_from_slice(&digest.finalize()[..16]);
    short
}

impl Lookups {
    /// Has the store asked for these names, unless it was `within` this time, and waits until it has answered.
    /// Returns whether it has.
    async fn ask(
        &self,
        names: Vec<Name>,
        within: Duration,
        fleet: &Arc<Fleet>,
        store: &Arc<dyn Store>,
        patience: &Arc<Patience>,
    ) -> bool {
        let mut done = {
            let mut state = self.0.lock();
            let names = names.into_iter().filter(|(_, id)| id.len() <= MAX_NAME_BYTES);
            let wanted: Vec<_> =
                names.filter(|name| !state.asked.contains(&digest(name), within)).collect();
            if wanted.is_empty() {
                return true;
            }
            if patience.is_lost() || state.next.names.len() >= MAX_WANTED {
                return false;
            }
            state.next.names.extend(wanted);
            let done = state.next.done.subscribe();
            if !state.is_asking {
                state.is_asking = true;
                // On its own, for whoever waits may be gone before the others.
                drop(tokio::spawn(work(
                    self.0.clone(),
                    fleet.clone(),
                    store.clone(),
                    patience.clone(),
                )));
            }
            done
        };
        // Told when there is an answer; dropped in any case.
        patience.wait(async { done.changed().await.is_ok() }).await.unwrap_or(false)
    }
}

/// Asks until nobody waits any more.
async fn work(
    state: Arc<Mutex<State>>,
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    patience: Arc<Patience>,
) {
    let asking = Asking(state);
    loop {
        let batch = {
            let mut state = asking.0.lock();
            if state.next.names.is_empty() {
                state.is_asking = false;
                return;
            }
            std::mem::take(&mut state.next)
        };
        let Batch { names, done } = batch;
        let names: Vec<Name> = names.into_iter().collect();
        // What is created while the store answers may be missing in the answer.
        let asked_at = Instant::now();
        let is_answered = match store.find_meetings(&names).await {
            Ok(found) => {
                for meeting in found {
                    fleet.learn_missing(meeting);
                }
                true
            }
            Err(trouble) => {
                // Also so that the log does not fill with this.
                patience.lose();
                warn!("the store cannot be asked for meetings: {}", Chain(&trouble));
                false
            }
        };
        if is_answered {
            let mut state = asking.0.lock();
            for name in &names {
                state.asked.insert(digest(name), asked_at);
            }
            // Who waits may be gone.
            done.send_replace(());
        }
        drop(done);
    }
}

/// Lets the next one begin, also where the runtime drops us.
struct Asking(Arc<Mutex<State>>);

impl Drop for Asking {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_asking = false;
        // Whoever waits for it goes on without.
        state.next = Batch::default();
    }
}

impl Edge {
    /// Learns of the meeting that a call names, before anything is decided. Returns whether one that is not
    /// known then may run all the same, as nobody could be asked.
    pub(super) async fn learn_before(&self, asked: &Asked<'_>) -> bool {
        let name = match asked.call {
            // Whether the meeting itself runs is told with its claim.
            Call::Create => "parentMeetingID",
            Call::Join
            | Call::IsMeetingRunning
            | Call::GetMeetingInfo
            | Call::End
            | Call::InsertDocument
            | Call::SendChatMessage => "meetingID",
            _ => return false,
        };
        let Some(id) = asked.params.get(name) else { return false };
        let (tenant, scope, id) = (&asked.caller.tenant.tenant, &asked.caller.scope, id.trim());
        // One that has ended may run anew elsewhere.
        let known = self.fleet.find(tenant, scope, id);
        if id.is_empty() || known.is_some_and(|entry| entry.phase() == Phase::Running) {
            return false;
        }
        // A breakout room goes by what it was created as, too.
        let names = [id.to_owned(), identity::breakout_alias(scope, id)];
        let is_heard = self.fleet.instances.in_touch();
        let within = match asked.call {
            Call::IsMeetingRunning | Call::GetMeetingInfo if !is_heard => ASKED_FOR_QUESTIONS,
            _ => Duration::ZERO,
        };
        let is_answered = self.look_up_unless_asked(&scope.tenant, names, within).await;
        !is_answered && !is_heard
    }

    /// Learns of the meetings of a tenant with these names.
    pub(super) async fn look_up_names(
        &self,
        tenant: &Slug,
        names: impl IntoIterator<Item = String>,
    ) {
        self.look_up_unless_asked(tenant, names, ASKED_FOR).await;
    }

    async fn look_up_unless_asked(
        &self,
        tenant: &Slug,
        names: impl IntoIterator<Item = String>,
        within: Duration,
    ) -> bool {
        if !self.has_others() {
            return true;
        }
        let names = names.into_iter().map(|name| (tenant.clone(), name)).collect();
        self.lookups.ask(names, within, &self.fleet, &self.store, &self.patience).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> [u8; 16] {
        digest(&("acme".parse().expect("a slug"), number.to_string()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_for_is_remembered_for_a_second_at_most_and_never_too_much() {
        let mut asked = Recent::default();
        let half = ASKED_FOR / 2;
        let is_remembered = |asked: &mut Recent, number| asked.contains(&name(number), ASKED_FOR);
        assert!(!is_remembered(&mut asked, 1));
        asked.insert(name(1), Instant::now());
        tokio::time::advance(half).await;
        asked.insert(name(2), Instant::now());
        assert!(is_remembered(&mut asked, 1) && is_remembered(&mut asked, 2));
        tokio::time::advance(half).await;
        assert!(!is_remembered(&mut asked, 1) && is_remembered(&mut asked, 2));
        tokio::time::advance(10 * ASKED_FOR).await;
        assert!(!is_remembered(&mut asked, 2));
        for number in 0..3 * MAX_ASKED {
            asked.insert(name(number), Instant::now());
        }
        assert!(asked.young.len() + asked.old.len() <= 2 * MAX_ASKED);
        assert!(is_remembered(&mut asked, 3 * MAX_ASKED - 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_answered_from_memory_for_a_moment_since_the_store_was_asked() {
        let mut asked = Recent::default();
        let asked_at = Instant::now();
        tokio::time::advance(ASKED_FOR_QUESTIONS / 2).await;
        asked.insert(name(1), asked_at);
        assert!(asked.contains(&name(1), ASKED_FOR_QUESTIONS));
        assert!(!asked.contains(&name(1), Duration::ZERO));
        tokio::time::advance(ASKED_FOR_QUESTIONS / 2).await;
        assert!(!asked.contains(&name(1), ASKED_FOR_QUESTIONS));
        assert!(asked.contains(&name(1), ASKED_FOR));
    }
}
