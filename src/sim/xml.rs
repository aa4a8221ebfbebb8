//! Writing answers the way `BigBlueButton`'s templates print them: no declaration, no white space, empty elements as
//! `<name></name>`.

/// An answer in the making.
#[derive(Debug, Default)]
pub(super) struct Xml(String);

impl Xml {
    /// `<response>` with `<returncode>SUCCESS</returncode>`.
    pub(super) fn success() -> Self {
        let mut xml = Self::default();
        xml.open("response").text("returncode", "SUCCESS");
        xml
    }

    pub(super) fn open(&mut self, name: &str) -> &mut Self {
        self.0.extend(["<", name, ">"]);
        self
    }

    pub(super) fn close(&mut self, name: &str) -> &mut Self {
        self.0.extend(["</", name, ">"]);
        self
    }

    pub(super) fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.open(name);
        self.0.push_str(&escape(text));
        self.close(name)
    }

    /// Text as the templates of bbb-webhooks print it.
    pub(super) fn cdata(&mut self, name: &str, text: &str) -> &mut Self {
        self.open(name);
        self.0.extend(["<![CDATA[", &text.replace("]]>", "]]]]><![CDATA[>"), "]]>"]);
        self.close(name)
    }

    pub(super) fn number(&mut self, name: &str, number: impl Into<u64>) -> &mut Self {
        self.text(name, &number.into().to_string())
    }

    pub(super) fn flag(&mut self, name: &str, flag: bool) -> &mut Self {
        self.text(name, if flag { "true" } else { "false" })
    }

    /// `messageKey` and `message`, in the order every answer has them.
    pub(super) fn message(&mut self, key: &str, message: &str) -> &mut Self {
        self.text("messageKey", key).text("message", message)
    }

    /// Markup that is finished already.
    pub(super) fn raw(&mut self, markup: &str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// The finished answer.
    pub(super) fn end(&mut self) -> String {
        self.close("response");
        std::mem::take(&mut self.0)
    }
}

/// Escapes for text and for attributes, in XML and in HTML. Characters that XML 1.0 cannot hold are left out.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'.. => escaped.push(character),
            _ => {}
        }
    }
    escaped
}

/// Whether `name` can stand as an element name: parameter names become elements in `metadata` and `customdata`.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_escaped_and_closed() {
        let answer = Xml::success()
            .text("name", "a<b & \"c\"\u{1}")
            .number("n", 7_u32)
            .message("", "")
            .end();
        assert_eq!(
            answer,
            "<response><returncode>SUCCESS</returncode><name>a&lt;b &amp; &quot;c&quot;</name><n>7</n>\
             <messageKey></messageKey><message></message></response>"
        );
    }

    #[test]
    fn only_plain_words_become_elements() {
        assert!(is_name("bbb_auto_join-2") && is_name("x"));
        assert!(
            !is_name("") && !is_name("2x") && !is_name("a b") && !is_name("a>") && !is_name("ä")
        );
    }
}
