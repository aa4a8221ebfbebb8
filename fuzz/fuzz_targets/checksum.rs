//! What was signed verifies, wherever the checksum stands; with another secret or another query it does not.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portico_fuzz::bbb::{Algorithm, SignedQuery, checksum, signed_query};

fuzz_target!(|input: (u8, &[u8], &[u8])| {
    let (choice, query, strange) = input;
    let all = &Algorithm::ALL;
    let algorithm = all[usize::from(choice) % all.len()];
    let (secret, other) = ("the secret of acme", "the secret of another");

    // Whatever a stranger sends is no secret's, but for a break of SHA.
    let parsed = SignedQuery::parse(strange);
    assert_eq!(parsed.verify("create", all, [secret, other]), None);

    // What can stand on a request line. Control characters at its ends are cut off, as a servlet does it.
    let has = |word: &[u8]| query.windows(word.len()).any(|part| part == word);
    let is_honest = query.iter().all(u8::is_ascii_graphic) && !has(b"%") && !has(b"checksum");
    if !is_honest {
        return;
    }
    let signed = signed_query(algorithm, "create", query, secret);
    let parsed = SignedQuery::parse(signed.as_bytes());
    assert!(parsed.is_signed());
    assert_eq!(parsed.verify("create", all, [other, secret]), Some(1));
    assert_eq!(parsed.verify("join", all, [secret]), None);
    assert_eq!(parsed.verify("create", all, [other]), None);

    let digest = checksum(algorithm, "create", query, secret).to_uppercase();
    let mut first = format!("checksum={digest}").into_bytes();
    if !query.is_empty() {
        first.push(b'&');
        first.extend_from_slice(query);
    }
    assert_eq!(SignedQuery::parse(&first).verify("create", all, [secret]), Some(0));
});
