//! Rules on the parameters of `create` and `join`.

/// The rules of a tenant or of one of its secrets, applied in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// On `create`.
    pub create: Vec<Rule>,
    /// On `join`.
    pub join: Vec<Rule>,
}

/// One rule on one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The parameter's name, any.
    pub name: String,
    /// What to do with it.
    pub mode: RuleMode,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleMode {
    /// Removes the parameter.
    Block,
    /// Fills it in when absent.
    Set(String),
    /// Always wins.
    Override(String),
    /// Caps a number; an absent or unlimited (0) one becomes the cap.
    Max(u64),
    /// Adds to a comma list what is not in it yet.
    Append(String),
}
