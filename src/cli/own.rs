//! Refuses a file with nodes that lead back to Portico itself.

use std::path::Path;

use futures::future::join_all;

use crate::admin::leads_to;
use crate::config::{Own, Report, Server, Settings};

/// The same where nothing runs yet.
pub(super) fn refuse_at_start(path: &Path, settings: &Settings) -> anyhow::Result<Option<Report>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let refused = runtime.block_on(refuse(path, settings, &settings.server));
    // A name server that does not answer holds nobody up.
    runtime.shutdown_background();
    Ok(refused)
}

/// The refusal of a file whose nodes lead to where it has us listen, or to where we listen now.
pub(super) async fn refuse(path: &Path, settings: &Settings, now: &Server) -> Option<Report> {
    let inventory = &settings.inventory;
    let places = [&settings.server, now].map(Own::of);
    let looked_at = inventory.nodes.iter().map(async |node| {
        for own in &places {
            let found = leads_to(own, &node.url, inventory).await;
            if found.is_some() {
                return found;
            }
        }
        None
    });
    let found = join_all(looked_at).await;
    let mut wrong = Vec::new();
    // In a file without mistakes every node is read, in the order in which they stand there.
    for (index, cluster) in inventory.clusters.iter().enumerate() {
        let own =
            inventory.nodes.iter().zip(&found).filter(|(node, _)| node.cluster == cluster.name);
        for (place, (node, found)) in own.enumerate() {
            let Some(found) = found else { continue };
            wrong.push((
                format!("clusters[{index}].nodes[{place}].url"),
                format!(
                    "node {} leads back to Portico itself, to {found}; give the URL that `bbb-conf --secret` prints \
                     on the node",
                    node.name
                ),
            ));
        }
    }
    if wrong.is_empty() {
        return None;
    }
    let wrong = wrong.iter().map(|(key, reason)| (key.as_str(), reason.clone())).collect();
    Some(settings.refuse(path, wrong))
}
