//! Writing: escapes what must be escaped, adds nothing.

use std::borrow::Cow;

use quick_xml::escape::partial_escape;

use super::{Child, Element, legal};

pub(super) fn element(element: &Element, out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend(element.name.as_bytes());
    for (name, value) in &element.attributes {
        attribute(name, value, out);
    }
    if element.children.is_empty() && element.collapsed {
        out.extend(b"/>");
        return;
    }
    out.push(b'>');
    for child in &element.children {
        match child {
            Child::Element(nested) => self::element(nested, out),
            Child::Text(text) => out.extend(escaped(text).as_bytes()),
            Child::CData(text) => cdata(text, out),
        }
    }
    out.extend(b"</");
    out.extend(element.name.as_bytes());
    out.push(b'>');
}

pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    partial_escape(legal(text))
}

/// Readers fold white space in attributes, so that is escaped beside the rest.
fn attribute(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend(name.as_bytes());
    out.extend(b"=\"");
    for byte in legal(value).bytes() {
        match byte {
            b'<' => out.extend(b"&lt;"),
            b'>' => out.extend(b"&gt;"),
            b'&' => out.extend(b"&amp;"),
            b'"' => out.extend(b"&quot;"),
            b'\t' => out.extend(b"&#9;"),
            b'\n' => out.extend(b"&#10;"),
            b'\r' => out.extend(b"&#13;"),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// A section cannot hold its own end mark, so the mark is divided between two sections.
fn cdata(text: &str, out: &mut Vec<u8>) {
    out.extend(b"<![CDATA[");
    out.extend(legal(text).replace("]]>", "]]]]><![CDATA[>").as_bytes());
    out.extend(b"]]>");
}
