//! `create`, byte by byte.

use crate::harness::{Client, Config, Pool, Tenant, assert_failed, masked};

async fn pool() -> (Pool, Client) {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    (pool, acme)
}

fn created(key: &str, message: &str) -> String {
    format!(
        "<response><returncode>SUCCESS</returncode><meetingID>room</meetingID>\
         <internalMeetingID>*</internalMeetingID><parentMeetingID>bbb-none</parentMeetingID>\
         <attendeePW>a p</attendeePW><moderatorPW>m&amp;p</moderatorPW><createTime>*</createTime>\
         <voiceBridge>*</voiceBridge><dialNumber>613-555-1234</dialNumber><createDate>*</createDate>\
         <hasUserJoined>false</hasUserJoined><duration>120</duration>\
         <hasBeenForciblyEnded>false</hasBeenForciblyEnded><messageKey>{key}</messageKey>\
         <message>{message}</message></response>"
    )
}

const QUERY: &str = "meetingID=room&name=Algebra&attendeePW=a+p&moderatorPW=m%26p&duration=120";

#[tokio::test]
async fn the_first_create_the_second_and_one_that_contradicts_are_answered_as_by_a_node() {
    let (pool, acme) = pool().await;
    let first = acme.get("create", QUERY).await;
    assert_eq!((first.status.as_u16(), masked(&first.body)), (200, created("", "")));
    assert_eq!(first.header("content-type"), "text/xml;charset=utf-8");
    assert_eq!(first.header("cache-control"), "no-cache");

    for query in [QUERY, "meetingID=room&name=Another"] {
        let again = acme.get("create", query).await;
        let duplicate = created(
            "duplicateWarning",
            "This conference was already in existence and may currently be in progress.",
        );
        assert_eq!((again.status.as_u16(), masked(&again.body)), (200, duplicate));
        for name in ["internalMeetingID", "createTime", "voiceBridge"] {
            assert_eq!(again.text(name), first.text(name), "{name}");
        }
    }
    for contradiction in ["attendeePW=a+p&moderatorPW=other", "attendeePW=a+p", "moderatorPW=m%26p"]
    {
        let reply = acme.get("create", &format!("meetingID=room&name=B2&{contradiction}")).await;
        assert_failed(
            &reply,
            "idNotUnique",
            "A meeting already exists with that meeting ID.  Please use a different meeting ID.",
        );
    }
    assert_eq!(pool.node(0).meetings().len(), 1);
}

#[tokio::test]
async fn missing_and_malformed_parameters_get_bigbluebuttons_keys() {
    let (pool, acme) = pool().await;
    let long = "x".repeat(257);
    for (query, key, message) in [
        ("", "missingParamMeetingID", "You must provide a meeting ID"),
        ("name=Algebra", "missingParamMeetingID", "You must provide a meeting ID"),
        ("meetingID=&name=Algebra", "missingParamMeetingID", "You must provide a meeting ID"),
        ("meetingID=%20%09&name=Algebra", "missingParamMeetingID", "You must provide a meeting ID"),
        (
            "meetingID=r&name=Algebra",
            "validationError",
            "Meeting ID must be between 2 and 256 characters",
        ),
        (
            &format!("meetingID={long}&name=Algebra"),
            "validationError",
            "Meeting ID must be between 2 and 256 characters",
        ),
        ("meetingID=a,b&name=Algebra", "validationError", "Meeting ID cannot contain ','"),
        ("meetingID=a%2Cb&name=Algebra", "validationError", "Meeting ID cannot contain ','"),
        ("meetingID=%20room&name=Algebra", "validationError", "Invalid meeting ID"),
        ("meetingID=ro%07om&name=Algebra", "validationError", "Invalid meeting ID"),
        ("meetingID=room", "validationError", "You must provide a meeting name"),
        ("meetingID=room&name=+", "validationError", "You must provide a meeting name"),
        (
            "meetingID=room&name=A",
            "validationError",
            "Meeting name must be between 2 and 256 characters",
        ),
        (
            &format!("meetingID=room&name={long}"),
            "validationError",
            "Meeting name must be between 2 and 256 characters",
        ),
        (
            "meetingID=room&name=Algebra&record=maybe",
            "validationError",
            "Record must be a boolean value (true or false)",
        ),
        (
            "meetingID=room&name=Algebra&voiceBridge=x1",
            "validationError",
            "Voice bridge must be an integral value",
        ),
        (
            "meetingID=room&name=Algebra&isBreakout=perhaps",
            "validationError",
            "You must provide a boolean value (true or false) for the breakout room",
        ),
        ("meetingID=room&name=Algebra&moderatorPW=1", "invalidPassword", "Invalid password"),
        (
            "meetingID=room&name=Algebra&presentationUploadExternalUrl=nope",
            "validationError",
            "Param 'presentationUploadExternalUrl' is not a valid URL",
        ),
    ] {
        let reply = acme.get("create", query).await;
        assert_eq!((query, reply.key().as_str()), (query, key));
        assert_failed(&reply, key, message);
    }
    assert_eq!(pool.node(0).meetings(), []);
    assert_eq!(acme.listed().await, Vec::<String>::new());
}

