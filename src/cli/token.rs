//! `portico token`: signs tokens of the operators' API with the key of the configuration; the API lists and revokes.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::client::{self, Access};
use super::{DONE, WRONG, environment};
use crate::admin::{MAX_CLAIM_BYTES, Scope};
use crate::bbb::jwt;
use crate::config;
use crate::fleet::now_ms;
use crate::model::Slug;

#[derive(Debug, Subcommand)]
pub(super) enum What {
    /// Print a new token
    Create(Create),
    /// List those that were used or revoked, over the API
    List(Access),
    /// Revoke one by its id, over the API
    Revoke {
        #[command(flatten)]
        access: Access,
        /// Its id, as `token list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Configuration file, whose `api.jwt_secret` signs
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// What it may do
    #[arg(long, value_enum)]
    scope: Words,
    /// The tenant whose affairs it may see, with the scope `tenant`
    #[arg(long, value_name = "SLUG", required_if_eq("scope", "tenant"))]
    tenant: Option<Slug>,
    /// For how long it is good, such as 30d; without it for ever, or until it is revoked
    #[arg(long, value_name = "TIME", value_parser = good_for)]
    expires: Option<Duration>,
    /// Whom it is for, as the log and the trail of changes will say
    #[arg(long, value_name = "NAME", default_value = "portico", value_parser = subject)]
    subject: String,
}

/// Longer is a slip of the fingers; who means for ever leaves it out.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

fn good_for(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text)
        .map_err(|odd| format!("{odd}; write a number and a unit, such as 30d, 12h or 90m"))?;
    if time < Duration::from_secs(1) {
        return Err("such a token would never be good; write 1s or more, such as 30d".to_owned());
    }
    if time > LONGEST {
        return Err(
            "is more than 100 years; leave it out for a token that does not expire".to_owned()
        );
    }
    Ok(time)
}

fn subject(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err(
            "must not be empty: the trail of changes names it; leave it out for \"portico\""
                .to_owned(),
        );
    }
    if text.len() > MAX_CLAIM_BYTES || text.contains(char::is_control) {
        return Err(format!("{MAX_CLAIM_BYTES} bytes at most, and no control characters"));
    }
    Ok(text.to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Words {
    /// Everything
    Admin,
    /// See everything, change nothing
    Operator,
    /// What a node may tell of itself
    Node,
    /// See what is one tenant's
    Tenant,
}

impl From<Words> for Scope {
    fn from(word: Words) -> Self {
        match word {
            Words::Admin => Self::Admin,
            Words::Operator => Self::Operator,
            Words::Node => Self::Node,
            Words::Tenant => Self::Tenant,
        }
    }
}

pub(super) fn token(what: &What) -> anyhow::Result<u8> {
    let wanted = match what {
        What::Create(wanted) => wanted,
        What::List(access) => return client::list_tokens(access),
        What::Revoke { access, id } => return client::revoke_token(access, id),
    };
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let settings = match config::load(&wanted.config, &environment) {
        Ok(settings) => settings,
        Err(report) => {
            writeln!(err, "{report}")?;
            return Ok(WRONG);
        }
    };
    let Some(key) = settings.api.jwt_secret else {
        let file = wanted.config.display();
        writeln!(err, "{file}: api.jwt_secret is missing: it signs tokens; 32 characters or more")?;
        return Ok(WRONG);
    };
    if wanted.tenant.is_some() && wanted.scope != Words::Tenant {
        writeln!(err, "--tenant goes with --scope tenant only")?;
        return Ok(WRONG);
    }
    let issued = now_ms() / 1000;
    let mut claims = json!({
        "scope": Scope::from(wanted.scope).claim(),
        "sub": wanted.subject,
        "jti": hex::encode(rand::random::<[u8; 12]>()),
        "iat": issued,
    });
    if let Some(tenant) = &wanted.tenant {
        claims["tenant"] = tenant.as_str().into();
    }
    if let Some(expires) = wanted.expires {
        claims["exp"] = issued.saturating_add(expires.as_secs()).into();
    }
    writeln!(out, "{}", jwt::hs384(&claims, key.expose()))?;
    Ok(DONE)
}
