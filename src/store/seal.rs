//! Secrets at rest: sealed with `store.key`, if there is one.
//!
//! ChaCha20-Poly1305 with a random nonce each time; a restart seals some hundred secrets, far from where
//! nonces could meet. What is sealed belongs to one node's name, or one place of a tenant, and opens for no other.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use sha2::{Digest, Sha256};

use crate::model::Secret;

/// Tells keys made for this from those that the same secret may make elsewhere.
const PURPOSE: &[u8] = b"portico: secrets of nodes, 1\0";
const PURPOSE_OF_MARKS: &[u8] = b"portico: marks of secrets, 1\0";

/// Seals and opens, or leaves everything as it is.
#[derive(Clone, Default)]
pub(super) struct Seal {
    /// Seals and opens.
    key: Option<Arc<Keys>>,
    /// Only opens.
    former: Option<Arc<Keys>>,
}

struct Keys {
    seals: LessSafeKey,
    marks: hmac::Key,
}

impl Keys {
    fn of(key: &Secret) -> Self {
        // A key has as many bits as a digest by its own length, so no slow derivation is needed.
        let digest =
            |purpose: &[u8]| Sha256::new_with_prefix(purpose).chain_update(key.expose()).finalize();
        let seals = UnboundKey::new(&CHACHA20_POLY1305, &digest(PURPOSE));
        let seals = LessSafeKey::new(seals.expect("a digest is 32 bytes"));
        let marks = hmac::Key::new(hmac::HMAC_SHA256, &digest(PURPOSE_OF_MARKS));
        Self { seals, marks }
    }
}

impl Seal {
    /// With the keys of the configuration.
    pub(super) fn new(key: Option<&Secret>, former: Option<&Secret>) -> Self {
        Self { key: key.map(Keys::of).map(Arc::new), former: former.map(Keys::of).map(Arc::new) }
    }

    /// Whether it seals anything.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Tells a secret from others by the same key. Without a key anybody can make it of the secret, who can read
    /// secrets in the same store then, too.
    pub(super) fn mark_of(&self, secret: &Secret) -> String {
        let open = || hmac::Key::new(hmac::HMAC_SHA256, PURPOSE_OF_MARKS);
        let key = self.key.as_ref().map_or_else(open, |keys| keys.marks.clone());
        let mark = hmac::sign(&key, secret.expose().as_bytes());
        hex::encode(mark.as_ref().first_chunk::<8>().unwrap_or(&[0; 8]))
    }

    /// A secret of the node `name`, sealed; nothing without a key.
    pub(super) fn close(&self, name: &str, secret: &str) -> Option<String> {
        let key = self.key.as_ref()?;
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = secret.as_bytes().to_vec();
        let (used, about) = (Nonce::assume_unique_for_key(nonce), Aad::from(name));
        key.seals.seal_in_place_append_tag(used, about, &mut sealed).expect("a secret is short");
        sealed.splice(..0, nonce);
        Some(STANDARD_NO_PAD.encode(sealed))
    }

    /// What was sealed for the node `name` with one of the keys; nothing if it was not.
    pub(super) fn open(&self, name: &str, sealed: &str) -> Option<String> {
        let mut keys = self.key.iter().chain(&self.former);
        keys.find_map(|key| key.open(name, sealed))
    }
}

impl Keys {
    fn open(&self, name: &str, sealed: &str) -> Option<String> {
        let sealed = STANDARD_NO_PAD.decode(sealed).ok()?;
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let (used, mut rest) = (Nonce::assume_unique_for_key(*nonce), rest.to_vec());
        let secret = self.seals.open_in_place(used, Aad::from(name), &mut rest).ok()?;
        String::from_utf8(secret.to_vec()).ok()
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_name_open_what_was_sealed() {
        let seal = |key: &str| Seal::new(Some(&Secret::new(key)), None);
        let (own, other) = (seal("a key of thirty-two bytes or more"), seal("another"));
        let sealed = own.close("bbb01", "hush \0🗝").unwrap();
        assert_ne!(own.close("bbb01", "hush \0🗝").unwrap(), sealed);
        assert!(!sealed.contains("hush"));
        assert_eq!(own.open("bbb01", &sealed).as_deref(), Some("hush \0🗝"));
        assert_eq!(own.open("bbb02", &sealed), None);
        assert_eq!(other.open("bbb01", &sealed), None);
        assert_eq!(Seal::default().open("bbb01", &sealed), None);
        let former = Secret::new("a key of thirty-two bytes or more");
        let new = Seal::new(Some(&Secret::new("another")), Some(&former));
        assert_eq!(new.open("bbb01", &sealed).as_deref(), Some("hush \0🗝"));
        let sealed_anew = new.close("bbb01", "hush").unwrap();
        assert_eq!(
            (own.open("bbb01", &sealed_anew), other.open("bbb01", &sealed_anew).as_deref()),
            (None, Some("hush"))
        );
        assert_eq!(Seal::default().close("bbb01", "hush"), None);
        let mark = |seal: &Seal, secret| seal.mark_of(&Secret::new(secret));
        assert_eq!(mark(&own, "hush"), mark(&seal("a key of thirty-two bytes or more"), "hush"));
        assert_ne!(mark(&own, "hush"), mark(&own, "hush!"));
        assert_ne!(mark(&own, "hush"), mark(&other, "hush"));
        assert_ne!(mark(&own, "hush"), mark(&Seal::default(), "hush"));
        for broken in ["", "AAAA", "?", sealed.get(..sealed.len() - 4).unwrap()] {
            assert_eq!(own.open("bbb01", broken), None, "{broken}");
        }
    }
}
