//! Who calls: bearer tokens, what they may do, and what becomes of wrong ones.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use hmac::{Hmac, KeyInit, Mac};
use log::{info, warn};
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::Sha256;
use tokio::time::Instant;

use super::Desk;
use super::problem::Problem;
use crate::admin::Peer;
use crate::bbb::jwt;
use crate::chain::Chain;
use crate::fleet::now_ms;
use crate::model::{Secret, Token};
use crate::store::Store;

/// Failures of one address within [`FORGOTTEN_AFTER`] that are answered one by one.
const FAILURES: u32 = 10;
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);
/// Addresses whose failures are counted. Whoever has more is told nothing about any.
const MAX_ADDRESSES: usize = 10_000;
/// How old the list of revoked tokens may be.
const REVOKED_KNOWN_FOR: Duration = Duration::from_secs(1);
/// Words of one token, and the length of each.
pub(super) const MAX_CLAIM_BYTES: usize = 200;

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything.
    Admin,
    /// See everything, change nothing.
    Operator,
    /// What a node may tell of itself.
    Node,
    /// See what is one tenant's.
    Tenant,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Operator, Self::Node, Self::Tenant];

    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Node => "node",
            Self::Tenant => "tenant",
        }
    }

    /// The word in a token.
    pub fn claim(self) -> String {
        format!("portico:{}", self.as_str())
    }

    fn from_claim(word: &str) -> Option<Self> {
        let word = word.strip_prefix("portico:")?;
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// Who calls, once the token was believed.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    scopes: Vec<Scope>,
    /// The only tenant that it may see.
    tenant: Option<String>,
    /// For the trail: the subject and the id of its token.
    pub(super) name: String,
    /// For the log, where no person is named: the id of its token.
    pub(super) token: String,
}

impl Caller {
    /// By whom an inventory was applied, as every instance will log it.
    pub(super) fn signature(&self) -> String {
        format!("the API (token {})", self.token)
    }

    /// Goes on for those who may see everything.
    pub(super) fn may_read(&self) -> Result<(), Problem> {
        self.may(&[Scope::Admin, Scope::Operator])
    }

    /// Goes on for those who may change everything.
    pub(super) fn may_write(&self) -> Result<(), Problem> {
        self.may(&[Scope::Admin])
    }

    /// Goes on for those who may see what is this tenant's.
    pub(super) fn may_read_of(&self, tenant: &str) -> Result<(), Problem> {
        let is_own = self.scopes.contains(&Scope::Tenant) && self.tenant.as_deref() == Some(tenant);
        if is_own { Ok(()) } else { self.may_read() }
    }

    /// The only tenant whose things it may see, or nothing where it may see everybody's; goes on for those only.
    pub(super) fn may_read_some(&self) -> Result<Option<&str>, Problem> {
        let own = self.tenant.as_deref().filter(|_| self.scopes.contains(&Scope::Tenant));
        match (self.may_read(), own) {
            (Ok(()), _) => Ok(None),
            (Err(_), Some(own)) => Ok(Some(own)),
            // A token of scope tenant that names no tenant sees nobody's.
            (Err(refused), None) => Err(refused),
        }
    }

    fn may(&self, scopes: &[Scope]) -> Result<(), Problem> {
        if scopes.iter().any(|scope| self.scopes.contains(scope)) {
            return Ok(());
        }
        let needed: Vec<_> = scopes.iter().map(|scope| scope.claim()).collect();
        Err(Problem::forbidden(format!("the token needs the scope {}", needed.join(" or "))))
    }
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    scope: String,
    #[serde(default)]
    sub: String,
    jti: String,
    iat: Option<u64>,
    exp: Option<u64>,
    tenant: Option<String>,
}

/// The door of the API.
pub(super) struct Gate {
    key: Option<Secret>,
    store: Arc<dyn Store>,
    failures: Mutex<HashMap<IpAddr, (u32, Instant)>>,
    revoked: ArcSwapOption<Revoked>,
    seen: Mutex<HashSet<String>>,
}

struct Revoked {
    ids: HashSet<String>,
    read_at: Instant,
}

impl Gate {
    pub(super) fn new(key: Option<Secret>, store: Arc<dyn Store>) -> Self {
        Self {
            key,
            store,
            failures: Mutex::default(),
            revoked: ArcSwapOption::empty(),
            seen: Mutex::default(),
        }
    }

    async fn admit(&self, authorization: Option<&str>, peer: IpAddr) -> Result<Caller, Problem> {
        let Some(key) = &self.key else {
            return Err(Problem::unauthorized(
                "the API is switched off: set api.jwt_secret and restart",
            ));
        };
        let admitted = match authorization {
            None => Err("there is no token: send `Authorization: Bearer …`"),
            Some(header) => self.check(header, key).await,
        };
        admitted.map_err(|reason| self.refuse(peer, reason))
    }

