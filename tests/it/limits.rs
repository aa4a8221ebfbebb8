//! Limits on meetings and attendees, of a tenant and of its secrets.

use futures::future::join_all;

use crate::harness::{Client, Config, Pool, Reply, Tenant, assert_failed, eventually};

fn config(nodes: usize, tenant: Tenant) -> Config {
    Config::new().nodes(nodes).tenant(tenant)
}

fn limited(limits: &str) -> Tenant {
    Tenant::new("acme").sub(5).sub(6).set("limits", limits)
}

async fn create(client: &Client, id: &str) -> Reply {
    client.get("create", &format!("name=A+meeting&meetingID={id}")).await
}

/// Creates that many meetings at the same time; returns how many were admitted. The others must have been
/// refused for the reason given.
async fn create_at_once(client: &Client, name: &str, count: usize, reason: &str) -> usize {
    let ids: Vec<_> = (0..count).map(|number| format!("{name}{number}")).collect();
    let replies = join_all(ids.iter().map(|id| create(client, id))).await;
    let (admitted, refused): (Vec<_>, Vec<_>) =
        replies.iter().partition(|reply| reply.text("returncode") == "SUCCESS");
    for reply in refused {
        assert_failed(reply, "meetingLimitReached", reason);
    }
    admitted.len()
}

async fn hits(pool: &Pool, tenant: &str, limit: &str) -> f64 {
    let series = format!("portico_limit_hits_total{{limit=\"{limit}\",tenant=\"{tenant}\"}}");
    pool.metrics().await.get(&series)
}

/// Changes the limits in the file and has it read again.
async fn change(pool: &Pool, from: &str, to: &str) {
    let times = pool.log().matches(READ_AGAIN).count();
    pool.rewrite_config(&pool.config_yaml().replacen(from, to, 1));
    pool.signal("HUP");
    eventually("the file is read", async || pool.log().matches(READ_AGAIN).count() > times).await;
}

async fn attendees(pool: &Pool) -> f64 {
    pool.metrics().await.get("portico_tenant_attendees{tenant=\"acme\"}")
}

const READ_AGAIN: &str = "configuration read again";
const OF_TENANT: &str = "The meeting limit of this tenant (10) has been reached.";

#[tokio::test]
async fn of_a_hundred_creates_at_once_exactly_as_many_as_allowed_go_through() {
    let tenants = config(3, limited("{ meetings: 10 }")).tenant(Tenant::new("other"));
    let mut pool = Pool::start(tenants).await;
    let acme = pool.tenant("acme");
    assert_eq!(create_at_once(&acme, "room", 100, OF_TENANT).await, 10);
    let running: usize = pool.nodes().iter().map(|node| node.meetings().len()).sum();
    assert_eq!((running, acme.listed().await.len()), (10, 10));
    assert!((hits(&pool, "acme", "tenant_meetings").await - 90.0).abs() < 0.1);

    // What runs can be created again and joined; others have limits of their own.
    let listed = acme.listed().await;
    assert_eq!(create(&acme, &listed[0]).await.key(), "duplicateWarning");
    let join = acme.get("join", &format!("meetingID={}&fullName=Ada&role=VIEWER", listed[0])).await;
    assert_eq!(join.status, 302);
    pool.tenant("other").create("room").await;
    assert!((hits(&pool, "other", "tenant_meetings").await).abs() < 0.1);

    // The places of two that end are free at once.
    for id in &listed[..2] {
        acme.get("end", &format!("meetingID={id}")).await.success();
    }
    assert_eq!(create_at_once(&acme, "next", 20, OF_TENANT).await, 2);
    // That of one that ends by itself is when a poll has seen it.
    assert!(
        pool.node_of(&format!("{}@acme", listed[2])).end_meeting(&format!("{}@acme", listed[2]))
    );
    eventually("its place is free", async || {
        create(&acme, "at-last").await.text("returncode") == "SUCCESS"
    })
    .await;
    assert_eq!(create_at_once(&acme, "late", 5, OF_TENANT).await, 0);

    pool.kill9();
    pool.restart().await;
    assert_eq!(create_at_once(&acme, "later", 5, OF_TENANT).await, 0);
    acme.get("end", "meetingID=at-last").await.success();
    assert_eq!(create_at_once(&acme, "last", 20, OF_TENANT).await, 1);
}