#[tokio::test]
async fn of_a_duplicated_parameter_the_first_counts() {
    let (pool, acme) = pool().await;
    let query = "meetingID=room&name=First&meetingID=other&name=Second&meetingID=third";
    assert_eq!(acme.get("create", query).await.success().text("meetingID"), "room");
    let on_node = pool.node(0).meetings();
    assert_eq!(on_node.len(), 1);
    assert_eq!((on_node[0].external_id.as_str(), on_node[0].name.as_str()), ("room@acme", "First"));
    assert_eq!(acme.listed().await, ["room"]);
}

#[tokio::test]
async fn the_clusters_checksum_is_used_towards_its_nodes() {
    for (name, hex_chars) in [("sha1", 40), ("sha384", 96), ("sha512", 128)] {
        let config = Config::new().cluster("main", "checksum", name).tenant(Tenant::new("acme"));
        let pool = Pool::start(config).await;
        pool.tenant("acme").create("room").await;
        let seen = pool.node(0).requests();
        let sums = seen.iter().filter_map(|seen| seen.query.split_once("checksum="));
        assert!(sums.clone().count() >= 2);
        assert!(sums.clone().all(|(_, sum)| sum.len() == hex_chars), "{name}");
    }
}

#[tokio::test]
async fn rules_of_the_tenant_and_the_secret_are_applied() {
    let create = "[{name: record, mode: override, value: \"false\"}, {name: welcome, mode: block}, \
                  {name: maxParticipants, mode: max, value: \"30\"}]";
    let tenant = Tenant::new("acme")
        .sub(5)
        .set(
            "params",
            format!(
                "{{ create: {create}, join: [{{name: role, mode: override, value: VIEWER}}] }}"
            ),
        )
        .secret_key(
            5,
            "params",
            "{ create: [{name: disabledFeatures, mode: append, value: chat}], join: [] }",
        );
    let pool = Pool::start(Config::new().tenant(tenant)).await;
    let query = "name=Algebra&record=true&welcome=hi&maxParticipants=100&disabledFeatures=polls&";
    for (scope, features) in [("acme", "polls"), ("acme-5", "polls%2Cchat")] {
        let client = pool.tenant(scope);
        client.get("create", &format!("{query}meetingID=room")).await.success();
        let seen = pool.node(0).requests();
        let create = seen.iter().rfind(|seen| seen.path.ends_with("/create")).expect("a create");
        let (query, _) = create.query.rsplit_once("&meetingEndedURL=").expect("a hook of ours");
        assert_eq!(
            query,
            format!(
                "name=Algebra&record=false&maxParticipants=30&disabledFeatures={features}&\
                 meetingID=room%40{scope}"
            )
        );
        let joined = client.get("join", "meetingID=room&fullName=Ada&role=MODERATOR").await;
        assert!(joined.header("location").contains("&role=VIEWER&"), "{joined:?}");
    }
}

#[tokio::test]
async fn the_id_of_an_ended_meeting_is_free_at_once() {
    let (_pool, acme) = pool().await;
    let first = acme.create("room").await;
    acme.get("end", "meetingID=room").await.success();
    let second = acme.get("create", "meetingID=room&name=Again").await.success();
    assert_eq!(second.key(), "");
    assert_ne!(second.text("internalMeetingID"), first.text("internalMeetingID"));
    let info = acme.get("getMeetingInfo", "meetingID=room").await.success();
    assert_eq!(info.text("meetingName"), "Again");
}
