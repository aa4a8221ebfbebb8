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
    let api = Api::new(access)?;
    let is_known = api.all("/tokens").await?.iter().any(|token| token["id"] == id);
    api.delete(&api::path("/tokens", id)).await?;
    if is_known {
        eprintln!("token {id} is revoked");
    } else {
        eprintln!("token {id} is revoked; nobody has used it so far: look whether that is its id");
    }
    Ok(())
}