    async fn check(&self, header: &str, key: &Secret) -> Result<Caller, &'static str> {
        let (kind, token) = header.split_once(' ').unwrap_or_default();
        if !kind.eq_ignore_ascii_case("bearer") {
            return Err("there is no bearer token: send `Authorization: Bearer …`");
        }
        let claims = jwt::verify_hs384(token.trim(), key.expose());
        let claims = claims.ok_or("the token was not signed with api.jwt_secret")?;
        let claims: Claims =
            serde_json::from_value(claims).map_err(|_incomplete| "the token has no id (jti)")?;
        if claims.exp.is_some_and(|exp| exp <= now_ms() / 1000) {
            return Err("the token has expired");
        }
        let words = [&claims.jti, &claims.sub, &claims.scope];
        let is_odd =
            |word: &&String| word.len() > MAX_CLAIM_BYTES || word.contains(char::is_control);
        if claims.jti.is_empty() || words.iter().any(is_odd) {
            return Err("the token has no id (jti), or an odd one");
        }
        match self.is_revoked(&claims.jti).await {
            Some(false) => {}
            Some(true) => return Err("the token was revoked"),
            None => {
                return Err("whether the token was revoked cannot be told while the store is away");
            }
        }
        self.remember(&claims).await;
        Ok(Caller {
            scopes: claims.scope.split_whitespace().filter_map(Scope::from_claim).collect(),
            name: format!("{} ({})", claims.sub, claims.jti),
            token: claims.jti,
            tenant: claims.tenant,
        })
    }

    /// Wrong tokens are logged and answered, but not without end.
    fn refuse(&self, peer: IpAddr, reason: &'static str) -> Problem {
        let now = Instant::now();
        let mut failures = self.failures.lock();
        failures.retain(|_, (_, since)| now.duration_since(*since) < FORGOTTEN_AFTER);
        if failures.len() >= MAX_ADDRESSES && !failures.contains_key(&peer) {
            return Problem::too_many("too many wrong tokens", FORGOTTEN_AFTER.as_secs());
        }
        let (count, _since) = failures.entry(peer).or_insert((0, now));
        *count += 1;
        if *count > FAILURES {
            if *count == FAILURES + 1 {
                warn!("API: too many wrong tokens from {peer}");
            }
            return Problem::too_many("too many wrong tokens", FORGOTTEN_AFTER.as_secs());
        }
        warn!("API: refused a call from {peer}: {reason}");
        Problem::unauthorized(reason)
    }

    /// While the store cannot be asked, what was known last holds; nothing where nothing is known.
    async fn is_revoked(&self, id: &str) -> Option<bool> {
        let known = self.revoked.load_full();
        if let Some(known) = &known
            && known.read_at.elapsed() < REVOKED_KNOWN_FOR
        {
            return Some(known.ids.contains(id));
        }
        let read_at = Instant::now();
        match self.store.tokens().await {
            Ok(tokens) => {
                let ids: HashSet<_> = tokens
                    .into_iter()
                    .filter(|token| token.revoked_at_ms.is_some())
                    .map(|token| token.id)
                    .collect();
                let is_revoked = ids.contains(id);
                self.revoked.store(Some(Arc::new(Revoked { ids, read_at })));
                Some(is_revoked)
            }
            Err(trouble) => {
                warn!("API: revoked tokens cannot be read: {}", Chain(&trouble));
                known.map(|known| known.ids.contains(id))
            }
        }
    }

    /// From the next call on, whatever becomes of the store.
    pub(super) fn revoke(&self, id: &str) {
        self.revoked.rcu(|known| {
            let (mut ids, read_at) = match known {
                Some(known) => (known.ids.clone(), known.read_at),
                None => return None,
            };
            ids.insert(id.to_owned());
            Some(Arc::new(Revoked { ids, read_at }))
        });
    }

    /// Tells texts apart for those who know `api.jwt_secret`, and nobody else.
    pub(super) fn mark(&self, text: &str) -> Vec<u8> {
        let key = self.key.as_ref().map_or("", Secret::expose);
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_bytes())
            .expect("an HMAC takes keys of any length");
        mac.update(b"etag ");
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    async fn remember(&self, claims: &Claims) {
        if !self.seen.lock().insert(claims.jti.clone()) {
            return;
        }
        info!("API: token {} is used for the first time here", claims.jti);
        let token = Token {
            id: claims.jti.clone(),
            scopes: claims.scope.clone(),
            subject: claims.sub.clone(),
            tenant: claims.tenant.clone(),
            issued_at_s: claims.iat,
            expires_at_s: claims.exp,
            seen_at_ms: Some(now_ms()),
            revoked_at_ms: None,
        };
        if let Err(trouble) = self.store.add_token(&token).await {
            self.seen.lock().remove(&token.id);
            warn!("API: a token is not listed yet: {}", Chain(&trouble));
        }
    }
}

impl FromRequestParts<Desk> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, Problem> {
        let unknown = Peer(IpAddr::from([0, 0, 0, 0]));
        let Peer(peer) = parts.extensions.get::<Peer>().copied().unwrap_or(unknown);
        let header = parts.headers.get(header::AUTHORIZATION);
        desk.gate.admit(header.and_then(|header| header.to_str().ok()), peer).await
    }
}
