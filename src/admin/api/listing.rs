//! Pages of lists.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;

/// Objects on a page, unless a client asks for another number.
const USUAL_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// How many at most. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listing<T> {
    /// What is on it, in its order.
    pub(super) items: Vec<T>,
    /// Asks for the next page; without it this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

impl<T> Listing<T> {
    /// A page that may have another one behind the object of this name.
    pub(super) fn new(items: Vec<T>, last: Option<String>) -> Self {
        Self { items, next: last.map(|name| URL_SAFE_NO_PAD.encode(name)) }
    }
}

impl Page {
    /// These words of a query.
    pub(super) fn new(limit: Option<usize>, cursor: Option<String>) -> Self {
        Self { limit, cursor }
    }

    /// How many at most, and behind which name.
    pub(super) fn read(&self) -> Result<(usize, Option<String>), Problem> {
        self.read_up_to(MAX_LIMIT)
    }

    /// The same of a list with shorter pages.
    pub(super) fn read_up_to(&self, most: usize) -> Result<(usize, Option<String>), Problem> {
        let wrong =
            |field: &str, detail: &str| Problem::fields([(field.to_owned(), detail.to_owned())]);
        let limit = self.limit.unwrap_or(USUAL_LIMIT);
        if !(1..=most).contains(&limit) {
            return Err(wrong("limit", &format!("is not a number of 1 to {most}")));
        }
        let Some(cursor) = &self.cursor else { return Ok((limit, None)) };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
        let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let name = name.ok_or_else(|| wrong("cursor", "is not what `next` of a page has said"))?;
        Ok((limit, Some(name)))
    }
}

/// A page of what is sorted by these names.
pub(super) fn page<T>(items: BTreeMap<String, T>, page: &Page) -> Result<Listing<T>, Problem> {
    let (limit, after) = page.read()?;
    let mut rest = items.into_iter().filter(|(name, _)| Some(name) > after.as_ref());
    let (mut items, mut last) = (Vec::new(), None);
    for (name, item) in rest.by_ref().take(limit) {
        items.push(item);
        last = Some(name);
    }
    let has_more = rest.next().is_some();
    Ok(Listing::new(items, last.filter(|_| has_more)))
}