#[tokio::test]
async fn the_tenants_limit_and_those_of_its_secrets_count_together() {
    let tenant = limited("{ meetings: 5 }").secret_key(5, "limits", "{ meetings: 3 }");
    let pool = Pool::start(config(2, tenant)).await;
    let (main, five, six) = (pool.tenant("acme"), pool.tenant("acme-5"), pool.tenant("acme-6"));
    let of_secret = "The meeting limit of this secret (3) has been reached.";
    let of_tenant = "The meeting limit of this tenant (5) has been reached.";
    assert_eq!(create_at_once(&five, "room", 30, of_secret).await, 3);
    assert_eq!(create_at_once(&six, "room", 30, of_tenant).await, 2);
    assert_eq!(create_at_once(&main, "room", 3, of_tenant).await, 0);
    assert_failed(&create(&five, "one-more").await, "meetingLimitReached", of_tenant);
    assert!((hits(&pool, "acme", "secret_meetings").await - 27.0).abs() < 0.1);
    six.get("end", &format!("meetingID={}", six.listed().await[0])).await.success();
    assert_failed(&create(&five, "one-more").await, "meetingLimitReached", of_secret);
    main.create("room").await;
}

#[tokio::test]
async fn a_create_that_fails_gives_its_place_back_also_that_of_a_breakout_room() {
    let pool = Pool::start(config(1, limited("{ meetings: 2 }"))).await;
    let acme = pool.tenant("acme");
    for _ in 0..3 {
        let reply = acme.get("create", "name=A+meeting&meetingID=room&record=maybe").await;
        assert_eq!(reply.key(), "validationError");
    }
    acme.create("room").await;
    let breakout = "name=Group&meetingID=group&isBreakout=true&parentMeetingID=room&sequence=1";
    for _ in 0..3 {
        let reply = acme.get("create", &format!("{breakout}&record=maybe")).await;
        assert_eq!(reply.key(), "validationError");
    }
    acme.get("create", breakout).await.success();
    assert_eq!(create(&acme, "another").await.key(), "meetingLimitReached");
}

#[tokio::test]
async fn a_lower_limit_ends_nothing_and_a_higher_one_counts_at_once() {
    let pool = Pool::start(config(1, limited("{ meetings: 3 }"))).await;
    let acme = pool.tenant("acme");
    for id in ["one", "two", "three"] {
        acme.create(id).await;
    }
    change(&pool, "{ meetings: 3 }", "{ meetings: 1 }").await;
    assert_eq!(acme.listed().await.len(), 3);
    acme.get("end", "meetingID=one").await.success();
    let refused = create(&acme, "four").await;
    assert_failed(
        &refused,
        "meetingLimitReached",
        "The meeting limit of this tenant (1) has been reached.",
    );
    change(&pool, "{ meetings: 1 }", "{ meetings: 4 }").await;
    acme.create("four").await;
    acme.create("five").await;
    assert_eq!(create(&acme, "six").await.key(), "meetingLimitReached");
}

#[tokio::test]
async fn attendees_that_polls_have_seen_keep_new_meetings_out() {
    let tenant = limited("{ attendees: 20 }").secret_key(5, "limits", "{ attendees: 5 }");
    let pool = Pool::start(config(2, tenant)).await;
    let (main, five, six) = (pool.tenant("acme"), pool.tenant("acme-5"), pool.tenant("acme-6"));
    five.create("room").await;
    pool.node_of("room@acme-5").add_attendees("room@acme-5", 7);
    eventually("a poll has counted them", async || attendees(&pool).await > 6.0).await;
    let reached = "attendeeLimitReached";
    let of_secret = "The attendee limit of this secret (5) has been reached.";
    assert_failed(&create(&five, "next").await, reached, of_secret);
    assert_eq!(create(&five, "room").await.key(), "duplicateWarning");
    six.create("room").await;
    pool.node_of("room@acme-6").add_attendees("room@acme-6", 13);
    eventually("a poll has counted them", async || attendees(&pool).await > 19.0).await;
    let of_tenant = "The attendee limit of this tenant (20) has been reached.";
    assert_failed(&create(&main, "next").await, reached, of_tenant);
    // Not at a join, unless that is wanted.
    let joined = six.get("join", "meetingID=room&fullName=Ada&role=VIEWER").await;
    assert_eq!(joined.status, 302);
    six.get("end", "meetingID=room").await.success();
    main.create("next").await;
}

#[tokio::test]
async fn a_limit_on_joins_lets_moderators_in() {
    let tenant = limited("{ attendees: 3, limit_joins: true }");
    let pool = Pool::start(config(1, tenant)).await;
    let acme = pool.tenant("acme");
    acme.get("create", "name=A+meeting&meetingID=room&attendeePW=ap&moderatorPW=mp")
        .await
        .success();
    let join =
        async |rest: &str| acme.get("join", &format!("meetingID=room&fullName=Ada&{rest}")).await;
    assert_eq!(join("role=VIEWER").await.status, 302);
    pool.node(0).add_attendees("room@acme", 3);
    eventually("a poll has counted them", async || attendees(&pool).await > 2.0).await;
    for who in
        ["role=VIEWER", "role=viewer&password=mp", "password=ap", "password=", "role=&password=x"]
    {
        let reason = "The attendee limit of this tenant (3) has been reached.";
        assert_failed(&join(who).await, "maxParticipantsReached", reason);
    }
    for who in ["role=MODERATOR", "role=moderator&password=ap", "password=mp"] {
        assert_eq!(join(who).await.status, 302, "{who}");
    }
    assert!((hits(&pool, "acme", "tenant_joins").await - 5.0).abs() < 0.1);
    pool.node(0).remove_attendees("room@acme");
    eventually("somebody has left", async || join("role=VIEWER").await.status == 302).await;
}

