//! Meetings: which there are, over the API; and as a tenant's front end, for testing.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::output::{Column, Format};
use super::question::confirm;
use super::signing::{self, Means, Signer};
use super::{Access, Api, api, output};
use crate::bbb::{Answer, Call};
use crate::model::Scope;

const COLUMNS: &[Column] = &[
    ("INTERNAL ID", "/internal_id"),
    ("MEETING ID", "/meeting_id"),
    ("NAME", "/name"),
    ("TENANT", "/tenant"),
    ("NODE", "/node"),
    ("STATE", "/state"),
    ("ATTENDEES", "/attendees"),
    ("CREATED", "/created"),
];
const STATS: &[Column] = &[
    ("TENANT", "/tenant"),
    ("MEETINGS", "/meetings"),
    ("ATTENDEES", "/attendees"),
    ("LISTENERS", "/listeners"),
    ("VOICES", "/voices"),
    ("VIDEOS", "/videos"),
    ("MODERATORS", "/moderators"),
];

/// What can be done with meetings.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// List them
    List {
        /// Only those of this tenant
        #[arg(long, value_name = "SLUG")]
        tenant: Option<String>,
        /// Only those on this node
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// Only those that run: none that were ended, or are lost with their node
        #[arg(long)]
        running: bool,
    },
    /// Count them and the people in them, of each tenant and of all
    Stats,
    /// Show one, with all its fields
    Show {
        /// Its internal id
        id: String,
    },
    /// End one: everybody in it is sent away
    End {
        /// Its internal id; with --tenant its meeting ID
        id: String,
        /// As the front end of this tenant, which knows it by its meeting ID
        #[arg(long, value_name = "SLUG[-SUB]", value_parser = signing::scope)]
        tenant: Option<Scope>,
        #[command(flatten)]
        means: Means,
        /// Print the signed link instead of calling it
        #[arg(long, requires = "tenant")]
        print: bool,
    },
    /// Create one as a tenant's front end, for testing
    Create {
        /// Its meeting ID
        id: String,
        #[command(flatten)]
        with: With,
        /// Print the signed link instead of calling it
        #[arg(long)]
        print: bool,
    },
    /// Print a link for a browser to join one as a tenant's front end, for testing
    Join {
        /// Its meeting ID
        id: String,
        /// Who joins
        #[arg(long, default_value = "Tester")]
        name: String,
        /// As what
        #[arg(long, value_enum, default_value_t = Role::Moderator)]
        role: Role,
        #[command(flatten)]
        with: With,
    },
}

/// As which tenant, and with what else.
#[derive(Debug, Args)]
pub(in crate::cli) struct With {
    /// The tenant, or one of its secrets such as acme-5
    #[arg(long, value_name = "SLUG[-SUB]", value_parser = signing::scope)]
    tenant: Scope,
    #[command(flatten)]
    means: Means,
    /// More parameters, such as record=true
    #[arg(value_name = "NAME=VALUE", value_parser = signing::parameter)]
    pairs: Vec<(String, String)>,
}

/// What somebody is in a meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Role {
    /// May do everything
    Moderator,
    /// May listen and talk
    Viewer,
}

