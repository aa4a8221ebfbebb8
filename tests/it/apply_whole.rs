//! `portico apply` says yes to nothing that it does not do in the end, and does nothing by halves.

use crate::command_line_api::{Shell, config};
use crate::harness::Pool;

#[tokio::test]
async fn a_file_is_looked_at_as_a_whole_before_anything_is_changed() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    let path = pool.config_path().with_file_name("inventory.yaml");
    let (taken, own) = (pool.node(0).url(), pool.address());
    let text = format!(
        "clusters:
  - name: west
    nodes:
      - {{ name: twice, url: \"{taken}\", secret: s }}
      - {{ name: loop, url: \"http://{own}/bigbluebutton\", secret: s }}
      - {{ name: heavy, url: \"http://192.0.2.1/bigbluebutton\", secret: s, weight: -1 }}
cluster_groups:
  - {{ name: wests, clusters: [west, east] }}
tenants:
  - {{ slug: alpha, cluster_group: nowhere, default: true, meeting_ids: plain, domains: [a.example] }}
  - {{ slug: beta, cluster_group: wests, default: true, meeting_ids: plain, domains: [a.example] }}
"
    );
    let secrets = "secrets: [{sub_id: 0, secret: a-secret-of-0123456789abcdefghijklmnop}], slug";
    std::fs::write(&path, text.replace("slug", secrets)).expect("a file");
    let apply = format!("apply {}", path.display());
    for line in [apply.clone(), format!("{apply} --dry-run")] {
        let wrong = shell.refused(&line, 2).await;
        for wanted in [
            "node twice: url: ",
            "node loop: url: leads back to Portico itself",
            "node heavy: weight: ",
            "cluster group wests: clusters: there is no cluster \"east\"",
            "tenant alpha: cluster_group: there is no cluster group \"nowhere\"",
            "tenant beta: default: ",
            "tenant beta: meeting_ids: ",
            "tenant beta: domains: ",
        ] {
            assert!(wrong.contains(wanted), "{line}: {wanted}\n{wrong}");
        }
        assert!(!wrong.contains("there is no cluster \"west\""), "{line}: {wrong}");
    }
    assert!(shell.json("changes").await.as_array().is_some_and(Vec::is_empty));
}
