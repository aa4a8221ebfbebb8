//! Changes of a configuration file as an operator makes them in an editor.

/// The file without one node.
pub(crate) fn without_node(yaml: &str, name: &str) -> String {
    let head = format!("      - name: {name}\n");
    let (before, rest) = yaml.split_once(&head).expect("the node is in the file");
    let after: Vec<&str> = rest.lines().skip_while(|line| line.starts_with("        ")).collect();
    format!("{before}{}\n", after.join("\n"))
}

/// The file with one node more, in cluster `main`.
pub(crate) fn with_node(yaml: &str, name: &str, url: &str, secret: &str) -> String {
    let head = "  - name: main\n    nodes:\n";
    let node = format!("      - name: {name}\n        url: {url}\n        secret: \"{secret}\"\n");
    assert!(yaml.contains(head), "{yaml}");
    yaml.replacen(head, &format!("{head}{node}"), 1)
}

/// The file with one tenant more, in cluster group `default`.
pub(crate) fn with_tenant(yaml: &str, slug: &str, secret: &str) -> String {
    format!(
        "{yaml}  - slug: {slug}\n    cluster_group: default\n    secrets:\n      - sub_id: 0\n        \
         secret: \"{secret}\"\n"
    )
}