pub(super) async fn run(access: &Access, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::List { tenant, node, running } => {
            let running = running.then_some("true");
            let query = api::query([
                ("tenant", tenant.as_deref()),
                ("node", node.as_deref()),
                ("running", running),
            ]);
            let found = Api::new(access)?.all_of("/meetings", &query).await?;
            output::list(access.output, COLUMNS, &found)
        }
        Verb::Stats => stats(access).await,
        Verb::Show { id } => {
            let found = Api::new(access)?.get(&api::path("/meetings", id)).await?;
            output::one(access.output, &found.body)
        }
        Verb::End { id, tenant: None, .. } => {
            let api = Api::new(access)?;
            let path = api::path("/meetings", id);
            let meeting = api.get(&path).await?.body;
            let text = |key: &str| output::text(meeting.get(key));
            confirm(
                access,
                &format!(
                    "end the meeting {:?} of tenant {} on node {}, with {} people in it",
                    text("name"),
                    text("tenant"),
                    text("node"),
                    text("attendees"),
                ),
            )?;
            api.delete(&path).await?;
            eprintln!("meeting {id} is ended");
            Ok(())
        }
        Verb::End { id, tenant: Some(tenant), means, print } => {
            let signer = Signer::new(access, tenant, means)?;
            if !print {
                confirm(access, &format!("end meeting {id:?} of tenant {tenant}"))?;
            }
            let pairs = [("meetingID".to_owned(), id.clone())];
            make(access, &signer, Call::End, &pairs, *print).await
        }
        Verb::Create { id, with, print } => {
            let signer = Signer::new(access, &with.tenant, &with.means)?;
            let defaults = [("name", id.as_str()), ("meetingID", id)];
            let pairs = signing::with_defaults(&with.pairs, &defaults);
            make(access, &signer, Call::Create, &pairs, *print).await
        }
        Verb::Join { id, name, role, with } => {
            let signer = Signer::new(access, &with.tenant, &with.means)?;
            let role = match role {
                Role::Moderator => "MODERATOR",
                Role::Viewer => "VIEWER",
            };
            let defaults = [("fullName", name.as_str()), ("meetingID", id), ("role", role)];
            let pairs = signing::with_defaults(&with.pairs, &defaults);
            print_link(access, &signer.link(Call::Join, &pairs))
        }
    }
}

async fn make(
    access: &Access,
    signer: &Signer,
    call: Call,
    pairs: &[(String, String)],
    is_printed: bool,
) -> Result<(), Failure> {
    if is_printed {
        return print_link(access, &signer.link(call, pairs));
    }
    let answer = signer.call(call, pairs).await?;
    output::one(access.output, &flat(&answer))
}

/// The elements of an answer that have texts.
fn flat(answer: &Answer) -> Value {
    let mut fields = Map::new();
    for element in answer.element().elements() {
        if element.elements().next().is_none() {
            fields.insert(element.name.clone(), element.text().into_owned().into());
        }
    }
    Value::Object(fields)
}

/// A link alone on standard output, so that it can go on from there.
pub(super) fn print_link(access: &Access, link: &str) -> Result<(), Failure> {
    if access.output == Format::Table {
        return output::write(format!("{link}\n").as_bytes());
    }
    output::value(access.output, &json!({"link": link}))
}

/// Those that run; breakout rooms that a node has made are parts of their main meetings.
async fn stats(access: &Access) -> Result<(), Failure> {
    let api = Api::new(access)?;
    let mut rows: Vec<Value> = Vec::new();
    for tenant in api.all("/tenants").await? {
        rows.push(row(&output::text(tenant.get("slug"))));
    }
    let mut total = row("(all)");
    for meeting in api.all_of("/meetings", "&running=true").await? {
        let tenant = output::text(meeting.get("tenant"));
        let known = rows.iter().position(|row| row["tenant"] == tenant.as_str());
        let at = known.unwrap_or_else(|| {
            rows.push(row(&tenant));
            rows.len() - 1
        });
        for row in [&mut rows[at], &mut total] {
            add(row, "meetings", 1);
            for (_, key) in STATS.iter().skip(2) {
                let key = key.trim_start_matches('/');
                add(row, key, meeting[key].as_u64().unwrap_or_default());
            }
        }
    }
    if access.output == Format::Table {
        rows.push(total);
        return output::list(access.output, STATS, &rows);
    }
    output::value(access.output, &json!({"total": total, "tenants": rows}))
}

fn row(tenant: &str) -> Value {
    let mut row = Map::from_iter([("tenant".to_owned(), tenant.into())]);
    for (_, key) in STATS.iter().skip(1) {
        row.insert(key.trim_start_matches('/').to_owned(), 0.into());
    }
    Value::Object(row)
}

fn add(row: &mut Value, key: &str, more: u64) {
    let sum = row[key].as_u64().unwrap_or_default().saturating_add(more);
    row[key] = sum.into();
}
