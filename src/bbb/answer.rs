//! A node's answer.

use std::borrow::Cow;

use super::xml::{Element, Error};

/// A `<response>` with its `returncode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    element: Element,
    success: bool,
}

impl Answer {
    /// Reads an answer. A `FAILED` is one, too.
    ///
    /// # Errors
    /// When it is not XML, or not an answer: a proxy's error page, a truncated body.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_element(Element::parse(bytes)?)
    }

    /// As [`parse`](Self::parse), for XML that is already read.
    ///
    /// # Errors
    /// When it is not an answer.
    pub fn from_element(element: Element) -> Result<Self, Error> {
        if element.name != "response" {
            return Err(Error::NotAnAnswer("its root is not <response>"));
        }
        let success = match element.child_text("returncode").as_deref() {
            Some("SUCCESS") => true,
            Some("FAILED") => false,
            _ => return Err(Error::NotAnAnswer("its returncode is neither SUCCESS nor FAILED")),
        };
        Ok(Self { element, success })
    }

    /// Whether the returncode is `SUCCESS`.
    pub fn is_success(&self) -> bool {
        self.success
    }

    /// The `messageKey`, or the key of the first entry in the list form of failures. Empty ones are none.
    pub fn message_key(&self) -> Option<Cow<'_, str>> {
        self.text("messageKey")
            .or_else(|| self.first_error()?.child_text("key"))
            .filter(|key| !key.is_empty())
    }

    /// The `message`, from the same places as [`message_key`](Self::message_key).
    pub fn message(&self) -> Option<Cow<'_, str>> {
        self.text("message")
            .or_else(|| self.first_error()?.child_text("message"))
            .filter(|message| !message.is_empty())
    }

    /// The text of a direct child.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.element.child_text(name)
    }

    /// The `<response>`.
    pub fn element(&self) -> &Element {
        &self.element
    }

    /// The `<response>`, to change it. Its returncode is read once, when it is parsed.
    pub fn element_mut(&mut self) -> &mut Element {
        &mut self.element
    }

    /// The `<response>` itself.
    pub fn into_element(self) -> Element {
        self.element
    }

    /// The answer as bytes, without an XML declaration.
    pub fn to_vec(&self) -> Vec<u8> {
        self.element.to_vec()
    }

    fn first_error(&self) -> Option<&Element> {
        self.element.child("errors")?.child("error")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_and_failure_are_told_apart() {
        let answer = Answer::parse(
            b"<response><returncode>SUCCESS</returncode><messageKey></messageKey><running>true</running></response>",
        )
        .unwrap();
        assert!(answer.is_success());
        assert_eq!(answer.message_key(), None);
        assert_eq!(answer.text("running").as_deref(), Some("true"));
        assert_eq!(answer.text("name"), None);

        let answer = Answer::parse(
            b"<response><returncode>FAILED</returncode><messageKey>notFound</messageKey><message>No</message></response>",
        )
        .unwrap();
        assert!(!answer.is_success());
        assert_eq!(answer.message_key().as_deref(), Some("notFound"));
        assert_eq!(answer.message().as_deref(), Some("No"));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for xml in [
            "<html><body>It works!</body></html>",
            "<response></response>",
            "<response><returncode>success</returncode></response>",
            "<response><a><returncode>SUCCESS</returncode></a></response>",
        ] {
            assert!(matches!(Answer::parse(xml.as_bytes()), Err(Error::NotAnAnswer(_))), "{xml}");
        }
        assert!(Answer::parse(b"<response><returncode>SUCCESS</returncode>").is_err());
    }
}
