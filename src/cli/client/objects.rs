//! Clusters, groups, nodes and tenants: list, show, add, set, delete.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::Column;
use super::question::confirm;
use super::secrets::generate;
use super::values::{self, Pair};
use super::{Access, Api, api, output};
use crate::model::Kind;

/// A kind of objects.
#[derive(Debug)]
pub(super) struct Noun {
    pub(super) kind: Kind,
    /// Its place in the API.
    pub(super) collection: &'static str,
    /// The field that names it.
    pub(super) key: &'static str,
    pub(super) columns: &'static [Column],
}

pub(super) const CLUSTERS: Noun = Noun {
    kind: Kind::Cluster,
    collection: "/clusters",
    key: "name",
    columns: &[
        ("NAME", "/name"),
        ("CHECKSUM", "/checksum"),
        ("POLICY", "/policy"),
        ("ORIGIN", "/origin"),
    ],
};

pub(super) const GROUPS: Noun = Noun {
    kind: Kind::ClusterGroup,
    collection: "/cluster-groups",
    key: "name",
    columns: &[("NAME", "/name"), ("CLUSTERS", "/clusters"), ("ORIGIN", "/origin")],
};

pub(super) const NODES: Noun = Noun {
    kind: Kind::Node,
    collection: "/nodes",
    key: "name",
    columns: &[
        ("NAME", "/name"),
        ("CLUSTER", "/cluster"),
        ("STATE", "/state"),
        ("HEALTH", "/status/health"),
        ("MEETINGS", "/status/meetings"),
        ("ATTENDEES", "/status/attendees"),
        ("LOAD", "/status/load"),
        ("ORIGIN", "/origin"),
        ("URL", "/url"),
    ],
};

pub(super) const TENANTS: Noun = Noun {
    kind: Kind::Tenant,
    collection: "/tenants",
    key: "slug",
    columns: &[
        ("SLUG", "/slug"),
        ("NAME", "/name"),
        ("GROUP", "/cluster_group"),
        ("DOMAINS", "/domains"),
        ("SECRETS", "/secrets"),
        ("MEETINGS", "/status/meetings"),
        ("ATTENDEES", "/status/attendees"),
        ("ORIGIN", "/origin"),
    ],
};

/// What a view says, and nobody sets.
const NOT_SET: [&str; 4] = ["state", "status", "origin", "files"];

/// What can be done with each of them.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// List all
    List,
    /// Show one, with all its fields
    Show {
        /// Its name
        name: String,
    },
    /// Add one
    Add(Fields),
    /// Change fields of one; what is not named stays, and `KEY=` takes back to the default
    Set(Fields),
    /// Remove one
    Delete {
        /// Its name
        name: String,
    },
}

/// An object, and fields of it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Fields {
    /// Its name
    name: String,
    /// Fields, such as weight=2, limits.meetings=20, `tags=[sip]`
    #[arg(value_name = "KEY=VALUE", value_parser = values::pair)]
    pairs: Vec<Pair>,
    /// Fields from a file of YAML or JSON, `-` for standard input: secrets on a command line can be seen by others
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) async fn run(access: &Access, noun: &Noun, verb: Verb) -> Result<(), Failure> {
    let api = Api::new(access)?;
    match verb {
        Verb::List => {
            let items = api.all(noun.collection).await?;
            output::list(access.output, noun.columns, &items)
        }
        Verb::Show { name } => {
            let answer = api.get(&api::path(noun.collection, &name)).await?;
            output::one(access.output, &answer.body)
        }
        Verb::Add(fields) => add(access, &api, noun, &fields, "").await,
        Verb::Set(fields) => set(access, &api, noun, &fields, "").await,
        Verb::Delete { name } => {
            let what = noun.kind.as_str();
            let path = api::path(noun.collection, &name);
            confirm(access, &format!("remove {what} {name}"))?;
            api.delete(&path).await?;
            eprintln!("{what} {name} is removed");
            Ok(())
        }
    }
}

/// Changes one; `query` says how.
pub(super) async fn set(
    access: &Access,
    api: &Api,
    noun: &Noun,
    fields: &Fields,
    query: &str,
) -> Result<(), Failure> {
    let document = values::document(fields.file.as_deref(), &fields.pairs)?;
    if document.is_empty() {
        return Err(Failure::wrong("nothing to set: say KEY=VALUE or --file FILE"));
    }
    // The API lets views be sent back, and takes nothing of these.
    if let Some(told) = NOT_SET.iter().find(|told| document.contains_key(**told)) {
        return Err(Failure::wrong(format_args!(
            "{told}: is only told; `portico node cordon`, `drain` and `ready` set the state of a node"
        )));
    }
    let path = format!("{}{query}", api::path(noun.collection, &fields.name));
    let answer = api.patch(&path, &Value::Object(document), None).await?;
    output::one(access.output, &answer.body)
}

/// Adds one; `query` says how.
pub(super) async fn add(
    access: &Access,
    api: &Api,
    noun: &Noun,
    fields: &Fields,
    query: &str,
) -> Result<(), Failure> {
    let mut document = values::document(fields.file.as_deref(), &fields.pairs)?;
    document.insert(noun.key.to_owned(), fields.name.as_str().into());
    // Nobody is served without a secret.
    let generated = if noun.kind == Kind::Tenant && !document.contains_key("secrets") {
        let secret = generate()?;
        document.insert("secrets".to_owned(), json!([{"sub_id": 0, "secret": secret}]));
        Some(secret)
    } else {
        None
    };
    let path = format!("{}{query}", noun.collection);
    let mut object = match api.post(&path, &Value::Object(document)).await {
        Ok(answer) => answer.body,
        Err(failure) => {
            if let Some(secret) = generated.filter(|_| failure.is_unsure) {
                eprintln!("it may have been added all the same, with this secret:");
                output::write(format!("{secret}\n").as_bytes())?;
            }
            return Err(failure);
        }
    };
    if let Some(secret) = generated
        && let Some(Value::Object(main)) = object.pointer_mut("/secrets/0")
    {
        main.insert("secret".to_owned(), secret.into());
        eprintln!("its secret is shown only now");
    }
    output::one(access.output, &object)
}
