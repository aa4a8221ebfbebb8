//! What is wrong with a file, all of it.

use std::fmt;
use std::path::PathBuf;

/// One mistake: where it stands, what stood there and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line in the file, from 1; none when the file as a whole is meant.
    pub line: Option<u64>,
    /// The key path, such as `clusters[0].nodes[2].weight`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what would be right. Never holds a secret.
    pub message: String,
}

/// Every mistake of one file, in the order of its lines. `Display` prints one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    file: PathBuf,
    problems: Vec<Problem>,
}

impl Report {
    pub(super) fn new(file: impl Into<PathBuf>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        Self { file: file.into(), problems }
    }

    /// The mistakes, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.file.display())?;
            if let Some(line) = problem.line {
                write!(f, "{line}:")?;
            }
            if !problem.path.is_empty() {
                write!(f, " {}:", problem.path)?;
            }
            write!(f, " {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}
