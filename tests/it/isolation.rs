//! A tenant never reads, joins, ends or counts another one's meetings.

use http::StatusCode;

use crate::harness::{Client, Config, Pool, Tenant, assert_failed};

const NOT_FOUND: (&str, &str) = ("notFound", "A meeting with that ID does not exist");
const NOT_RUNNING: &str =
    "<response><returncode>SUCCESS</returncode><running>false</running></response>";

/// Creates a meeting with this name and gives its internal id.
async fn create(client: &Client, id: &str, name: &str) -> String {
    let reply = client.get("create", &format!("meetingID={id}&name={name}")).await.success();
    assert_eq!(reply.text("meetingID"), id);
    assert_eq!(reply.key(), "", "it is new");
    reply.text("internalMeetingID")
}

/// The names in `getMeetings`, sorted.
async fn names(client: &Client) -> Vec<String> {
    let xml = client.get("getMeetings", "").await.success().xml();
    let meetings = xml.child("meetings").expect("a list");
    let mut names: Vec<_> = meetings
        .elements()
        .map(|meeting| meeting.child_text("meetingName").expect("a name").into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn two_tenants_with_the_same_meeting_id_on_one_node_never_meet() {
    let pool =
        Pool::start(Config::new().tenant(Tenant::new("acme")).tenant(Tenant::new("other"))).await;
    let (acme, other) = (pool.tenant("acme"), pool.tenant("other"));
    let of_acme = create(&acme, "room", "Acme").await;
    let of_other = create(&other, "room", "Other").await;
    assert_ne!(of_acme, of_other);
    assert_eq!(pool.node(0).meetings().len(), 2);

    for (client, name, internal_id) in [(&acme, "Acme", &of_acme), (&other, "Other", &of_other)] {
        assert_eq!(names(client).await, [name]);
        for id in ["room", internal_id] {
            let info = client.get("getMeetingInfo", &format!("meetingID={id}")).await.success();
            assert_eq!(
                (info.text("meetingName").as_str(), info.text("meetingID").as_str()),
                (name, "room")
            );
            assert_eq!(info.text("internalMeetingID"), *internal_id);
        }
    }

    // Each joins its own.
    let joined =
        other.get("join", "meetingID=room&fullName=Ada&role=VIEWER&redirect=false").await.success();
    assert_eq!(joined.text("meeting_id"), of_other);
    let running = |client: &Client| {
        let client = client.clone();
        async move { client.get("isMeetingRunning", "meetingID=room").await.text("running") }
    };
    assert_eq!((running(&acme).await, running(&other).await), ("false".into(), "true".into()));

    // Nobody reaches the other's by its internal id.
    for (client, foreign) in [(&acme, &of_other), (&other, &of_acme)] {
        let query = format!("meetingID={foreign}");
        for call in ["getMeetingInfo", "end"] {
            let reply = client.get(call, &query).await;
            assert_failed(&reply, NOT_FOUND.0, NOT_FOUND.1);
        }
        assert_eq!(client.get("isMeetingRunning", &query).await.seen(), (200, NOT_RUNNING));
        let reply = client.get("join", &format!("{query}&fullName=Eve&role=MODERATOR")).await;
        assert_failed(&reply, "invalidMeetingIdentifier", "A meeting with that ID does not exist");
        let breakout = format!(
            "name=Room&meetingID=breakout&isBreakout=true&sequence=1&parentMeetingID={foreign}"
        );
        let reply = client.get("create", &breakout).await;
        assert_failed(
            &reply,
            "parentMeetingDoesNotExist",
            "No parent meeting exists for the breakout room",
        );
    }

    // To end one's own leaves the other's alone.
    assert_eq!(acme.get("end", "meetingID=room").await.success().key(), "sentEndMeetingRequest");
    let left: Vec<_> =
        pool.node(0).meetings().into_iter().filter(|meeting| !meeting.ended).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].internal_id, of_other);
    assert!(other.get("getMeetingInfo", "meetingID=room").await.is_success());
}

#[tokio::test]
async fn an_id_that_imitates_another_scope_stays_with_its_owner() {
    let config = Config::new().tenant(Tenant::new("acme").sub(5)).tenant(Tenant::new("evil"));
    let pool = Pool::start(config).await;
    let (acme, evil) = (pool.tenant("acme"), pool.tenant("evil"));
    create(&acme, "room", "Acme").await;
    for id in ["room@acme", "room%40acme", "room@acme-5"] {
        let query = format!("meetingID={id}");
        assert_failed(&evil.get("getMeetingInfo", &query).await, NOT_FOUND.0, NOT_FOUND.1);
        assert_failed(&evil.get("end", &query).await, NOT_FOUND.0, NOT_FOUND.1);
    }
    create(&evil, "room@acme", "Evil").await;
    create(&evil, "room@acme-5", "Evil").await;
    assert_eq!(names(&acme).await, ["Acme"]);
    assert_eq!(names(&pool.tenant("acme-5")).await, Vec::<String>::new());
    assert_eq!(evil.listed().await, ["room@acme", "room@acme-5"]);
}

#[tokio::test]
async fn the_main_secret_sees_its_whole_tenant_and_the_others_only_their_own() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme").sub(5).sub(6))).await;
    let (main, five, six) = (pool.tenant("acme"), pool.tenant("acme-5"), pool.tenant("acme-6"));
    create(&main, "shared", "Main").await;
    create(&five, "shared", "Five").await;
    let of_six = create(&six, "of-six", "Six").await;

    assert_eq!(names(&main).await, ["Five", "Main", "Six"]);
    assert_eq!(names(&five).await, ["Five"]);
    assert_eq!(names(&six).await, ["Six"]);

    let name = |client: &Client, id: &str| {
        let (client, query) = (client.clone(), format!("meetingID={id}"));
        async move { client.get("getMeetingInfo", &query).await.text("meetingName") }
    };
    // Its own meeting goes before that of a part with the same id.
    assert_eq!(name(&main, "shared").await, "Main");
    assert_eq!(name(&main, "of-six").await, "Six");
    assert_eq!(name(&main, &of_six).await, "Six");
    assert_eq!(name(&five, "shared").await, "Five");
    for id in ["of-six", of_six.as_str()] {
        let reply = five.get("end", &format!("meetingID={id}")).await;
        assert_failed(&reply, NOT_FOUND.0, NOT_FOUND.1);
    }
    assert!(main.get("end", "meetingID=of-six").await.is_success());
    let joined = five.get("join", "meetingID=shared&fullName=Ada&role=VIEWER").await;
    assert_eq!(joined.status, StatusCode::FOUND);
    assert!(joined.header("location").contains("meetingID=shared%40acme-5&"), "{joined:?}");
}
