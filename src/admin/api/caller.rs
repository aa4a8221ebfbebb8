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
use serde_json::Value;
use sha2::Sha256;
use tokio::time::Instant;

use super::Desk;
use super::problem::Problem;
use super::refusals::Refusals;
use crate::admin::{Local, Peer};
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
/// Addresses that have long not failed are looked for no more often.
const SWEPT_EVERY: Duration = Duration::from_secs(1);
/// Ids that are known to be in the store.
const MAX_SEEN: usize = 10_000;
/// How old the list of revoked tokens may be.
const REVOKED_KNOWN_FOR: Duration = Duration::from_secs(1);
/// Words of one token, and the length of each.
pub const MAX_CLAIM_BYTES: usize = 200;

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
    /// It came by the socket of this machine, and has no token.
    is_local: bool,
    /// The only tenant that it may see.
    tenant: Option<String>,
    pub(super) who: Who,
}

/// By whom something was done.
#[derive(Debug, Clone)]
pub(in crate::admin) struct Who {
    /// For the trail: the subject and the id of the token.
    pub(in crate::admin) name: String,
    /// For the log, where no person is named: the id of the token.
    pub(super) token: String,
}

impl Who {
    /// By whom an inventory was applied, as every instance will log it.
    pub(super) fn signature(&self) -> String {
        format!("the API (token {})", self.token)
    }
}

impl Caller {
    /// Root of this machine, or who we run as.
    fn local(uid: u32) -> Self {
        let name = format!("local uid {uid}");
        let who = Who { token: name.clone(), name };
        Self { scopes: vec![Scope::Admin], is_local: true, tenant: None, who }
    }

    /// Whether it needs no token.
    pub(super) fn is_local(&self) -> bool {
        self.is_local
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

/// What a token says.
#[derive(Deserialize)]
pub(in crate::admin) struct Claims {
    #[serde(default)]
    pub(in crate::admin) scope: String,
    #[serde(default)]
    pub(in crate::admin) sub: String,
    jti: Option<String>,
    iat: Option<NumericDate>,
    nbf: Option<NumericDate>,
    exp: Option<NumericDate>,
    tenant: Option<String>,
    /// Where b3scale's callbacks lead.
    aud: Option<Value>,
}

/// Seconds since 1970, with fractions where a library writes them so (RFC 7519 §2).
#[derive(Debug, Clone, Copy, Deserialize)]
struct NumericDate(f64);

impl NumericDate {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds are exact for 285,000 years")]
    fn is_past(self) -> bool {
        self.0 <= now_ms() as f64 / 1000.0
    }

    /// Whole seconds; what is far from now ends where numbers do.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
    fn seconds(self) -> u64 {
        self.0 as u64
    }
}

impl Claims {
    /// `aud`, whatever it is.
    pub(in crate::admin) fn audience(&self) -> Option<Value> {
        self.aud.clone()
    }

    /// For the log and the trail. A token of b3scale's tools may have no id, and is known by its subject.
    pub(in crate::admin) fn who(&self) -> Who {
        match &self.jti {
            Some(id) => Who { name: format!("{} ({id})", self.sub), token: id.clone() },
            None => Who { name: self.sub.clone(), token: "without an id".to_owned() },
        }
    }
}

/// Whether tokens need an id, by which they can be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum Ids {
    /// As we make them.
    Needed,
    /// As b3scale's tools may make them.
    Optional,
    /// There are as many as meetings, so they are not listed, and none is revoked.
    Unlisted,
}

/// Why a token does not open the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum Denied {
    /// There is no key, so there are no tokens.
    Off,
    /// There is none.
    Missing(&'static str),
    /// It is not believed.
    Wrong(&'static str),
    /// Whether it was revoked cannot be told while the store is away.
    Away,
    /// Too many wrong ones came from there.
    TooMany,
}

/// What operators read while the store is away.
pub(in crate::admin) const AWAY: &str =
    "whether the token was revoked cannot be told while the store is away: try again";
/// What operators read who have not set a key.
pub(in crate::admin) const OFF: &str = "the API is switched off: set api.jwt_secret and restart";

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Off => Self::unauthorized(OFF),
            Denied::Missing(reason) | Denied::Wrong(reason) => Self::unauthorized(reason),
            Denied::Away => Self::away(AWAY),
            Denied::TooMany => Self::too_many("too many wrong tokens", FORGOTTEN_AFTER.as_secs()),
        }
    }
}

