//! Secrets of tenants, several at once.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::{Which, edit, generate};
use crate::cli::client::failure::Failure;
use crate::cli::client::objects::TENANTS;
use crate::cli::client::output::{self, Column};
use crate::cli::client::{Access, Api, api};

const SECRETS: &[Column] = &[
    ("TENANT", "/tenant"),
    ("SUB ID", "/sub_id"),
    ("MEETINGS", "/limits/meetings"),
    ("ATTENDEES", "/limits/attendees"),
    ("TWO VALUES", "/rolling"),
];
const NEW: &[Column] = &[("TENANT", "/tenant"), ("SUB ID", "/sub_id"), ("SECRET", "/secret")];
const MAX_SUB_ID: u16 = 999;

/// The first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct SubIds {
    first: u16,
    last: u16,
}

impl SubIds {
    /// The one, if it is one.
    pub(super) fn only(self) -> Option<u16> {
        (self.first == self.last).then_some(self.first)
    }

    fn all(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

/// Reads `5` or `5-9`.
pub(super) fn range(text: &str) -> Result<SubIds, String> {
    let read = |text: &str| match text.parse::<u16>() {
        Ok(sub_id) if sub_id <= MAX_SUB_ID => Ok(sub_id),
        _ => Err(format!("{text} is not in 0..={MAX_SUB_ID}")),
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (read(first)?, read(last)?);
    if first > last {
        return Err("the first comes before the last".to_owned());
    }
    Ok(SubIds { first, last })
}

/// Which secrets there are.
pub(super) async fn list(access: &Access, tenant: Option<&str>) -> Result<(), Failure> {
    let api = Api::new(access)?;
    let tenants = match tenant {
        Some(tenant) => vec![api.get(&api::path(TENANTS.collection, tenant)).await?.body],
        None => api.all(TENANTS.collection).await?,
    };
    let mut rows = Vec::new();
    for slug in tenants.iter().filter_map(|tenant| tenant["slug"].as_str()) {
        let path = format!("{}/secrets", api::path(TENANTS.collection, slug));
        for mut row in api.all(&path).await? {
            row["tenant"] = slug.into();
            rows.push(row);
        }
    }
    let place = |row: &Value| (output::text(row.get("tenant")), row["sub_id"].as_u64());
    rows.sort_by_key(place);
    output::list(access.output, SECRETS, &rows)
}

/// Adds those that are not there, all of them or none.
pub(super) async fn add(
    access: &Access,
    tenant: &str,
    sub_ids: SubIds,
    is_given: bool,
) -> Result<(), Failure> {
    if is_given {
        return Err(Failure::wrong(
            "--value-file goes with one SUB_ID: each has a value of its own",
        ));
    }
    let values = sub_ids.all().map(|sub_id| Ok((sub_id, generate()?)));
    let values = values.collect::<Result<Vec<_>, Failure>>()?;
    let is_there =
        |secrets: &[Value], sub_id: u16| secrets.iter().any(|one| one["sub_id"] == sub_id);
    let api = Api::new(access)?;
    let added = std::cell::RefCell::new(Vec::new());
    let change = |secrets: &mut Vec<Value>| {
        let mut added = added.borrow_mut();
        added.clear();
        for (sub_id, secret) in &values {
            if !is_there(secrets, *sub_id) {
                secrets.push(json!({"sub_id": sub_id, "secret": secret}));
                added.push(json!({"tenant": tenant, "sub_id": sub_id, "secret": secret}));
            }
        }
        Ok(())
    };
    let which = Which { tenant: tenant.to_owned(), sub_id: sub_ids.first };
    let done = edit(&api, &which, change).await;
    let added = added.into_inner();
    if let Err(failure) = done {
        if failure.is_unsure {
            eprintln!("these may have been added all the same:");
            output::list(access.output, NEW, &added)?;
        }
        return Err(failure);
    }
    eprintln!("secrets added: {} of {}, shown only now", added.len(), values.len());
    output::list(access.output, NEW, &added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_several_are_read() {
        assert_eq!(range("7").unwrap().only(), Some(7));
        assert_eq!(range("5-9").unwrap().all().count(), 5);
        for wrong in ["", "-", "9-5", "1000", "5-1000", "a", "-5", "5-", "1-2-3"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
