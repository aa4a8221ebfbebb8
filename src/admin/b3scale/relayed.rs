//! How much is relayed.
//!
//! A URL that b3scale has made is good for ever, and whoever has it can tell of any number of meetings, each of which
//! is kept for a while. So there are bounds: for each URL, so that one which got about does not use up what its
//! tenant's others need, and for all URLs of a tenant, so that no tenant is heard less because of another.
//!
//! Whose URL it is says its token, which only b3scale could sign: the frontend in `sub`. Which meeting is told of says
//! whoever calls, so a window by the tenant of the meeting could be used up by everybody. It counts where there is no
//! `sub` only.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::Slug;

/// In one window by one URL, which may be that of all meetings of a tenant.
const MAX_OF_URL: u32 = 1_000;
/// In one window by all URLs of one frontend.
const MAX_OF_FRONTEND: u32 = 2_000;
/// Frontends that are counted. Nobody can make one up, so more of them mean that tokens are made otherwise.
const MAX_FRONTENDS: usize = 1_000;
const WINDOW: Duration = Duration::from_mins(1);

/// Whose URL it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Frontend {
    /// As b3scale has called it.
    Named(String),
    /// Its URLs do not say it; this tenant's meetings are told of.
    Of(Slug),
}

#[derive(Debug)]
struct Window {
    begun: Instant,
    all: u32,
    /// By what their tokens hash to; no more than [`MAX_OF_FRONTEND`].
    by_url: HashMap<u64, u32>,
}

/// What was relayed in the windows that last.
#[derive(Debug, Default)]
pub(super) struct Relayed {
    windows: Mutex<HashMap<Frontend, Window>>,
    hashes: RandomState,
}

impl Relayed {
    /// Counts a callback of a tenant's meeting by the URL with this token; true if it is one too many.
    pub(super) fn is_too_much(&self, frontend: &str, token: &str, tenant: &Slug) -> bool {
        let now = Instant::now();
        let frontend = match frontend {
            "" => Frontend::Of(tenant.clone()),
            named => Frontend::Named(named.to_owned()),
        };
        let mut windows = self.windows.lock();
        let is_over = |window: &Window| now.duration_since(window.begun) >= WINDOW;
        if windows.len() >= MAX_FRONTENDS && !windows.contains_key(&frontend) {
            windows.retain(|_, window| !is_over(window));
            if windows.len() >= MAX_FRONTENDS {
                return true;
            }
        }
        let fresh = || Window { begun: now, all: 0, by_url: HashMap::new() };
        let window = windows.entry(frontend).or_insert_with(fresh);
        if is_over(window) {
            *window = fresh();
        }
        if window.all >= MAX_OF_FRONTEND {
            return true;
        }
        let of_url = window.by_url.entry(self.hashes.hash_one(token)).or_default();
        if *of_url >= MAX_OF_URL {
            return true;
        }
        *of_url += 1;
        window.all += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slug(name: &str) -> Slug {
        name.parse().expect("a slug")
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_has_its_end() {
        let relayed = Relayed::default();
        let tell = || relayed.is_too_much("0c1f", "url", &slug("acme"));
        for _ in 0..MAX_OF_URL {
            assert!(!tell());
        }
        assert!(tell());
        tokio::time::advance(WINDOW).await;
        assert!(!tell());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_uses_up_what_others_need() {
        let relayed = Relayed::default();
        let tell = |frontend: &str, token: &str, tenant: &str| {
            !relayed.is_too_much(frontend, token, &slug(tenant))
        };
        // One URL leaves something to others of its frontend, whosever meetings it tells of.
        let told = (0..MAX_OF_URL + 10).filter(|_| tell("a", "known to all", "beta")).count();
        assert_eq!(told, MAX_OF_URL as usize);
        assert!(tell("a", "another", "acme"));
        // However many it has, one frontend leaves all to others.
        let told = (0..5000).filter(|url| tell("a", &url.to_string(), "beta")).count();
        assert_eq!(told, (MAX_OF_FRONTEND - MAX_OF_URL - 1) as usize);
        let told = (0..MAX_OF_URL).filter(|_| tell("b", "its own", "beta")).count();
        assert_eq!(told, MAX_OF_URL as usize);
        // Those that do not say whose they are.
        let told = (0..5000).filter(|url| tell("", &url.to_string(), "acme")).count();
        assert_eq!(told, MAX_OF_FRONTEND as usize);
        assert!(tell("", "0", "beta"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_windows_is_bounded() {
        let relayed = Relayed::default();
        let tell = |number: usize| !relayed.is_too_much(&number.to_string(), "url", &slug("acme"));
        assert!((0..MAX_FRONTENDS).all(tell));
        assert!(!tell(MAX_FRONTENDS));
        assert!(tell(0));
        tokio::time::advance(WINDOW).await;
        assert!(tell(MAX_FRONTENDS));
        assert_eq!(relayed.windows.lock().len(), 1);
    }
}