/// The door of the API.
pub(in crate::admin) struct Gate {
    /// The first one signs; all are believed.
    keys: Vec<Secret>,
    store: Arc<dyn Store>,
    failures: Mutex<HashMap<IpAddr, (u32, Instant)>>,
    /// When those were last forgotten that are long past.
    swept: Mutex<Instant>,
    revoked: ArcSwapOption<Revoked>,
    /// By ourselves: no list that was read before takes that back.
    revoked_here: Mutex<HashSet<String>>,
    seen: Mutex<HashSet<String>>,
    pub(in crate::admin) refused: Refusals,
}

struct Revoked {
    ids: HashSet<String>,
    read_at: Instant,
}

impl Gate {
    pub(super) fn new(keys: Vec<Secret>, store: Arc<dyn Store>) -> Self {
        Self {
            keys,
            store,
            failures: Mutex::default(),
            swept: Mutex::new(Instant::now()),
            revoked: ArcSwapOption::empty(),
            revoked_here: Mutex::default(),
            seen: Mutex::default(),
            refused: Refusals::default(),
        }
    }

    async fn admit(&self, authorization: Option<&str>, peer: IpAddr) -> Result<Caller, Problem> {
        let claims = self.verify(authorization, peer, Ids::Needed).await?;
        Ok(Caller {
            scopes: claims.scope.split_whitespace().filter_map(Scope::from_claim).collect(),
            who: claims.who(),
            is_local: false,
            tenant: claims.tenant,
        })
    }

    /// Whether a token that was believed before still is. That one comes to its end is no attempt to get in.
    pub(super) async fn still_admits(&self, authorization: Option<&str>) -> bool {
        match authorization {
            Some(header) => self.check(header, Ids::Needed).await.is_ok(),
            None => false,
        }
    }

    /// What a token says, if it is believed.
    pub(in crate::admin) async fn verify(
        &self,
        authorization: Option<&str>,
        peer: IpAddr,
        ids: Ids,
    ) -> Result<Claims, Denied> {
        if self.keys.is_empty() {
            return Err(Denied::Off);
        }
        let verified = match authorization {
            None => Err(Denied::Missing("there is no token: send `Authorization: Bearer …`")),
            Some(header) => self.check(header, ids).await,
        };
        verified.map_err(|denied| match denied {
            Denied::Away => denied,
            denied => self.refused.count(self.refuse(peer, denied)),
        })
    }

    async fn check(&self, header: &str, ids: Ids) -> Result<Claims, Denied> {
        let (kind, token) = header.split_once(' ').unwrap_or_default();
        if !kind.eq_ignore_ascii_case("bearer") {
            let reason = "there is no bearer token: send `Authorization: Bearer …`";
            return Err(Denied::Missing(reason));
        }
        let mut keys = self.keys.iter();
        let claims = keys.find_map(|key| jwt::verify_hs384(token.trim(), key.expose()));
        let claims = claims.ok_or(Denied::Wrong("the token was not signed with api.jwt_secret"))?;
        let claims: Claims = serde_json::from_value(claims)
            .map_err(|_odd| Denied::Wrong("the token's claims are of the wrong types"))?;
        if claims.exp.is_some_and(NumericDate::is_past) {
            return Err(Denied::Wrong("the token has expired"));
        }
        if claims.nbf.is_some_and(|nbf| !nbf.is_past()) {
            return Err(Denied::Wrong("the token is not valid yet"));
        }
        let id = claims.jti.as_deref().unwrap_or_default();
        let words = [id, &claims.sub, &claims.scope, claims.tenant.as_deref().unwrap_or_default()];
        let lacks_id = id.is_empty() && ids == Ids::Needed;
        let is_odd = |word: &str| word.len() > MAX_CLAIM_BYTES || word.contains(char::is_control);
        if lacks_id || words.into_iter().any(is_odd) {
            return Err(Denied::Wrong("the token has no id (jti), or an odd one"));
        }
        if !id.is_empty() && ids != Ids::Unlisted {
            match self.is_revoked(id).await {
                Some(false) => {}
                Some(true) => return Err(Denied::Wrong("the token was revoked")),
                None => return Err(Denied::Away),
            }
            self.remember(&claims, id).await;
        }
        Ok(claims)
    }

