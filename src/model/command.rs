//! What a tool has ordered and comes back for.

/// An order, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What whoever gave it knows it by.
    pub id: String,
    /// In which order they came; the store says it.
    pub number: u64,
    /// b3scale's id of a node.
    pub backend: String,
    /// When it was given, ms since 1970.
    pub created_at_ms: u64,
    /// What is not done by then is not done any more, ms since 1970.
    pub deadline_ms: u64,
    /// Since when it is carried out, ms since 1970.
    pub started_at_ms: Option<u64>,
    /// Since when it is not carried out any more, ms since 1970.
    pub stopped_at_ms: Option<u64>,
    /// Why it came to nothing.
    pub failure: Option<String>,
}
