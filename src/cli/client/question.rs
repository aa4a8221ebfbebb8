//! Asks before something is taken away.

use std::io::{BufRead, IsTerminal, Write};

use super::Access;
use super::failure::{Failure, plain};

/// Goes on if somebody wants it: said with `--yes`, or now.
pub(super) fn confirm(access: &Access, what: &str) -> Result<(), Failure> {
    if access.yes {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::wrong(format_args!("{what}? Say --yes: there is nobody to ask")));
    }
    let mut err = std::io::stderr();
    write!(err, "{}? [y/N] ", plain(what))?;
    err.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::failed("nothing was changed"))
}
