//! What operators get wrong in files: told at once, all of it, and no more than a start would say.

use serde_json::json;

use crate::api::config;
use crate::command_line_api::Shell;
use crate::harness::Pool;

#[tokio::test]
async fn all_secrets_that_are_to_be_filled_in_are_told_at_once() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    let path = pool.config_path().with_file_name("inventory.yaml");
    let text = "
clusters:
  - name: west
    nodes:
      - { name: one, url: http://one.example/bigbluebutton/api, secret: { fill_in: kept } }
      - { name: two, url: http://two.example/bigbluebutton/api, secret: { fill_in: kept } }
tenants:
  - slug: beta
    cluster_group: default
    secrets: [{ sub_id: 0, secret: { fill_in: kept } }, { sub_id: 1, secret: { fill_in: kept } }]
  - { slug: odd, cluster_group: default, limits: { meetings: -1 } }
";
    std::fs::write(&path, text).expect("a file");
    for line in [format!("apply {}", path.display()), format!("apply {} --dry-run", path.display())]
    {
        let (code, stdout, stderr) = shell.run(&line).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        for said in [
            "node one: secret: is still to be filled in",
            "node two: secret: is still to be filled in",
            "tenant beta: secrets[0].secret: is still to be filled in",
            "tenant beta: secrets[1].secret: is still to be filled in",
            "tenant odd: limits.meetings: ",
        ] {
            assert!(stderr.lines().any(|line| line.starts_with(said)), "{said}: {stderr}");
        }
    }
    assert_eq!(shell.json("changes").await, json!([]));
}
