//! The whole inventory, in the shape of the configuration file.

use clap::Args;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::objects::{CLUSTERS, GROUPS, NODES, Noun, TENANTS};
use super::output::Format;
use super::{Access, Api, output};

/// What a view has beside the object itself.
const NOT_OF_IT: [&str; 4] = ["origin", "state", "status", "files"];

/// What is wanted.
#[derive(Debug, Args)]
pub(in crate::cli) struct Wanted {
    /// Not possible: the API takes secrets and never gives them
    #[arg(long)]
    with_secrets: bool,
}

pub(super) async fn run(access: &Access, wanted: &Wanted) -> Result<(), Failure> {
    if wanted.with_secrets {
        return Err(Failure::wrong(
            "secrets cannot be exported: the API takes them and never gives them. `portico apply` keeps those \
             that a file does not name",
        ));
    }
    let api = Api::new(access)?;
    let mut clusters = documents(&api, &CLUSTERS).await?;
    for node in documents(&api, &NODES).await? {
        let Value::Object(mut node) = node else { continue };
        let of = node.remove("cluster").unwrap_or_default();
        let cluster = clusters.iter_mut().find(|cluster| cluster["name"] == of);
        let Some(Value::Object(cluster)) = cluster else {
            // Without it `apply --prune` would take the node away.
            return Err(Failure::failed("somebody is adding clusters at this moment: try again"));
        };
        let nodes = cluster.entry("nodes").or_insert_with(|| json!([]));
        if let Value::Array(nodes) = nodes {
            nodes.push(Value::Object(node));
        }
    }
    let inventory = json!({
        "clusters": clusters,
        "cluster_groups": documents(&api, &GROUPS).await?,
        "tenants": documents(&api, &TENANTS).await?,
    });
    if access.output == Format::Json {
        return output::value(Format::Json, &inventory);
    }
    let text = format!(
        "# The inventory of Portico, without secrets: `portico apply` keeps those that are not named.\n{}",
        output::yaml(&inventory)?
    );
    output::write(text.as_bytes())
}

async fn documents(api: &Api, noun: &Noun) -> Result<Vec<Value>, Failure> {
    let mut documents = Vec::new();
    for view in api.all(noun.collection).await? {
        let files = view["files"].as_object().into_iter().flatten();
        for (part, _) in files {
            let name = output::text(view.get(noun.key));
            eprintln!("the {part} of {} {name} is a file, and not exported", noun.kind.as_str());
        }
        documents.push(Value::Object(document(&view)));
    }
    Ok(documents)
}

/// The object alone.
pub(super) fn document(view: &Value) -> Map<String, Value> {
    let mut document = view.as_object().cloned().unwrap_or_default();
    document.retain(|key, _| !NOT_OF_IT.contains(&key.as_str()));
    document
}
