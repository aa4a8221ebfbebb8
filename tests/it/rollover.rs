//! Sub-secrets, their two values, and which of them was used.

use crate::harness::{Client, Config, Pool, Signed, Tenant, assert_failed, eventually};

async fn uses(pool: &Pool, sub: u16) -> [String; 2] {
    let metrics = pool.metrics().await;
    [1, 2].map(|value| {
        metrics
            .get(&format!(
                "portico_secret_uses_total{{sub_id=\"{sub}\",tenant=\"acme\",value=\"{value}\"}}"
            ))
            .to_string()
    })
}

async fn is_heard(client: &Client) -> bool {
    client.get("getMeetings", "").await.is_success()
}

fn second(sub: u16) -> String {
    format!("the second value of secret {sub}, which comes in")
}

#[tokio::test]
async fn every_sub_id_has_two_values_and_the_main_secret_sees_all() {
    let subs = [0, 1, 42, 500, 999];
    let tenant = subs.into_iter().fold(Tenant::new("acme"), |tenant, sub| {
        tenant.sub(sub).secret_key(sub, "secret2", format!("\"{}\"", second(sub)))
    });
    let pool = Pool::start(Config::new().tenant(tenant)).await;
    for sub in subs {
        let scope = if sub == 0 { "acme".to_owned() } else { format!("acme-{sub:03}") };
        let client = pool.tenant(&scope);
        client.create(&format!("first-{sub}")).await;
        client.secret(&second(sub)).create(&format!("second-{sub}")).await;
        // Nobody else's value counts, nor does a failure as a use.
        for other in subs.into_iter().filter(|other| *other != sub) {
            let reply = client.secret(&second(other)).get("getMeetings", "").await;
            assert_failed(&reply, "checksumError", "Checksums do not match");
        }
        assert_eq!(uses(&pool, sub).await, ["1", "1"], "{sub}");
    }
    assert_eq!(pool.tenant("acme").listed().await.len(), 10);
    for sub in &subs[1..] {
        let own = [format!("first-{sub}"), format!("second-{sub}")];
        assert_eq!(pool.tenant(&format!("acme-{sub}")).listed().await, own);
    }
}

#[tokio::test]
async fn the_metric_tells_when_the_old_value_is_unused() {
    let old = "the old value, which everybody still has";
    let new = "the new value, which nobody has as yet";
    let tenant = Tenant::new("acme").secret_key(0, "secret2", format!("\"{new}\""));
    let pool = Pool::start(Config::new().tenant(tenant)).await;
    let yaml = pool.config_yaml();
    let own = pool.tenant("acme").secret;
    let (with_old, with_new) = (pool.tenant("acme").secret(old), pool.tenant("acme").secret(new));
    let change = async |yaml: String| {
        let heard = "configuration read again";
        let times = pool.log().matches(heard).count();
        pool.rewrite_config(&yaml);
        pool.signal("HUP");
        eventually("the file is read", async || pool.log().matches(heard).count() > times).await;
    };
    assert!(is_heard(&with_new).await);
    change(yaml.replace(&own, old)).await;
    // The first value is another one now; the second goes on counting.
    assert_eq!(uses(&pool, 0).await, ["0", "1"]);
    assert!(is_heard(&with_old).await && is_heard(&with_new).await);
    let form = with_old.post_signed_form("getMeetings", "a=1", Signed::Sorted).await;
    assert!(form.is_success());
    assert_eq!(uses(&pool, 0).await, ["2", "2"]);
    change(yaml.replace(&own, new).replace(&format!("secret2: \"{new}\""), "secret2: \"\"")).await;
    assert!(is_heard(&with_new).await && !is_heard(&with_old).await);
    assert_eq!(uses(&pool, 0).await, ["1", "0"]);
}
