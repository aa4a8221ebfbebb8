//! Who is asking: by path, by host, by default.

use crate::harness::{Client, Config, Pool, Tenant, assert_failed};

async fn pool() -> Pool {
    let config = Config::new()
        .set("server.base_domain", "bbb.test")
        .set("server.trusted_proxies", "[]")
        .tenant(Tenant::new("acme").sub(5).set("domains", "[meet.acme.test]"))
        .tenant(Tenant::new("fallback").set("default", true))
        .tenant(Tenant::new("uni-x"));
    Pool::start(config).await
}

/// Whether the meetings of this scope are what the client sees.
async fn speaks_for(client: &Client, scope: &str) -> bool {
    client.listed().await == [format!("meeting-of-{scope}")]
}

#[tokio::test]
async fn every_form_of_address_leads_to_its_tenant() {
    let pool = pool().await;
    for scope in ["acme-5", "fallback", "uni-x"] {
        pool.tenant(scope).create(&format!("meeting-of-{scope}")).await;
    }
    let api = "/bigbluebutton/api";
    for (scope, host, base) in [
        ("acme-5", "acme-5.bbb.test", api),
        ("acme-5", "acme-005.bbb.test", api),
        ("acme-5", "ACME-5.BBB.test:8443", api),
        ("acme-5", "acme-5.bbb.test.", api),
        ("acme-5", "any.test", "/b3lb/t/acme-5/bbb/api"),
        ("acme-5", "any.test", "/bbb/acme-5"),
        ("acme-5", "any.test", "/bbb/acme-5/bigbluebutton/api"),
        ("uni-x", "uni-x.bbb.test", api),
        ("uni-x", "any.test", "/b3lb/t/uni-x/bbb/api"),
        ("uni-x", "any.test", "/bbb/uni-x"),
        ("fallback", "any.test", api),
        ("fallback", "127.0.0.1", api),
        ("fallback", "bbb.test", api),
        // The path wins over the host.
        ("uni-x", "acme-5.bbb.test", "/bbb/uni-x"),
        ("uni-x", "meet.acme.test", "/b3lb/t/uni-x/bbb/api"),
    ] {
        let client = pool.tenant(scope).host(host).base(base);
        assert!(speaks_for(&client, scope).await, "{host}{base}");
    }
    let own_domain = pool.tenant("acme").host("Meet.Acme.Test").base(api);
    assert_eq!(own_domain.listed().await, ["meeting-of-acme-5"], "the main secret sees all");
}

#[tokio::test]
async fn forwarded_hosts_count_only_from_trusted_proxies() {
    let config = |trusted| {
        Config::new()
            .set("server.base_domain", "bbb.test")
            .set("server.trusted_proxies", trusted)
            .tenant(Tenant::new("acme"))
            .tenant(Tenant::new("fallback").set("default", true))
    };
    let trusting = Pool::start(config("[127.0.0.0/8]")).await;
    let wary = Pool::start(config("[10.0.0.0/8]")).await;
    for (name, value) in
        [("x-forwarded-host", "acme.bbb.test"), ("forwarded", "for=192.0.2.1;host=acme.bbb.test")]
    {
        let client = |pool: &Pool, slug| {
            pool.tenant(slug).base("/bigbluebutton/api").header(name, value).host("inner")
        };
        assert_eq!(client(&trusting, "acme").listed().await, Vec::<String>::new(), "{name}");
        let refused = client(&trusting, "fallback").get("getMeetings", "").await;
        assert_eq!(refused.key(), "checksumError", "{name}");
        assert_eq!(client(&wary, "fallback").listed().await, Vec::<String>::new(), "{name}");
        let refused = client(&wary, "acme").get("getMeetings", "").await;
        assert_eq!(refused.key(), "checksumError", "{name}");
    }
}

#[tokio::test]
async fn an_unknown_tenant_is_answered_like_a_wrong_checksum() {
    let config = Config::new()
        .set("server.base_domain", "bbb.test")
        .tenant(Tenant::new("acme").sub(5).set("domains", "[meet.acme.test]"));
    let pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    let wrong = acme.secret("not the secret of anybody").get("getMeetings", "").await;
    assert_failed(&wrong, "checksumError", "Checksums do not match");
    let api = "/bigbluebutton/api";
    for (host, base) in [
        ("any.test", "/bbb/nobody"),
        ("any.test", "/bbb/acme-6"),
        ("any.test", "/bbb/acme-1234/bigbluebutton/api"),
        ("any.test", "/bbb/Acme"),
        ("any.test", "/b3lb/t/nobody/bbb/api"),
        ("nobody.bbb.test", api),
        ("acme-6.bbb.test", api),
        // There is no default tenant here.
        ("any.test", api),
    ] {
        let reply = acme.host(host).base(base).get("getMeetings", "").await;
        assert_eq!(reply.seen(), wrong.seen(), "{host}{base}");
        assert_eq!(headers(&reply), headers(&wrong), "{host}{base}");
    }
    // A secret is good for its own sub id only.
    for (scope, base) in [("acme", "/bbb/acme-5"), ("acme-5", "/bbb/acme")] {
        let reply = pool.tenant(scope).base(base).get("getMeetings", "").await;
        assert_eq!(reply.seen(), wrong.seen(), "{scope} at {base}");
    }
}

/// All headers but the time.
fn headers(reply: &crate::harness::Reply) -> http::HeaderMap {
    let mut headers = reply.headers.clone();
    headers.remove("date");
    headers
}

#[tokio::test]
async fn both_values_of_a_secret_count_and_an_empty_one_never_does() {
    let second = "a second value that comes in while the first goes";
    let tenant = Tenant::new("acme")
        .sub(5)
        .secret_key(0, "secret2", format!("\"{second}\""))
        .secret_key(5, "secret2", "\"\"");
    let pool = Pool::start(Config::new().tenant(tenant)).await;
    let acme = pool.tenant("acme");
    assert!(acme.get("getMeetings", "").await.is_success());
    assert!(acme.secret(second).get("getMeetings", "").await.is_success());
    for scope in ["acme", "acme-5"] {
        let reply = pool.tenant(scope).secret("").get("getMeetings", "").await;
        assert_failed(&reply, "checksumError", "Checksums do not match");
    }
}
