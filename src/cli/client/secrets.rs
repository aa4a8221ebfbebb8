//! Secrets of tenants: made here, shown once, never read back.

mod several;

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use http::StatusCode;
use serde_json::{Value, json};

use super::failure::Failure;
use super::objects::TENANTS;
use super::output::Format;
use super::question::confirm;
use super::{Access, Api, api, output, values, words};
use crate::admin::generate_secret;

/// Of two who change one tenant at the same time one comes second, and tries again.
const ATTEMPTS: usize = 5;

/// What can be done with secrets.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// List the secrets of one tenant, or of all, without their values, which nobody can read back
    List {
        /// The tenant's slug
        tenant: Option<String>,
    },
    /// Add a secret; a generated one is printed, once
    Add {
        /// The tenant's slug
        tenant: String,
        /// 0 is the main secret; several, such as 5-9, are added but for those that are there
        #[arg(value_name = "SUB_ID[-SUB_ID]", value_parser = several::range)]
        sub_ids: several::SubIds,
        #[command(flatten)]
        value: Given,
    },
    /// Put a new value beside the old one, in place of a second one: both count
    Rotate {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        value: Given,
        /// Only the new value counts, at once
        #[arg(long)]
        now: bool,
    },
    /// Remove a secret
    Delete {
        #[command(flatten)]
        which: Which,
    },
}

/// Which secret.
#[derive(Debug, Args)]
pub(in crate::cli) struct Which {
    /// The tenant's slug
    tenant: String,
    /// 0 is the main secret
    #[arg(value_parser = clap::value_parser!(u16).range(..=999))]
    sub_id: u16,
}

impl Which {
    fn path(&self) -> String {
        format!("{}/secrets/{}", api::path(TENANTS.collection, &self.tenant), self.sub_id)
    }
}

impl Display for Which {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "secret {} of tenant {}", self.sub_id, self.tenant)
    }
}

/// A value that is not generated.
#[derive(Debug, Args)]
pub(in crate::cli) struct Given {
    /// Take the value from the first line of a file, `-` for standard input, instead of a generated one
    #[arg(long, value_name = "FILE")]
    value_file: Option<PathBuf>,
}

impl Given {
    fn value(&self) -> Result<String, Failure> {
        let Some(file) = &self.value_file else { return generate() };
        first_line(file)
    }
}

/// The first line of a file.
pub(super) fn first_line(file: &Path) -> Result<String, Failure> {
    let line = values::read(file)?.lines().next().unwrap_or_default().to_owned();
    if line.is_empty() {
        return Err(Failure::wrong(format_args!("{}: there is no secret in it", file.display())));
    }
    Ok(line)
}

/// A new value, from the system's random source.
pub(super) fn generate() -> Result<String, Failure> {
    generate_secret().map_err(Failure::failed)
}

