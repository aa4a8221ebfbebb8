//! The URLs that nodes get in place of a front end's callback URLs, and the way back.
//!
//! They carry the front end's own URL, so that metadata can be shown in the front end's words without
//! asking the store. Only the token counts when one is called: what is delivered goes where the store says.

use std::borrow::Cow;

use url::Url;

use crate::bbb::xml::Edits;
use crate::bbb::{Element, Outline};
use crate::model::CallbackToken;

/// Where nodes call; no form of tenancy begins so.
pub const PREFIX: &str = "/b3lb/c/";

const OWN_URL: &str = "?u=";

/// What meetings call the URLs in their metadata.
const METADATA: [&str; 5] = [
    "endcallbackurl",
    "bbb-recording-ready-url",
    "bn-recording-ready-url",
    "canvas-recording-ready-url",
    "analytics-callback-url",
];

/// A path of ours below the public URL, which may have a path itself: a proxy in front takes that away.
pub fn below(public_url: &Url, path: &str) -> String {
    [public_url.as_str().trim_end_matches('/'), path].concat()
}

/// The URL for a node, below our own public one.
pub fn wrap(base: &str, token: &CallbackToken, target: Option<&str>) -> String {
    let mut url = [base, PREFIX, token.expose()].concat();
    if let Some(target) = target {
        url.push_str(OWN_URL);
        url.extend(form_urlencoded::byte_serialize(target.as_bytes()));
    }
    url
}

/// The front end's URL out of one of ours.
pub fn unwrap(url: &str) -> Option<String> {
    let (_base, rest) = url.split_once(PREFIX)?;
    let (token, target) = rest.split_once(OWN_URL)?;
    CallbackToken::parse(token)?;
    let (target, _) = form_urlencoded::parse(target.as_bytes()).next()?;
    Some(target.into_owned())
}

/// Whether metadata of this name may hold one of our URLs.
pub fn is_callback(name: &str) -> bool {
    METADATA.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Puts the front end's URLs back into the metadata of a meeting or a recording.
pub fn restore(meeting: &mut Element) {
    let Some(metadata) = meeting.child_mut("metadata") else { return };
    for item in metadata.elements_mut().filter(|item| is_callback(&item.name)) {
        if let Some(target) = unwrap(&item.text()) {
            item.set_text(&target);
        }
    }
}

/// The same for a plain answer, in place; `None` where [`restore`] has to do it.
pub fn restore_in_place(meeting: &Outline<'_>, edits: &mut Edits<'_>) -> Option<()> {
    if memchr::memmem::find(meeting.bytes(), PREFIX.as_bytes()).is_none() {
        return Some(());
    }
    let own = |url: &str| unwrap(url).map_or_else(|| Cow::Borrowed(url), Cow::Owned).into_owned();
    METADATA.iter().try_for_each(|name| meeting.map_texts("metadata", name, edits, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> CallbackToken {
        CallbackToken::new([0x5a; CallbackToken::BYTES])
    }

    #[test]
    fn every_url_comes_back() {
        for target in [
            "https://moodle.example/mod/end.php?id=1&t=a%20b+c#x",
            "http://ü.example/?u=https://x/",
            "https://lb.example/b3lb/c/x?u=y",
        ] {
            let url = wrap("https://bbb.example.org", &token(), Some(target));
            assert_eq!(unwrap(&url).as_deref(), Some(target));
        }
        for other in ["https://moodle.example/end?u=1", "https://x/b3lb/c/short?u=1", ""] {
            assert_eq!(unwrap(other), None, "{other}");
        }
        assert_eq!(unwrap(&wrap("https://bbb.example.org", &token(), None)), None);
    }

    #[test]
    fn a_path_of_the_public_url_stays() {
        for (public, own) in [
            ("https://a.example", "https://a.example/b3lb/h/n/0"),
            ("https://a.example/", "https://a.example/b3lb/h/n/0"),
            ("https://a.example/portico", "https://a.example/portico/b3lb/h/n/0"),
            ("https://a.example/portico/", "https://a.example/portico/b3lb/h/n/0"),
        ] {
            let public: Url = public.parse().expect("a URL");
            assert_eq!(below(&public, "/b3lb/h/n/0"), own);
            let base = below(&public, "");
            assert_eq!(
                wrap(&base, &token(), None),
                below(&public, &format!("{PREFIX}{}", token().expose()))
            );
        }
    }

    #[test]
    fn metadata_is_shown_in_the_front_ends_words() {
        let url = wrap("https://bbb.example.org", &token(), Some("https://gl/?a=1&b=ü"));
        let xml = format!(
            "<response><metadata><endcallbackurl>{url}</endcallbackurl><other>{url}</other>\
             <analytics-callback-url>https://a/</analytics-callback-url></metadata></response>"
        );
        let mut tree = Element::parse(xml.as_bytes()).expect("XML");
        restore(&mut tree);
        let metadata = tree.child("metadata").expect("metadata");
        assert_eq!(metadata.child_text("endcallbackurl").as_deref(), Some("https://gl/?a=1&b=ü"));
        assert_eq!(metadata.child_text("other").as_deref(), Some(url.as_str()));
        assert_eq!(metadata.child_text("analytics-callback-url").as_deref(), Some("https://a/"));

        let outline = Outline::of(xml.as_bytes()).expect("plain");
        let mut edits = Edits::default();
        restore_in_place(&outline, &mut edits).expect("plain");
        assert_eq!(outline.edited(edits), tree.to_vec());
    }
}
