//! Texts as PostgreSQL can keep them: it knows no character NUL, which ids of front ends may hold.

use std::borrow::Cow;

/// A text for a column.
pub(super) fn to_column(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', '\\']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\\', "\\\\").replace('\0', "\\0"))
}

/// A text as it was before it went into a column.
pub(super) fn from_column(column: &str) -> String {
    let mut text = String::with_capacity(column.len());
    let mut rest = column.chars();
    while let Some(char) = rest.next() {
        text.push(match char {
            '\\' if rest.next() == Some('0') => '\0',
            other => other,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back(text in "[\\\\0\0a-bü]{0,12}") {
            let column = to_column(&text);
            prop_assert!(!column.contains('\0'));
            prop_assert_eq!(from_column(&column), text);
        }
    }
}
