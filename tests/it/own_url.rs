//! A node that is Portico itself would have one create become thousands: the file is refused.

use crate::harness::{Config, Pool, Tenant, eventually, portico};

#[tokio::test]
async fn a_node_that_is_portico_itself_is_refused_with_its_line() {
    let text = "\
server:
  listen: [{ address: \"0.0.0.0:18080\" }]
  admin: \"127.0.0.1:18081\"
  public_url: https://door.example
  base_domain: bbb.example
data_dir: DIR/data
clusters:
  - name: other
    nodes:
      - { name: fine, url: \"http://127.0.0.1:18082/bigbluebutton\", secret: s }
  - name: main
    nodes:
      - { name: fine2, url: \"http://127.0.0.1:18083/bigbluebutton\", secret: s }
      - { name: near, url: \"http://127.0.0.1:18080/bigbluebutton\", secret: s }
      - { name: named, url: \"http://localhost:18081/bigbluebutton\", secret: s }
      - { name: door, url: \"https://door.example/bigbluebutton\", secret: s }
      - { name: base, url: \"https://bbb.example/bigbluebutton\", secret: s }
";
    let config = Config::new();
    let dir = config.dir().display().to_string();
    let path = config.file("loop.yaml", text.replace("DIR", &dir));
    let path = path.to_str().expect("UTF-8");
    let remedy = "give the URL that `bbb-conf --secret` prints on the node";
    for command in ["check", "serve"] {
        let done = portico(&[command, "-c", path]).await;
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{command}: {}", done.stderr);
        for (line, place, name, to) in [
            (14, 1, "near", "our listener 0.0.0.0:18080"),
            (15, 2, "named", "our listener 127.0.0.1:18081"),
            (16, 3, "door", "server.public_url (https://door.example)"),
            (17, 4, "base", "a host of server.base_domain (bbb.example)"),
        ] {
            let wanted = format!(
                "{path}:{line}: clusters[1].nodes[{place}].url: node {name} leads back to Portico itself, to {to}; \
                 {remedy}"
            );
            assert!(done.stderr.contains(&wanted), "{command}: {wanted}\n{}", done.stderr);
        }
        assert!(!done.stderr.contains("fine"), "{command}: {}", done.stderr);
    }
}

#[tokio::test]
async fn a_reload_with_a_node_that_is_portico_itself_changes_nothing() {
    let pool = Pool::start(Config::new().nodes(2).tenant(Tenant::new("acme"))).await;
    let own = format!("http://{}/", pool.address());
    let yaml = pool.config_yaml();
    let node = pool.node(1).url();
    let node = node.split_inclusive('/').take(3).collect::<String>();
    assert!(yaml.contains(&node), "{node}: {yaml}");
    pool.rewrite_config(&yaml.replace(&node, &own));
    pool.signal("HUP");
    eventually("it is refused", async || pool.log().contains("stays as it was")).await;
    pool.says("node node1 leads back to Portico itself, to our listener").await;
    for id in ["algebra", "geometry", "topology", "logic"] {
        pool.tenant("acme").create(id).await;
    }
    assert_eq!(pool.node_calls("create"), 4);
}
