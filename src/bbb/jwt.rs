//! Signed tokens (RFC 7519, by hand: a handful of lines each way): of callbacks, and of the operators' API.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Sha256, Sha384, Sha512};

/// As `signed_parameters` of a recording that is ready are signed.
pub fn hs256(claims: &Value, secret: &str) -> String {
    sign::<Hmac<Sha256>>("HS256", claims, secret)
}

/// As tokens of the operators' API are signed, b3scale's as well as ours.
pub fn hs384(claims: &Value, secret: &str) -> String {
    sign::<Hmac<Sha384>>("HS384", claims, secret)
}

/// As the bearer token of analytics is signed.
pub fn hs512(claims: &Value, secret: &str) -> String {
    sign::<Hmac<Sha512>>("HS512", claims, secret)
}

/// The claims of a token that [`hs256`] or another library has made with this secret.
pub fn verify_hs256(token: &str, secret: &str) -> Option<Value> {
    verify::<Hmac<Sha256>>("HS256", token, secret)
}

/// The claims of a token that [`hs512`] or another library has made with this secret. Whether it has expired
/// is for the caller to see.
pub fn verify_hs512(token: &str, secret: &str) -> Option<Value> {
    verify::<Hmac<Sha512>>("HS512", token, secret)
}

/// The claims of a token that [`hs384`] or another library has made with this secret. Whether it has expired
/// is for the caller to see.
pub fn verify_hs384(token: &str, secret: &str) -> Option<Value> {
    verify::<Hmac<Sha384>>("HS384", token, secret)
}

fn verify<M: Mac + KeyInit>(algorithm: &str, token: &str, secret: &str) -> Option<Value> {
    // An empty secret would let everybody sign.
    if secret.is_empty() {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let mut mac = <M as KeyInit>::new_from_slice(secret.as_bytes())
        .expect("an HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    // In constant time.
    mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if header.get("alg")?.as_str()? != algorithm {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

fn sign<M: Mac + KeyInit>(algorithm: &str, claims: &Value, secret: &str) -> String {
    let header = format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#);
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let mut mac = <M as KeyInit>::new_from_slice(secret.as_bytes())
        .expect("an HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{signed}.{signature}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_are_what_other_libraries_make_of_it() {
        // Made with Python's hmac and base64 modules.
        let claims = json!({"meeting_id": "m", "record_id": "r"});
        assert_eq!(
            hs256(&claims, "s3cret"),
            "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJtZWV0aW5nX2lkIjoibSIsInJlY29yZF9pZCI6InIifQ.JiikUHB_os5Xrbpme2TxYzZa6-Bbb5AzdpIVhQGL1kw"
        );
        assert_eq!(
            hs512(&json!({"exp": 1}), "s3cret"),
            "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzUxMiJ9.eyJleHAiOjF9.RNzjgY5_U-86_-SkeR-WaGNyrlvzs8pZ2EWZqe13UMC_0gRCMG9MjVwBrWVcIjMyg5FhYEwoswgJqKC58N228Q"
        );
    }

    #[test]
    fn only_what_the_secret_has_signed_is_believed() {
        let claims = json!({"meeting_id": "m", "record_id": "r"});
        let token = hs256(&claims, "s3cret");
        assert_eq!(verify_hs256(&token, "s3cret"), Some(claims.clone()));
        assert_eq!(verify_hs512(&hs512(&claims, "s3cret"), "s3cret"), Some(claims.clone()));
        assert_eq!(verify_hs256(&token, "other"), None);
        assert_eq!(verify_hs512(&token, "s3cret"), None);
        assert_eq!(verify_hs256(&hs256(&claims, ""), ""), None);
        let none = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode("{}")
        );
        for broken in
            ["", ".", "..", "a.b.c", none.as_str(), token.trim_end_matches(char::is_alphanumeric)]
        {
            assert_eq!(verify_hs256(broken, "s3cret"), None, "{broken}");
        }
        // The right key with another algorithm in the header.
        let lie = sign::<Hmac<Sha256>>("none", &claims, "s3cret");
        assert_eq!(verify_hs256(&lie, "s3cret"), None);
    }
}
