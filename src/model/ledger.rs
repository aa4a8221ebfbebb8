//! Who may change what operators manage, and who has.

/// A token of the operators' API, as far as it may be told: not what opens anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// `jti`, by which it is revoked.
    pub id: String,
    /// What it may do, as words separated by spaces.
    pub scopes: String,
    /// Whom it was made for.
    pub subject: String,
    /// The only tenant that it may see.
    pub tenant: Option<String>,
    /// When it was made, s since 1970.
    pub issued_at_s: Option<u64>,
    /// Until when it is good, s since 1970; nothing: for ever.
    pub expires_at_s: Option<u64>,
    /// When it was seen for the first time, ms since 1970.
    pub seen_at_ms: Option<u64>,
    /// When it was revoked, ms since 1970.
    pub revoked_at_ms: Option<u64>,
}

/// Something that an operator has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When, ms since 1970.
    pub at_ms: u64,
    /// Who: the subject and the id of a token.
    pub who: String,
    /// `create`, `update`, `delete`, or another word.
    pub action: String,
    /// Kind and name of what was changed.
    pub object: String,
    /// As it was, in JSON without secrets.
    pub before: Option<String>,
    /// As it is now.
    pub after: Option<String>,
}
