//! The body of a `create` that brings slides.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::xml::{Element, Error};

/// Where a node gets the slides from.
#[derive(Debug, Clone, Copy)]
pub enum Slides<'a> {
    /// Out of the body itself.
    Inline(&'a [u8]),
    /// From this address.
    Url(&'a str),
}

/// The body: one document of this name, beside the modules in `others`.
pub fn slides_body(name: &str, slides: Slides<'_>, others: Vec<Element>) -> Vec<u8> {
    let mut document = Element::new("document");
    match slides {
        Slides::Inline(bytes) => {
            document.attributes.push(("name".to_owned(), name.to_owned()));
            document.set_text(&STANDARD.encode(bytes));
        }
        Slides::Url(url) => {
            document.attributes.push(("url".to_owned(), url.to_owned()));
            document.attributes.push(("filename".to_owned(), name.to_owned()));
        }
    }
    let mut presentation = Element::new("module");
    presentation.attributes.push(("name".to_owned(), "presentation".to_owned()));
    presentation.push(document);
    let mut modules = Element::new("modules");
    for module in others {
        modules.push(module);
    }
    modules.push(presentation);
    modules.to_vec()
}

/// Whether no node could read this body, as it is not well-formed XML. Of one in another encoding than UTF-8
/// that is not known.
pub fn is_broken_xml(body: &[u8]) -> bool {
    str::from_utf8(body).is_ok()
        && matches!(Element::parse(body), Err(Error::Malformed { .. } | Error::Truncated))
}

/// Whether a body is XML that every node reads.
pub fn is_sound_xml(body: &[u8]) -> bool {
    Element::parse(body).is_ok()
}

/// The modules of a body that are not its presentation; none where the body is not XML.
pub fn other_modules(body: &[u8]) -> Vec<Element> {
    let Ok(modules) = Element::parse(body) else { return Vec::new() };
    let is_other = |module: &&Element| module.attribute("name") != Some("presentation");
    modules.children_named("module").filter(is_other).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_one_document_whatever_its_name() {
        let name = "\"A\" & <b> ü.pdf";
        let inline = slides_body(name, Slides::Inline(b"\0\xff%PDF"), Vec::new());
        let read = Element::parse(&inline).unwrap();
        let document = read.child("module").unwrap().child("document").unwrap();
        assert_eq!(document.attribute("name"), Some(name));
        assert_eq!(STANDARD.decode(document.text().as_bytes()).unwrap(), b"\0\xff%PDF");

        let url = "https://bbb.example.org/b3lb/t/acme/slide?a&b";
        let read = Element::parse(&slides_body(name, Slides::Url(url), Vec::new())).unwrap();
        let document = read.child("module").unwrap().child("document").unwrap();
        assert_eq!(document.attribute("url"), Some(url));
        assert_eq!(document.attribute("filename"), Some(name));
    }

    #[test]
    fn what_else_a_body_holds_is_kept() {
        let own = "<modules><module name=\"presentation\"><document url=\"https://x/\"/></module>\
            <module name=\"clientSettingsOverride\"><![CDATA[{}]]></module></modules>";
        let others = other_modules(own.as_bytes());
        assert_eq!(others.len(), 1);
        let body = String::from_utf8(slides_body("a", Slides::Url("https://y/"), others)).unwrap();
        assert!(body.contains("<![CDATA[{}]]>") && !body.contains("https://x/"), "{body}");
        assert!(other_modules(b"no XML").is_empty());
    }

    #[test]
    fn what_no_node_could_read_is_told_from_what_some_could() {
        for (body, broken, sound) in [
            ("<modules/>", false, true),
            ("\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<modules/>\n", false, true),
            ("<modules", true, false),
            ("<modules><module></modules>", true, false),
            ("modules", true, false),
            (" ", true, false),
            ("<!DOCTYPE modules><modules/>", false, false),
        ] {
            assert_eq!(
                (is_broken_xml(body.as_bytes()), is_sound_xml(body.as_bytes())),
                (broken, sound),
                "{body}"
            );
        }
        assert!(!is_broken_xml(b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a b=\"\xfc\"/"));
    }
}
