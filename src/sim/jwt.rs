//! The two tokens a node signs with its secret (RFC 7519, by hand: a handful of lines each way).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Sha256, Sha512};

/// As the recording scripts sign `signed_parameters`.
pub(super) fn hs256(claims: &Value, secret: &str) -> String {
    sign::<Hmac<Sha256>>("HS256", claims, secret)
}

/// As the analytics script signs its bearer token.
pub(super) fn hs512(claims: &Value, secret: &str) -> String {
    sign::<Hmac<Sha512>>("HS512", claims, secret)
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
}
