//! `api`: the operators' REST API.

use super::reader::Item;
use super::secrets::FORMS;
use crate::model::Secret;

/// Who may call the REST API, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Api {
    /// Signs the tokens of the API; without it there are none and the API refuses everyone.
    pub jwt_secret: Option<Secret>,
    /// Whether b3scale's `/api/v1` is served on the public listener too. Default: no.
    pub public: bool,
}

/// RFC 7518 §3.2: a key for HS256 has at least as many bits as its hash.
const MIN_JWT_SECRET_BYTES: usize = 32;

pub(super) fn read(item: &Item<'_>) -> Option<Api> {
    item.fields(|fields| {
        let jwt_item = fields.optional("jwt_secret");
        let jwt_secret = jwt_item.secret();
        let public_item = fields.optional("public");
        let public = public_item.flag().unwrap_or(false);
        if public && jwt_item.is_absent() {
            public_item.problem(format_args!("a public API needs api.jwt_secret: {FORMS}"));
        }
        if jwt_secret.as_ref().is_some_and(|key| key.expose().len() < MIN_JWT_SECRET_BYTES) {
            jwt_item.warn("tokens signed with less than 32 characters can be guessed");
        }
        Some(Api { jwt_secret, public })
    })
}