    /// Wrong tokens are logged and answered, but not without end.
    fn refuse(&self, peer: IpAddr, denied: Denied) -> Denied {
        let now = Instant::now();
        let mut failures = self.failures.lock();
        let is_old = |since: &Instant| now.duration_since(*since) >= FORGOTTEN_AFTER;
        if failures.len() >= MAX_ADDRESSES && !failures.contains_key(&peer) {
            // Rarely: each look is at all of them.
            if self.swept.lock().elapsed() >= SWEPT_EVERY {
                failures.retain(|_, (_, since)| !is_old(since));
                *self.swept.lock() = now;
            }
            if failures.len() >= MAX_ADDRESSES {
                return Denied::TooMany;
            }
        }
        let (count, since) = failures.entry(peer).or_insert((0, now));
        if is_old(since) {
            (*count, *since) = (0, now);
        }
        *count += 1;
        if *count > FAILURES {
            if *count == FAILURES + 1 {
                warn!("API: too many wrong tokens from {peer}");
            }
            return Denied::TooMany;
        }
        if let Denied::Missing(reason) | Denied::Wrong(reason) = denied {
            warn!("API: refused a call from {peer}: {reason}");
        }
        denied
    }

    /// While the store cannot be asked, what was known last holds; nothing where nothing is known.
    async fn is_revoked(&self, id: &str) -> Option<bool> {
        if self.revoked_here.lock().contains(id) {
            return Some(true);
        }
        let known = self.revoked.load_full();
        if let Some(known) = &known
            && known.read_at.elapsed() < REVOKED_KNOWN_FOR
        {
            return Some(known.ids.contains(id));
        }
        let read_at = Instant::now();
        match self.store.revoked_tokens().await {
            Ok(ids) => {
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
        self.revoked_here.lock().insert(id.to_owned());
    }

    /// Tells texts apart for those who know `api.jwt_secret`, and nobody else.
    pub(super) fn mark(&self, text: &str) -> Vec<u8> {
        let key = self.keys.first().map_or("", Secret::expose);
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_bytes())
            .expect("an HMAC takes keys of any length");
        mac.update(b"etag ");
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    async fn remember(&self, claims: &Claims, id: &str) {
        {
            let mut seen = self.seen.lock();
            if seen.len() >= MAX_SEEN {
                // What is remembered twice is remembered.
                seen.clear();
            }
            if !seen.insert(id.to_owned()) {
                return;
            }
        }
        info!("API: token {id} is used for the first time here");
        let token = Token {
            id: id.to_owned(),
            scopes: claims.scope.clone(),
            subject: claims.sub.clone(),
            tenant: claims.tenant.clone(),
            issued_at_s: claims.iat.map(NumericDate::seconds),
            expires_at_s: claims.exp.map(NumericDate::seconds),
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
        if let Some(Local(uid)) = parts.extensions.get::<Local>() {
            return Ok(Self::local(*uid));
        }
        let unknown = Peer(IpAddr::from([0, 0, 0, 0]));
        let Peer(peer) = parts.extensions.get::<Peer>().copied().unwrap_or(unknown);
        let header = parts.headers.get(header::AUTHORIZATION);
        desk.gate.admit(header.and_then(|header| header.to_str().ok()), peer).await
    }
}
