//! Any bytes are a query: it is written as it came, and what is changed in it changes nothing else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portico_fuzz::bbb::{Params, SignedQuery};

fuzz_target!(|raw: &[u8]| {
    let params = Params::parse(raw);
    assert_eq!(params.write(), raw);
    let pairs: Vec<_> = params.iter().collect();
    for (name, value) in &pairs {
        let first = pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value);
        // A name that is not UTF-8 is found by nobody.
        if !name.contains('\u{fffd}') {
            assert_eq!(params.get(name).as_ref(), first);
            assert!(params.contains(name));
        }
        assert!(!params.is_blank(name) || params.get(name).unwrap_or_default().trim().is_empty());
        let _ = value;
    }
    let mut changed = params.clone();
    changed.set("meetingID", "a room/ü&=");
    let written = changed.write();
    let again = Params::parse(&written);
    assert_eq!(again.get("meetingID").as_deref(), Some("a room/ü&="));
    let others = |params: &Params<'_>| {
        let pairs = params.iter().filter(|(name, _)| name != "meetingID");
        pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect::<Vec<_>>()
    };
    assert_eq!(others(&again), others(&params));

    let signed = SignedQuery::parse(raw);
    assert!(!signed.params().contains("checksum") && !signed.params().contains("checksumHash"));
});
