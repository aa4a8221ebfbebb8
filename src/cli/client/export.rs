//! The whole inventory, in the shape of the configuration file.

use clap::Args;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::objects::{CLUSTERS, GROUPS, NODES, Noun, TENANTS};
use super::output::Format;
use super::{Access, Api, output};
use crate::model::Kind;

/// Stands where a secret belongs: a mapping, which nobody takes for a secret.
pub(super) const FILL_IN: &str = "fill_in";
const OF_API: &str = "kept where it is there already";

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
        "# The inventory of Portico, without secrets. `portico apply` keeps those of what is there already. For what is not\n\
         # there, put one in the place of each `fill_in`: a text, {{file: path}} or {{env: NAME}}. A stats_token, and the\n\
         # second value of a secret that is rolled over, are not told at all.\n{}",
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
        let mut document = document(&view);
        mark(noun, &mut document);
        documents.push(Value::Object(document));
    }
    Ok(documents)
}

/// Says where a secret belongs.
fn mark(noun: &Noun, document: &mut Map<String, Value>) {
    let fill_in = || json!({ FILL_IN: OF_API });
    if noun.kind == Kind::Node {
        document.insert("secret".to_owned(), fill_in());
    }
    let secrets = document.get_mut("secrets").and_then(Value::as_array_mut);
    for secret in secrets.into_iter().flatten().filter_map(Value::as_object_mut) {
        secret.insert("secret".to_owned(), fill_in());
    }
}

/// Takes out what [`mark`] has put in, as far as there is a secret to be kept in `view`. Returns what is wrong where
/// there is none.
pub(super) fn unmark(
    view: Option<&Value>,
    document: &mut Map<String, Value>,
) -> Vec<(String, String)> {
    let mut open = Vec::new();
    let mut take = |fields: &mut Map<String, Value>, path: String, is_kept: bool| {
        if fields.get("secret").is_none_or(|value| value.get(FILL_IN).is_none()) {
            return;
        }
        fields.remove("secret");
        if !is_kept {
            let detail = "is still to be filled in, as there is none to be kept: write a text, {file: path} or \
                          {env: NAME}";
            open.push((path, detail.to_owned()));
        }
    };
    take(document, "secret".to_owned(), view.is_some());
    let is_known = |sub_id: &Value| {
        let all = view.and_then(|view| view["secrets"].as_array());
        all.is_some_and(|all| all.iter().any(|one| one["sub_id"] == *sub_id))
    };
    let secrets = document.get_mut("secrets").and_then(Value::as_array_mut);
    let secrets = secrets.into_iter().flatten().filter_map(Value::as_object_mut);
    for (index, secret) in secrets.enumerate() {
        let is_known = is_known(&secret.get("sub_id").cloned().unwrap_or_default());
        take(secret, format!("secrets[{index}].secret"), is_known);
    }
    open
}

/// The object alone.
pub(super) fn document(view: &Value) -> Map<String, Value> {
    let mut document = view.as_object().cloned().unwrap_or_default();
    document.retain(|key, _| !NOT_OF_IT.contains(&key.as_str()));
    document
}
