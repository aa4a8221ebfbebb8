//! Where a meeting was made, as its front end says in `meta_bbb-origin` and `meta_bbb-origin-server-name`.

use crate::bbb::Element;

/// B3LB keeps as much of either.
const MAX_CHARS: usize = 255;

/// The front end of a meeting; empty texts where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The name of its server.
    pub server: Box<str>,
    /// The product, such as `Moodle`.
    pub product: Box<str>,
}

impl Origin {
    /// Reads it from the `<meeting>` of a list.
    pub(super) fn of(xml: &[u8]) -> Self {
        let Ok(meeting) = Element::parse(xml) else { return Self::default() };
        let Some(metadata) = meeting.child("metadata") else { return Self::default() };
        let text = |name: &str| -> Box<str> {
            let text = metadata.child_text(name).unwrap_or_default();
            text.chars().take(MAX_CHARS).collect()
        };
        Self { server: text("bbb-origin-server-name"), product: text("bbb-origin") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_where_it_stands() {
        let xml =
            b"<meeting><metadata><bbb-origin>Moodle</bbb-origin><bbb-origin-server-name>a.example\
            </bbb-origin-server-name></metadata></meeting>";
        let origin = Origin { server: "a.example".into(), product: "Moodle".into() };
        assert_eq!(Origin::of(xml), origin);
        assert_eq!(Origin::of(b"<meeting/>"), Origin::default());
        assert_eq!(Origin::of(b"nonsense"), Origin::default());
    }
}