#[tokio::test]
async fn a_secrets_limit_on_joins_is_that_of_its_own_meetings() {
    let tenant =
        limited("{ attendees: 50 }").secret_key(5, "limits", "{ attendees: 2, limit_joins: true }");
    let pool = Pool::start(config(1, tenant)).await;
    let (main, five, six) = (pool.tenant("acme"), pool.tenant("acme-5"), pool.tenant("acme-6"));
    five.create("full").await;
    six.create("open").await;
    pool.node(0).add_attendees("full@acme-5", 2);
    pool.node(0).add_attendees("open@acme-6", 9);
    eventually("a poll has counted them", async || attendees(&pool).await > 10.0).await;
    let join = async |client: &Client, id: &str| {
        client.get("join", &format!("meetingID={id}&fullName=Ada&role=VIEWER")).await
    };
    let reason = "The attendee limit of this secret (2) has been reached.";
    // The main secret comes in by the same door.
    assert_failed(&join(&five, "full").await, "maxParticipantsReached", reason);
    assert_failed(&join(&main, "full").await, "maxParticipantsReached", reason);
    assert_eq!(join(&six, "open").await.status, 302);
    assert_eq!(join(&main, "open").await.status, 302);
    assert!((hits(&pool, "acme", "secret_joins").await - 2.0).abs() < 0.1);
}

#[tokio::test]
async fn a_full_tenant_honours_redirect_as_a_full_meeting_does() {
    let tenant = limited("{ attendees: 2, limit_joins: true }");
    let pool = Pool::start(config(1, tenant)).await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    pool.node(0).add_attendees("room@acme", 2);
    eventually("a poll has counted them", async || attendees(&pool).await > 1.0).await;
    let query =
        "meetingID=room&fullName=Ada&role=VIEWER&errorRedirectUrl=https%3A%2F%2Flms.test%2F";
    let reason = "The attendee limit of this tenant (2) has been reached.";
    let program = acme.get("join", &format!("{query}&redirect=false")).await;
    assert_failed(&program, "maxParticipantsReached", reason);
    let person = acme.get("join", query).await;
    assert_eq!(person.status, 302);
    assert!(person.header("location").starts_with("https://lms.test/?errors="), "{person:?}");
}

#[tokio::test]
async fn breakout_rooms_that_a_front_end_creates_count_as_any_meeting() {
    let pool = Pool::start(config(1, limited("{ meetings: 3, attendees: 12 }"))).await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    let breakout = async |number: usize| {
        let group = format!("name=Group&meetingID=group{number}&isBreakout=true&sequence={number}");
        acme.get("create", &format!("{group}&parentMeetingID=room")).await
    };
    let replies = join_all((0..10).map(breakout)).await;
    let (made, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.is_success());
    let reason = "The meeting limit of this tenant (3) has been reached.";
    for reply in &refused {
        assert_failed(reply, "meetingLimitReached", reason);
    }
    assert_eq!((made.len(), refused.len()), (2, 8));
    let room = made[0].text("internalMeetingID");

    // Whoever is in one is an attendee, and its place is free when it ends.
    let on_node = pool.node(0).meetings();
    let rooms: Vec<_> =
        on_node.iter().filter(|meeting| meeting.external_id != "room@acme").collect();
    for room in &rooms {
        assert!(pool.node(0).add_attendees(&room.internal_id, 5));
    }
    eventually("a poll has counted them", async || attendees(&pool).await > 9.0).await;
    let meetings = "portico_tenant_meetings{tenant=\"acme\"}";
    assert!((pool.metrics().await.get(meetings) - 3.0).abs() < 0.1);
    acme.get("end", &format!("meetingID={room}")).await.success();
    eventually("its people are gone", async || attendees(&pool).await < 6.0).await;
    breakout(11).await.success();

    // And after a restart.
    let mut pool = pool;
    pool.kill9();
    pool.restart().await;
    let acme = pool.tenant("acme");
    eventually("a poll has counted them", async || attendees(&pool).await > 4.0).await;
    assert_failed(&create(&acme, "another").await, "meetingLimitReached", reason);
}
