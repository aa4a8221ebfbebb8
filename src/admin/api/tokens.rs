//! Tokens: which were seen, and revoking them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::edits;
use super::listing::{self, Listing, Page};
use super::problem::{Changing, Problem, Refused};
use super::request::Path;
use super::{Desk, Query, time};
use crate::fleet::now_ms;
use crate::model::Token;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(list_tokens)).routes(routes!(revoke_token))
}

/// A token, as far as it may be told.
#[derive(Debug, Serialize, ToSchema)]
struct TokenDocument {
    /// By which it is revoked.
    id: String,
    /// What it may do.
    scopes: Vec<String>,
    /// Whom it was made for.
    subject: String,
    /// The only tenant that it may see.
    tenant: Option<String>,
    /// When it was made (RFC 3339).
    #[schema(value_type = Option<String>, format = DateTime)]
    issued: Option<Value>,
    /// Until when it is good; nothing: for ever.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<Value>,
    /// When it was used for the first time.
    #[schema(value_type = Option<String>, format = DateTime)]
    first_used: Option<Value>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked: Option<Value>,
}

impl From<Token> for TokenDocument {
    fn from(token: Token) -> Self {
        let seconds = |at: Option<u64>| at.map(|at| time(at.saturating_mul(1000)));
        Self {
            id: token.id,
            scopes: token.scopes.split_whitespace().map(str::to_owned).collect(),
            subject: token.subject,
            tenant: token.tenant,
            issued: seconds(token.issued_at_s),
            expires: seconds(token.expires_at_s),
            first_used: token.seen_at_ms.map(time),
            revoked: token.revoked_at_ms.map(time),
        }
    }
}

/// All tokens that were used or revoked. One that was only made is not known.
#[utoipa::path(get, path = "/tokens", tag = "tokens", security(("token" = [])), params(Page),
    responses((status = 200, description = "A page of tokens", body = Listing<TokenDocument>), Refused))]
async fn list_tokens(
    State(desk): State<Desk>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Json<Listing<TokenDocument>>, Problem> {
    caller.may_write()?;
    let tokens = desk.store.tokens().await?;
    let tokens = tokens.into_iter().map(|token| (token.id.clone(), token.into())).collect();
    listing::page(tokens, &page).map(Json)
}

/// Revokes a token by its id (`jti`), also one that was never used. There is no way back.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", security(("token" = [])),
    params(("id" = String, Path)), responses((status = 204, description = "Revoked"), Changing))]
async fn revoke_token(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.may_write()?;
    if id.len() > super::caller::MAX_CLAIM_BYTES || id.contains(char::is_control) {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no token has such an id"));
    }
    desk.store.revoke_token(&id, now_ms()).await?;
    desk.gate.revoke(&id);
    let what = crate::model::Change {
        at_ms: now_ms(),
        who: caller.who.name.clone(),
        action: "revoke".to_owned(),
        object: format!("token {id}"),
        before: None,
        after: Some(json!({"id": id}).to_string()),
    };
    edits::keep(&desk, &caller.who, what).await;
    Ok(StatusCode::NO_CONTENT)
}
