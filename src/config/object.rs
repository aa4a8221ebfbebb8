//! One object of the inventory, as it comes over the network: under the same rules as in the file.
//!
//! A secret is a text, and a look is a URL: whoever writes here must not learn what stands in our files.

use std::path::Path;

use super::reader::{Fields, Item, Names, Reading};
use super::report::Problem;
use super::tree::Node;
use super::{clusters, tenants};
use crate::model::{Kind, Object};

/// Reads one object. Whether it goes together with others is for the inventory to say.
///
/// # Errors
/// Every mistake, with its path in the document.
pub fn read(kind: Kind, document: &serde_json::Value) -> Result<Object, Vec<Problem>> {
    let reading = Reading { is_remote: true, ..Reading::new(Path::new(""), &|_never: &str| None) };
    let tree = Node::from(document);
    let object = object(kind, &Item::root(&reading, &tree));
    let problems = reading.problems.into_inner();
    object.filter(|_| problems.is_empty()).ok_or(problems)
}

fn object(kind: Kind, item: &Item<'_>) -> Option<Object> {
    let among = Names::elsewhere;
    match kind {
        Kind::Cluster => item
            .fields(|fields| clusters::cluster(fields, &mut among("cluster")))
            .map(Object::Cluster),
        Kind::ClusterGroup => item
            .fields(|fields| {
                clusters::group(fields, &among("cluster"), &mut among("cluster group"))
            })
            .map(Object::ClusterGroup),
        Kind::Node => item.fields(node).map(Object::Node),
        Kind::Tenant => {
            let groups = among("cluster group");
            let tenant = tenants::tenant(item, &mut tenants::Shared::among(&groups));
            tenant.map(|tenant| Object::Tenant(Box::new(tenant)))
        }
    }
}

fn node(fields: &Fields<'_, '_>) -> Option<crate::model::Node> {
    let cluster = fields.required("cluster", "the name of its cluster");
    let cluster = cluster.text("the name of a cluster");
    let name = cluster.unwrap_or_default();
    let node = clusters::node(fields, name, &mut Names::new("node"), &mut Names::new("url"));
    cluster.and(node)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problems(kind: Kind, document: &Value) -> Vec<String> {
        let show = |problem: &Problem| format!("{}: {}", problem.path, problem.message);
        read(kind, document).expect_err("mistakes").iter().map(show).collect()
    }

    #[test]
    fn every_kind_is_read_as_in_the_file() {
        let node = json!({
            "name": "bbb01", "cluster": "main", "url": "https://bbb01.example.org/bigbluebutton/",
            "secret": "0123e45", "weight": 0.5, "tags": ["sip"],
        });
        let Ok(Object::Node(node)) = read(Kind::Node, &node) else { panic!("a node") };
        assert_eq!((node.secret.expose(), node.weight, node.capacity), ("0123e45", 0.5, 200));
        assert_eq!(node.url.path(), "/bigbluebutton/api");
        let tenant = json!({
            "slug": "acme", "cluster_group": "all", "default": true,
            "secrets": [{"sub_id": 0, "secret": "s"}], "limits": {"meetings": 3},
        });
        let Ok(Object::Tenant(tenant)) = read(Kind::Tenant, &tenant) else { panic!("a tenant") };
        assert!(tenant.is_default && tenant.limits.meetings == 3);
        let cluster = json!({"name": "main", "policy": {"b3lb": {"meeting_factor": 15}}});
        assert!(matches!(read(Kind::Cluster, &cluster), Ok(Object::Cluster(_))));
        let group = json!({"name": "all", "clusters": ["main"]});
        assert!(matches!(read(Kind::ClusterGroup, &group), Ok(Object::ClusterGroup(_))));
    }

    #[test]
    fn every_mistake_is_told_and_no_file_is_read() {
        let tenant = json!({
            "slug": "acme", "cluster_group": "all", "limit": {},
            "secrets": [{"sub_id": 0, "secret": {"file": "/etc/hostname"}}, {"sub_id": 0, "secret": ""}],
            "branding": {"logo": "/etc/hostname"},
            "domains": ["a.example", "A.example."], "required_tags": ["sip", "gpu", "sip"],
            "checksums": ["sha1", "sha1"],
        });
        assert_eq!(
            problems(Kind::Tenant, &tenant),
            [
                "domains[1]: \"a.example\" is already the domain at domains[0]; give each its own",
                "required_tags[2]: \"sip\" stands at required_tags[0] already; once is enough",
                "secrets[0].secret: a mapping is not a text",
                "secrets[1].sub_id: \"0\" is already the sub_id at secrets[0].sub_id; give each its own",
                "secrets[1].secret: must not be empty; write a text",
                "checksums[1]: \"sha1\" is already the checksum at checksums[0]; give each its own",
                "branding.logo: \"/etc/hostname\" is not an http or https URL; files are uploaded",
                "limit: is no known key; did you mean \"limits\"?",
            ]
        );
        assert_eq!(
            problems(Kind::ClusterGroup, &json!({"name": "g", "clusters": ["a", "b", "a"]})),
            ["clusters[2]: \"a\" is already the cluster at clusters[0]; give each its own"]
        );
        assert_eq!(
            problems(Kind::Node, &json!({"name": "b"})),
            [
                "cluster: is missing: the name of its cluster",
                "url: is missing: the URL that `bbb-conf --secret` prints on the node",
                "secret: is missing: a text",
            ]
        );
        assert_eq!(
            problems(Kind::Cluster, &json!([])),
            [": a list is not a mapping of keys and values"]
        );
    }
}