pub(super) async fn run(access: &Access, verb: Verb) -> Result<(), Failure> {
    match &verb {
        Verb::List { tenant } => several::list(access, tenant.as_deref()).await,
        Verb::Add { tenant, sub_ids, value } => {
            let Some(sub_id) = sub_ids.only() else {
                return several::add(access, tenant, *sub_ids, value.value_file.is_some()).await;
            };
            let which = &Which { tenant: tenant.clone(), sub_id };
            let secret = value.value()?;
            let new = json!({"sub_id": which.sub_id, "secret": secret});
            let change = |secrets: &mut Vec<Value>| {
                if secrets.iter().any(|secret| secret["sub_id"] == which.sub_id) {
                    let Which { tenant, sub_id } = which;
                    return Err(Failure::failed(format_args!(
                        "tenant {tenant} has a secret {sub_id}: rotate it, or take another number"
                    )));
                }
                secrets.push(new.clone());
                Ok(())
            };
            let done = edit(&Api::new(access)?, which, change).await;
            told(access, which, value, &secret, done)
        }
        Verb::Rotate { which, value, now } => {
            let api = Api::new(access)?;
            let known = api.get(&which.path()).await.map_err(Failure::without_effect)?;
            let is_rolling = known.body["rolling"] == true;
            if *now {
                confirm(access, &format!("end what {which} was before"))?;
            } else if is_rolling {
                confirm(access, &format!("end the second value that {which} has already"))?;
            }
            let secret = value.value()?;
            // What another operator has begun since is not written over.
            let done = if *now || is_rolling {
                let patch = match now {
                    true => json!({"secret": secret, "secret2": ""}),
                    false => json!({"secret2": secret}),
                };
                api.patch(&which.path(), &patch, known.tag).await
            } else {
                let begin = format!("{}/rollover", which.path());
                api.post(&begin, &json!({"secret2": secret})).await
            };
            let done = done.map(drop).map_err(|failure| match failure.status {
                Some(StatusCode::PRECONDITION_FAILED) => failure.in_words(|_read_it_again| {
                    format!(
                        "{which} is as it was: another operator has changed its tenant at the same time. Try again"
                    )
                }),
                Some(StatusCode::CONFLICT) => {
                    let name = format!("{} {}", which.tenant, which.sub_id);
                    failure.in_words(|text| words::of(text, &name))
                }
                _ => failure,
            });
            told(access, which, value, &secret, done)
        }
        Verb::Delete { which } => {
            let Which { tenant, sub_id } = which;
            confirm(access, &format!("remove secret {sub_id} of tenant {tenant}"))?;
            let change = |secrets: &mut Vec<Value>| {
                let before = secrets.len();
                secrets.retain(|secret| secret["sub_id"] != *sub_id);
                if secrets.len() == before {
                    return Err(Failure::failed(format_args!(
                        "tenant {tenant} has no secret {sub_id}"
                    )));
                }
                Ok(())
            };
            edit(&Api::new(access)?, which, change).await?;
            eprintln!("secret {sub_id} of tenant {tenant} is removed");
            Ok(())
        }
    }
}

/// Changes the list of a tenant's secrets. The API keeps the values that are not in it.
async fn edit(
    api: &Api,
    which: &Which,
    change: impl Fn(&mut Vec<Value>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let path = api::path(TENANTS.collection, &which.tenant);
    for _ in 0..ATTEMPTS {
        let mut read = api.get(&path).await.map_err(Failure::without_effect)?;
        let mut secrets = api::list(&mut read.body, "secrets")?;
        change(&mut secrets)?;
        match api.patch(&path, &json!({"secrets": secrets}), read.tag).await {
            Err(failure) if failure.status == Some(StatusCode::PRECONDITION_FAILED) => {}
            done => return done.map(drop),
        }
    }
    Err(Failure::failed("others change it at the same time: try again"))
}

/// Tells a generated value, alone on standard output; also where it is not sure that it was set: nobody else knows
/// it.
fn told(
    access: &Access,
    which: &Which,
    given: &Given,
    secret: &str,
    done: Result<(), Failure>,
) -> Result<(), Failure> {
    let Which { tenant, sub_id } = which;
    let is_generated = given.value_file.is_none();
    if let Err(failure) = done {
        if failure.is_unsure && is_generated {
            eprintln!(
                "secret {sub_id} of tenant {tenant} may have been set all the same, to this:"
            );
            output::write(format!("{secret}\n").as_bytes())?;
        }
        return Err(failure);
    }
    if access.output != Format::Table {
        let secret = is_generated.then_some(secret);
        let told = json!({"tenant": tenant, "sub_id": sub_id, "secret": secret});
        return output::value(access.output, &told);
    }
    if !is_generated {
        eprintln!("secret {sub_id} of tenant {tenant} is set");
        return Ok(());
    }
    eprintln!("secret {sub_id} of tenant {tenant}, shown only now:");
    output::write(format!("{secret}\n").as_bytes())
}
