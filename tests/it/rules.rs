//! Rules on parameters, as the nodes see what becomes of them.

use crate::harness::{Config, Pool, Tenant, assert_failed, portico};

/// The query of the last call that a node got, without its checksum and what we want to be told.
fn last(pool: &Pool, call: &str) -> String {
    let seen = pool.node(0).requests();
    let request = seen.iter().rfind(|seen| seen.path.ends_with(call)).expect("a call");
    let query = request.query.rsplit_once("&checksum=").expect("a checksum").0;
    query.rsplit_once("&meetingEndedURL=").map_or(query, |(query, _)| query).to_owned()
}

#[tokio::test]
async fn disabled_features_of_tenant_secret_and_front_end_are_one_set() {
    let rule = |name: &str, value: &str| {
        format!("{{ create: [{{ name: {name}, mode: append, value: \"{value}\" }}] }}")
    };
    let tenant = Tenant::new("acme")
        .sub(5)
        .set("params", rule("disabledFeatures", "chat,polls"))
        .secret_key(5, "params", rule("disabledFeatures", "polls, sharedNotes"));
    let pool = Pool::start(Config::new().tenant(tenant)).await;
    let five = pool.tenant("acme-5");
    for (number, (sent, arrived)) in [
        ("", "&disabledFeatures=chat%2Cpolls%2CsharedNotes"),
        ("disabledFeatures=&", "&disabledFeatures=chat%2Cpolls%2CsharedNotes"),
        (
            "disabledFeatures=sharedNotes,captions,captions&",
            "&disabledFeatures=sharedNotes%2Ccaptions%2Cchat%2Cpolls",
        ),
        (
            "disabledFeatures=polls&disabledFeaturesExclude=polls&",
            "&disabledFeatures=polls%2Cchat%2CsharedNotes&disabledFeaturesExclude=polls",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let query = format!("name=Algebra&{sent}meetingID=room{number}");
        five.get("create", &query).await.success();
        let meeting = format!("&meetingID=room{number}%40acme-5");
        assert_eq!(last(&pool, "/create").replace(&meeting, ""), format!("name=Algebra{arrived}"));
    }
}

#[tokio::test]
async fn each_mode_works_on_any_parameter_in_the_order_of_the_file() {
    let create = "[{name: a, mode: block}, {name: a, mode: set, value: x}, \
                  {name: b, mode: set, value: kept}, {name: c, mode: override, value: \"1 & 2\"}, \
                  {name: d, mode: max, value: 9}, {name: d, mode: block}, \
                  {name: meta_origin, mode: override, value: ours}]";
    let tenant = Tenant::new("acme").set("params", format!("{{ create: {create} }}"));
    let pool = Pool::start(Config::new().tenant(tenant)).await;
    let query = "name=Algebra&a=1&b=2&c=3&d=99&c=4&meta_origin=x&e=5&meetingID=room";
    pool.tenant("acme").get("create", query).await.success();
    assert_eq!(
        last(&pool, "/create"),
        "name=Algebra&b=2&c=1+%26+2&meta_origin=ours&e=5&meetingID=room%40acme&a=x"
    );
}

#[tokio::test]
async fn a_value_that_no_node_would_take_is_refused_before_anything_starts() {
    let rule = "{ create: [{ name: record, mode: override, value: maybe }] }";
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let yaml = pool.config_yaml().replacen(
        "    secrets:",
        &format!("    params: {rule}\n    secrets:"),
        1,
    );
    let path = pool.dir().join("another.yaml");
    std::fs::write(&path, yaml).expect("a file");
    let done = portico(&["check", "-c", path.to_str().expect("UTF-8")]).await;
    assert_eq!(done.code, 2);
    let said =
        "tenants[0].params.create[0].value: \"maybe\" is not what record takes: true or false";
    assert!(done.stderr.contains(said), "{}", done.stderr);
}

#[tokio::test]
async fn what_is_checked_is_what_the_rules_have_made() {
    let rules = "{ create: [{name: name, mode: set, value: Untitled}], \
                 join: [{name: fullName, mode: set, value: Guest}, \
                        {name: errorRedirectUrl, mode: override, value: \"https://lms.test/sorry\"}] }";
    let blocked = "{ create: [{name: name, mode: block}], \
                   join: [{name: errorRedirectUrl, mode: block}, {name: redirect, mode: block}, \
                          {name: fullName, mode: block}] }";
    let config = Config::new()
        .tenant(Tenant::new("acme").set("params", rules))
        .tenant(Tenant::new("other").set("params", blocked))
        .tenant(Tenant::new("plain"));
    let pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    acme.get("create", "meetingID=room").await.success();
    assert_eq!(last(&pool, "/create"), "meetingID=room%40acme&name=Untitled");
    let joined = acme.get("join", "meetingID=room&role=VIEWER").await;
    assert_eq!(joined.status, 302);
    assert!(joined.header("location").contains("&fullName=Guest&"), "{joined:?}");
    let own = "errorRedirectUrl=https%3A%2F%2Fown.test%2F";
    for query in
        [format!("meetingID=nowhere&{own}"), "meetingID=nowhere".to_owned(), own.to_owned()]
    {
        let refused = acme.get("join", &query).await;
        assert!(
            refused.header("location").starts_with("https://lms.test/sorry?errors="),
            "{query}"
        );
    }

    let other = pool.tenant("other");
    let nameless = other.get("create", "meetingID=room&name=Algebra").await;
    assert_failed(&nameless, "validationError", "You must provide a meeting name");
    let query = format!("meetingID=nowhere&fullName=Ada&{own}&redirect=false");
    assert_failed(
        &other.get("join", &query).await,
        "missingParamFullName",
        "You must provide your name",
    );
}

#[tokio::test]
async fn rules_on_metadata_mean_every_spelling_that_a_node_takes_for_the_same() {
    let create = "[{name: meta_gl-listed, mode: block}, {name: meta_Origin, mode: override, value: ours}, \
                   {name: meta_kept, mode: set, value: ours}, {name: meta_list, mode: append, value: b}]";
    let tenant = Tenant::new("acme").set("params", format!("{{ create: {create} }}"));
    let pool = Pool::start(Config::new().tenant(tenant)).await;
    let query = "name=Algebra&meta_GL-Listed=true&meta_origin=x&meta_ORIGIN=y&Meta_gl-listed=1\
                 &meta_KEPT=own&meta_LIST=a&meetingID=room";
    pool.tenant("acme").get("create", query).await.success();
    // Of the prefix a node knows one spelling.
    assert_eq!(
        last(&pool, "/create"),
        "name=Algebra&meta_origin=ours&Meta_gl-listed=1&meta_KEPT=own&meta_LIST=a%2Cb&meetingID=room%40acme"
    );
    let metadata = [("origin", "ours"), ("kept", "own"), ("list", "a,b")];
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(pool.node(0).meetings()[0].metadata, metadata);
}
