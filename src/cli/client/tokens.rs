//! Tokens that were used or revoked.

use super::failure::Failure;
use super::output::Column;
use super::question::confirm;
use super::{Access, Api, api, output};

const COLUMNS: &[Column] = &[
    ("ID", "/id"),
    ("SUBJECT", "/subject"),
    ("SCOPES", "/scopes"),
    ("TENANT", "/tenant"),
    ("EXPIRES", "/expires"),
    ("FIRST USED", "/first_used"),
    ("REVOKED", "/revoked"),
];

pub(super) async fn list(access: &Access) -> Result<(), Failure> {
    let tokens = Api::new(access)?.all("/tokens").await?;
    output::list(access.output, COLUMNS, &tokens)
}

pub(super) async fn revoke(access: &Access, id: &str) -> Result<(), Failure> {
    confirm(access, &format!("revoke token {id}, for ever"))?;
    Api::new(access)?.delete(&api::path("/tokens", id)).await?;
    eprintln!("token {id} is revoked");
    Ok(())
}
