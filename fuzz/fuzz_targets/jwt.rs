//! Any text may come as a token: it is somebody's only with his secret, and what we sign anew verifies.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portico_fuzz::bbb::jwt;
use serde_json::Value;

/// The two that a node uses, each with its signer and its verifier.
const ALGORITHMS: [(Sign, Verify); 2] =
    [(jwt::hs256, jwt::verify_hs256), (jwt::hs512, jwt::verify_hs512)];

type Sign = fn(&Value, &str) -> String;
type Verify = fn(&str, &str) -> Option<Value>;

const NODES: &str = "the secret of a node";
const TENANTS: &str = "the secret of acme";

/// Whether it has no fractions: read and written, those may differ in their last digit.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(values) => values.iter().all(is_exact),
        Value::Object(values) => values.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

fuzz_target!(|input: (u8, &[u8], &str)| {
    let (choice, token, text) = input;
    let choice = usize::from(choice) % 2;
    let (sign, verify) = ALGORITHMS[choice];
    let (_, verify_other) = ALGORITHMS[1 - choice];

    // Whatever a stranger sends is signed by nobody, but for a break of SHA.
    let strange = String::from_utf8_lossy(token);
    for secret in [NODES, TENANTS, ""] {
        assert_eq!(verify(&strange, secret), None);
    }

    // What a node has signed, in any form that JSON can take, is read and signed anew as a callback is.
    let claims = serde_json::from_slice(token).ok().filter(is_exact);
    let claims = claims.unwrap_or_else(|| Value::from(text));
    let of_node = sign(&claims, NODES);
    let read = verify(&of_node, NODES).expect("what was signed verifies");
    assert_eq!(read, claims);
    let ours = sign(&read, TENANTS);
    assert_eq!(verify(&ours, TENANTS).as_ref(), Some(&claims));
    for forged in [&of_node, &ours] {
        assert_eq!(verify(forged, "the secret of another"), None);
        assert_eq!(verify(forged, ""), None);
        assert_eq!(verify_other(forged, NODES), None);
        assert_eq!(verify_other(forged, TENANTS), None);
    }
    assert_eq!(verify(&of_node, TENANTS), None);
    assert_eq!(verify(&ours, NODES), None);

    // A header or claims of a stranger's on a signature of ours.
    let (signed, signature) = ours.rsplit_once('.').expect("three parts");
    for mixed in [format!("{strange}.{signature}"), format!("{signed}.{strange}")] {
        // Byte by byte: libFuzzer learns from what is compared as a whole, and would find the token.
        assert!(mixed.bytes().eq(ours.bytes()) || verify(&mixed, TENANTS).is_none());
    }
});
