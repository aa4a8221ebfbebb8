//! Filters that name something which is not there: mostly a slip of the fingers, which an empty list would hide.
//!
//! What was there once may be named as long as something is left of it: a meeting of a tenant that was removed, or
//! what it has used. So it is asked only where nothing was found.

use std::future::Future;

use super::Desk;
use super::problem::Problem;
use crate::config;
use crate::model::Kind;

impl Desk {
    /// Refuses a filter that names what is not there, for the one who was to be told that nothing was found.
    pub(super) fn must_be_there(
        &self,
        kind: Kind,
        filter: &str,
        wanted: Option<&str>,
    ) -> Result<(), Problem> {
        let Some(wanted) = wanted else { return Ok(()) };
        let in_force = self.keeper.in_force();
        let names = in_force.inventory.names().filter(|name| name.kind == kind);
        let mut names: Vec<_> = names.map(|name| name.name).collect();
        if kind == Kind::Node {
            // Retired ones are in no inventory, and still have meetings.
            let snapshot = self.fleet.peek();
            names.extend(snapshot.nodes().map(|node| node.name().to_string()));
        }
        if names.iter().any(|name| name == wanted) {
            return Ok(());
        }
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let what = kind.as_str();
        let remedy = match config::nearest(wanted, &names) {
            Some(alike) => format!("did you mean {alike:?}?"),
            None => format!("ask for the list of {what}s, or leave the filter out"),
        };
        let detail =
            format!("there is no {what} {wanted:?}, nor is anything of one in this list; {remedy}");
        Err(Problem::fields([(filter.to_owned(), detail)]))
    }
    /// The same where one that is gone may have left something: `is_left` asks for it, whatever else is filtered by.
    pub(super) async fn must_have_been_there(
        &self,
        kind: Kind,
        filter: &str,
        wanted: Option<&str>,
        is_left: impl Future<Output = Result<bool, Problem>>,
    ) -> Result<(), Problem> {
        let Err(refusal) = self.must_be_there(kind, filter, wanted) else { return Ok(()) };
        if is_left.await? { Ok(()) } else { Err(refusal) }
    }
}
