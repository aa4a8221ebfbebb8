//! The instances, and how much room there is.

use clap::Subcommand;

use super::failure::Failure;
use super::output::Column;
use super::{Access, Api, api, output};

const INSTANCES: &[Column] = &[("INSTANCE", "/id"), ("ASKED", "/is_self"), ("POLLS", "/nodes")];

/// What can be asked of instances.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Instances {
    /// List those that are alive, and the nodes that each polls
    List,
}

pub(super) async fn instances(access: &Access, verb: &Instances) -> Result<(), Failure> {
    let Instances::List = verb;
    let mut living = Api::new(access)?.get("/instances").await?.body;
    let living = api::list(&mut living, "items")?;
    if living.iter().any(|one| one["all_known"] == false) {
        eprintln!(
            "there may be others: the one that was asked knows itself alone, as there is no `redis`, or none that \
             answers. Ask each instance"
        );
    }
    output::list(access.output, INSTANCES, &living)
}

pub(super) async fn capacity(access: &Access) -> Result<(), Failure> {
    let capacity = Api::new(access)?.get("/capacity").await?.body;
    output::one(access.output, &capacity)
}
