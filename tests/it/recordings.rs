//! Recordings: gathered from all nodes, changed where they are, and never anybody else's.

use std::collections::HashSet;
use std::time::Duration;

use portico::bbb::Element;
use portico::sim::Fault;
use tokio::time::Instant;

use crate::calls::{assert_same, at};
use crate::harness::{Client, Config, Pool, Reply, Tenant, assert_failed, eventually, failed};

pub(crate) const UNKNOWN: (&str, &str) = ("notFound", "We could not find recordings");
pub(crate) const NONE: &str = "<response><returncode>SUCCESS</returncode><recordings></recordings>\
    <messageKey>noRecordings</messageKey>\
    <message>There are no recordings for the meeting(s).</message></response>";
pub(crate) const CHANGES: [(&str, &str); 4] = [
    ("publishRecordings", "&publish=false"),
    ("publishRecordings", "&publish=true"),
    ("updateRecordings", "&meta_Tag=x&meta_gl-listed="),
    ("deleteRecordings", ""),
];

async fn pool(nodes: usize) -> Pool {
    let acme = Tenant::new("acme").sub(5);
    Pool::start(Config::new().nodes(nodes).tenant(acme).tenant(Tenant::new("other"))).await
}

fn recordings(reply: &Reply) -> Vec<Element> {
    let xml = reply.xml();
    xml.child("recordings").expect("a list").elements().cloned().collect()
}

pub(crate) fn texts(reply: &Reply, name: &str) -> Vec<String> {
    let text = |recording: &Element| recording.child_text(name).expect("it has one").into_owned();
    recordings(reply).iter().map(text).collect()
}

/// The ids of the caller's recordings, sorted.
pub(crate) async fn ids(client: &Client, query: &str) -> Vec<String> {
    let mut ids = texts(&client.get("getRecordings", query).await.success(), "recordID");
    ids.sort();
    ids
}

pub(crate) fn beginning(record_id: &str) -> &str {
    record_id.get(..30).expect("a digest")
}

pub(crate) fn sorted(lists: &[&[String]]) -> Vec<String> {
    let mut all = lists.concat();
    all.sort();
    all
}

#[tokio::test]
async fn an_answer_is_the_nodes_own_but_for_the_ids() {
    let pool = pool(1).await;
    let (acme, node) = (pool.tenant("acme"), at(pool.node(0)));
    assert_eq!(acme.get("getRecordings", "").await.seen(), (200, NONE));
    let room = pool.node(0).add_recordings("room@acme", 4);
    let second = pool.node(0).add_recordings("r&d@acme", 2);
    node.get("publishRecordings", &format!("recordID={}&publish=false", room[1])).await.success();
    node.get("deleteRecordings", &format!("recordID={}", room[2])).await.success();
    node.get("updateRecordings", &format!("recordID={}&meta_tag=a+%3C+b", room[0])).await.success();
    let (first, start) = (&room[0], beginning(&second[0]));
    for (query, of_node) in [
        (String::new(), None),
        ("meetingID=room".to_owned(), Some("meetingID=room@acme".to_owned())),
        ("meetingID=room,+r%26d,x".to_owned(), Some("meetingID=room@acme,r%26d@acme".to_owned())),
        ("meetingID=nowhere".to_owned(), None),
        (format!("recordID={first}"), None),
        (format!("recordID={first},{start}"), None),
        (format!("recordID={start}&meetingID=room"), None),
        ("recordID=unknown".to_owned(), None),
        ("state=unpublished".to_owned(), None),
        ("state=deleted,published".to_owned(), None),
        ("state=any".to_owned(), None),
        ("state=processing".to_owned(), None),
        ("meta_gl-listed=false".to_owned(), None),
        ("meta_tag=a%25".to_owned(), None),
        ("meta_tag=%25x&meta_gl-listed=false".to_owned(), None),
        ("meta_meetingId=room".to_owned(), Some("meta_meetingId=room@acme".to_owned())),
        ("meta_MEETINGID=r%25".to_owned(), None),
        ("limit=2".to_owned(), None),
        ("limit=2&offset=2&state=any".to_owned(), None),
        ("limit=0&offset=1".to_owned(), None),
        ("limit=1000".to_owned(), None),
        ("limit=x&offset=y".to_owned(), None),
        ("offset=3".to_owned(), None),
        ("limit=5&offset=50".to_owned(), None),
        (
            format!("meetingID={}room", "nowhere,".repeat(900)),
            Some("meetingID=room@acme".to_owned()),
        ),
    ] {
        let nodes = node.get("getRecordings", of_node.as_deref().unwrap_or(&query)).await;
        let expected = nodes.body.replace("@acme", "");
        let ours = acme.get("getRecordings", &query).await;
        assert_eq!(ours.seen(), (200, expected.as_str()), "{query}");
        assert_eq!(ours.header("content-type"), nodes.header("content-type"));
        let ours = acme.post_form("getRecordings", &query).await;
        assert_eq!(ours.seen(), (200, expected.as_str()), "{query}");
    }
}

#[tokio::test]
async fn two_tenants_with_the_same_meeting_on_three_nodes_see_their_own_recordings() {
    let pool = pool(3).await;
    let (acme, five, other) = (pool.tenant("acme"), pool.tenant("acme-5"), pool.tenant("other"));
    let add = |id: &str| {
        let of_nodes = pool.nodes().iter().map(|node| node.add_recordings(id, 2));
        of_nodes.collect::<Vec<_>>().concat()
    };
    let (of_acme, of_five, of_other) = (add("room@acme"), add("room@acme-5"), add("room@other"));
    // Nobody's: an unknown tenant, a meeting without a scope.
    add("room@nobody");
    add("room");
    for query in ["", "meetingID=room", "meetingID=room,nowhere", "state=published"] {
        assert_eq!(ids(&acme, query).await, sorted(&[&of_acme, &of_five]), "{query}");
        assert_eq!(ids(&five, query).await, sorted(&[&of_five]), "{query}");
        assert_eq!(ids(&other, query).await, sorted(&[&of_other]), "{query}");
    }
    let reply = other.get("getRecordings", "").await;
    assert_eq!(texts(&reply, "meetingID"), ["room"; 6]);
    assert!(!reply.body.contains('@'), "{}", reply.body);
    // Neither by its id, nor by a beginning of it, nor by its name on the node.
    for query in [
        format!("recordID={}", of_acme[0]),
        format!("recordID={}", beginning(&of_acme[0])),
        "meetingID=room@acme".to_owned(),
        "meetingID=room%40acme-5".to_owned(),
        "meta_meetingId=room@acme".to_owned(),
    ] {
        assert_eq!(other.get("getRecordings", &query).await.seen(), (200, NONE), "{query}");
    }
    let wrong = acme.secret("wrong wrong wrong");
    let refused = ("checksumError", "You did not pass the checksum security check");
    assert_failed(&wrong.get("getRecordings", "").await, refused.0, refused.1);
    for (call, more) in CHANGES {
        let reply = wrong.get(call, &format!("recordID={}{more}", of_acme[0])).await;
        assert_failed(&reply, refused.0, refused.1);
    }
}

#[tokio::test]
async fn a_tenant_with_plain_ids_has_the_recordings_that_name_no_scope() {
    let old = Tenant::new("old").set("meeting_ids", "plain");
    let pool = Pool::start(Config::new().nodes(2).tenant(old).tenant(Tenant::new("acme"))).await;
    let (old, acme) = (pool.tenant("old"), pool.tenant("acme"));
    let of_old = pool.node(0).add_recordings("room", 2);
    let of_acme = pool.node(1).add_recordings("room@acme", 1);
    for query in ["", "meetingID=room"] {
        assert_eq!(ids(&old, query).await, sorted(&[&of_old]), "{query}");
        assert_eq!(ids(&acme, query).await, of_acme, "{query}");
    }
    assert_eq!(ids(&old, "meetingID=room@acme").await, Vec::<String>::new());
}

#[tokio::test]
async fn pages_are_cut_from_the_whole() {
    let pool = pool(3).await;
    let acme = pool.tenant("acme");
    for (index, count) in [5, 2, 7].into_iter().enumerate() {
        pool.node(index).add_recordings("room@acme", count);
        pool.node(index).add_recordings("room@other", 3);
    }
    let whole = texts(&acme.get("getRecordings", "").await.success(), "recordID");
    assert_eq!(whole.iter().collect::<HashSet<_>>().len(), 14);
    for limit in [1, 4, 7, 100] {
        let mut pages = Vec::new();
        for offset in (0..=14).step_by(limit) {
            let query = format!("limit={limit}&offset={offset}");
            let reply = acme.get("getRecordings", &query).await.success();
            let page = texts(&reply, "recordID");
            let total =
                format!("<totalElements>14</totalElements><empty>{}</empty>", page.is_empty());
            assert!(reply.body.contains(&total), "{query}: {}", reply.body);
            assert_eq!(reply.key() == "noRecordings", page.is_empty());
            pages.extend(page);
        }
        assert_eq!(pages, whole, "{limit}");
    }
}

#[tokio::test]
async fn a_node_that_fails_is_left_out_and_the_others_answer() {
    let pool = pool(4).await;
    let acme = pool.tenant("acme");
    let own: Vec<_> = pool.nodes().iter().map(|node| node.add_recordings("room@acme", 2)).collect();
    let all = sorted(&own.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert_eq!(ids(&acme, "").await, all);
    let faults = [Fault::EndlessBody, Fault::BadXml, Fault::Html, Fault::Status(503), Fault::Reset];
    for (times, fault) in (1..).zip(faults) {
        pool.node(1).set_call_fault("getRecordings", Some(fault));
        assert_eq!(ids(&acme, "").await, sorted(&[&own[0], &own[2], &own[3]]), "{fault:?}");
        // What may be there is not said to be missing; what is elsewhere can be changed.
        let reply = acme.get("deleteRecordings", &format!("recordID={}", own[1][0])).await;
        assert_eq!(reply.key(), "serverUnavailable", "{fault:?}");
        let query = format!("recordID={}&meta_round={times}", own[0][0]);
        acme.get("updateRecordings", &query).await.success();
        let failures = 3 * times;
        let left_out = || pool.log().matches("node node1: left out of getRecordings").count();
        eventually("the log is written", async || left_out() >= failures).await;
        assert_eq!(left_out(), failures, "once each");
        let metrics = pool.metrics().await;
        let counted = metrics.sum("portico_node_failures_total", &["call=\"getRecordings\""]);
        assert_eq!(format!("{counted}"), failures.to_string());
        pool.node(1).set_call_fault("getRecordings", None);
        assert_eq!(ids(&acme, "").await, all);
    }
    for node in pool.nodes() {
        node.set_call_fault("getRecordings", Some(Fault::Status(500)));
    }
    assert_eq!(acme.get("getRecordings", "").await.key(), "serverUnavailable");
}

#[tokio::test]
async fn a_node_that_is_down_is_not_asked() {
    let config = Config::new().nodes(2).set("polling.interval", "100ms");
    let pool = Pool::start(config.tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let own: Vec<_> = pool.nodes().iter().map(|node| node.add_recordings("room@acme", 1)).collect();
    pool.node(0).set_fault(Some(Fault::Refuse));
    eventually("the node is down", async || {
        let down = "portico_node_health{cluster=\"main\",health=\"down\",node=\"node0\"}";
        pool.metrics().await.get(down) > 0.5
    })
    .await;
    assert_eq!(ids(&acme, "").await, own[1]);
    let publish = |id: &str| format!("recordID={id}&publish=false");
    let away = acme.get("publishRecordings", &publish(&own[0][0])).await;
    let unknown = acme.get("publishRecordings", &publish("unknown-1")).await;
    assert_eq!(away.key(), "serverUnavailable");
    assert_eq!(away.seen(), unknown.seen());
    acme.get("publishRecordings", &publish(&own[1][0])).await.success();
    let failures = pool.metrics().await.sum("portico_node_failures_total", &["getRecordings"]);
    assert!(failures < 0.5, "{failures}");
}

#[tokio::test]
async fn a_node_that_hangs_costs_its_callers_ten_seconds_and_nobody_else_anything() {
    let pool = pool(3).await;
    let acme = pool.tenant("acme");
    let own: Vec<_> = pool.nodes().iter().map(|node| node.add_recordings("room@acme", 1)).collect();
    pool.node(2).set_call_fault("getRecordings", Some(Fault::Hang));
    let begun = Instant::now();
    let listing = ids(&acme, "");
    let creating = async {
        for number in 0..20 {
            acme.create(&format!("room-{number}")).await;
        }
        begun.elapsed()
    };
    let (listed, created_within) = tokio::join!(listing, creating);
    assert_eq!(listed, sorted(&[&own[0], &own[1]]));
    assert!(created_within < Duration::from_secs(9), "{created_within:?}");
    let took = begun.elapsed();
    assert!((9..20).contains(&took.as_secs()), "{took:?}");
    // A slow list says nothing against new meetings there.
    assert!(!pool.node(2).meetings().is_empty(), "it got its share of the meetings");
}

#[tokio::test]
async fn changes_go_to_the_nodes_that_have_the_recordings() {
    let pool = pool(3).await;
    let (acme, five) = (pool.tenant("acme"), pool.tenant("acme-5"));
    let own: Vec<_> = pool.nodes().iter().map(|node| node.add_recordings("room@acme", 2)).collect();
    let of_five = pool.node(1).add_recordings("room@acme-5", 1);
    let likewise = pool.node(0).add_recordings("like@acme", 1);
    for (call, more) in CHANGES {
        let nodes = at(pool.node(0)).get(call, &format!("recordID={}{more}", likewise[0])).await;
        // On two nodes, with one that nobody has.
        let query = format!("recordID={},{},unknown-1{more}", own[0][0], own[2][0]);
        assert_same(&acme.get(call, &query).await, &nodes);
        assert_eq!(pool.node(1).calls(call), 0, "{call} has nothing to do with it");
        let seen = pool.node(2).requests();
        let seen = seen.iter().rfind(|seen| seen.path.ends_with(call)).expect("a request");
        assert!(
            seen.query.starts_with(&format!("recordID={}{more}&", own[2][0])),
            "{}",
            seen.query
        );
        if call == "updateRecordings" {
            let form = format!("recordID={}{more}", own[2][0]);
            assert_same(&acme.post_form(call, &form).await, &nodes);
            let reply = acme.get("getRecordings", "meta_tag=x").await;
            let tagged = sorted(&[&own[0][..1], &own[2][..1], &likewise]);
            assert_eq!(ids(&acme, "meta_tag=x").await, tagged, "{}", reply.body);
        }
        let unpublished = ids(&acme, "state=unpublished").await;
        assert_eq!(unpublished.len(), if more == "&publish=false" { 3 } else { 0 }, "{call}");
    }
    assert_eq!(ids(&acme, "").await, sorted(&[&own[0][1..], &own[1], &own[2][1..], &of_five]));
    // A deleted one is unknown to whoever would change it. The main secret changes what it sees.
    let reply = acme.get("deleteRecordings", &format!("recordID={}", own[0][0])).await;
    assert_failed(&reply, UNKNOWN.0, UNKNOWN.1);
    let query = format!("recordID={}&publish=false", of_five[0]);
    assert_eq!(acme.get("publishRecordings", &query).await.success().text("published"), "false");
    assert_eq!(ids(&five, "state=unpublished").await, of_five);
}

#[tokio::test]
async fn what_is_another_tenants_is_as_unknown_as_what_is_not_there() {
    let pool = pool(2).await;
    let (other, five) = (pool.tenant("other"), pool.tenant("acme-5"));
    let own = pool.node(0).add_recordings("room@acme", 2);
    let of_other = pool.node(1).add_recordings("room@other", 1);
    for client in [&other, &five] {
        for id in [own[0].as_str(), "unknown-1", beginning(&own[0]), "room@acme"] {
            for (call, more) in CHANGES {
                let reply = client.get(call, &format!("recordID={id}{more}")).await;
                assert_failed(&reply, UNKNOWN.0, UNKNOWN.1);
            }
        }
    }
    for (call, more) in CHANGES {
        // Of a mixture one's own alone.
        let query = format!("recordID={},{},{}{more}", own[0], of_other[0], own[1]);
        other.get(call, &query).await.success();
        assert_eq!(pool.node(0).calls(call), 0, "its node was not told");
        for query in [more.trim_start_matches('&').to_owned(), format!("recordID=+{more}")] {
            let reply = other.get(call, &query).await;
            assert_failed(&reply, "missingParamRecordID", "You must specify a recordID.");
        }
    }
    for query in ["recordID=x", "recordID=x&publish="] {
        let reply = other.get("publishRecordings", query).await;
        let message = "You must specify a publish value true or false.";
        assert_failed(&reply, "missingParamPublish", message);
    }
    assert_eq!(ids(&pool.tenant("acme"), "").await, sorted(&[&own]));
}

/// A form with this file in it.
async fn upload(client: &Client, query: &str, file: Option<&str>) -> Reply {
    let part = |headers: &str, content: &str| {
        format!("--x\r\nContent-Disposition: form-data; {headers}\r\n\r\n{content}\r\n")
    };
    let mut body = part("name=\"note\"", "hello");
    if let Some(file) = file {
        body.push_str(&part("name=\"file\"; filename=\"a.vtt\"", file));
    }
    body.push_str("--x--\r\n");
    let target = client.target("putRecordingTextTrack", query);
    let kind = ("content-type", "multipart/form-data; boundary=x");
    client.send(http::Method::POST, &target, &[kind], body).await
}

#[tokio::test]
async fn text_tracks_are_added_and_listed_where_their_recording_is() {
    let pool = pool(3).await;
    let acme = pool.tenant("acme");
    let own: Vec<_> = pool.nodes().iter().map(|node| node.add_recordings("room@acme", 1)).collect();
    let (id, node) = (&own[2][0], at(pool.node(2)));
    let list = async |client: &Client| {
        client.get("getRecordingTextTracks", &format!("recordID={id}")).await
    };
    assert_same(&list(&acme).await, &list(&node).await);
    let large = "WEBVTT\n\n".repeat(400_000);
    for (lang, content) in [("de", "WEBVTT\n"), ("en-US", large.as_str())] {
        let query = format!("recordID={id}&kind=subtitles&lang={lang}&label=A+%26+B");
        let ours = upload(&acme, &query, Some(content)).await;
        assert_same(&ours, &upload(&node, &query, Some(content)).await);
        assert!(ours.body.contains("upload_text_track_success"), "{}", ours.body);
    }
    assert_eq!(pool.node(2).text_track_bytes(id), [7, large.len()]);
    let tracks = |reply: &Reply| {
        let mut json: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
        let tracks = json["response"]["tracks"].as_array_mut().expect("a list");
        // Its token is another one each time.
        for track in tracks {
            assert!(track["href"].take().is_string());
        }
        json
    };
    let (ours, nodes) = (list(&acme).await, list(&node).await);
    assert_eq!(tracks(&ours), tracks(&nodes));
    assert_eq!(ours.header("content-type"), nodes.header("content-type"));
    assert_eq!(pool.node(0).calls("getRecordingTextTracks"), 0);
}

#[tokio::test]
async fn mistakes_with_text_tracks_are_told_as_the_node_tells_them() {
    let pool = pool(2).await;
    let (acme, other) = (pool.tenant("acme"), pool.tenant("other"));
    let own = pool.node(0).add_recordings("room@acme", 1);
    let (id, node) = (&own[0], at(pool.node(0)));
    let fine = format!("recordID={id}&kind=captions&lang=de");
    for (query, file) in [
        ("kind=captions&lang=de".to_owned(), Some("x")),
        (format!("recordID={id}&lang=de"), Some("x")),
        (format!("recordID={id}&kind=captions&lang="), Some("x")),
        (format!("recordID={id}&kind=songs&lang=de"), Some("x")),
        (format!("recordID={id}&kind=captions&lang=no_language"), Some("x")),
        ("recordID=unknown-1&kind=captions&lang=de".to_owned(), Some("x")),
        (fine.clone(), None),
        (fine.clone(), Some("")),
    ] {
        let ours = upload(&acme, &query, file).await;
        assert_same(&ours, &upload(&node, &query, file).await);
        assert!(ours.body.contains("FAILED"), "{}", ours.body);
    }
    // Without any body, too; and another's recording is an unknown one.
    let target = |client: &Client| client.target("putRecordingTextTrack", &fine);
    let bare = acme.send(http::Method::POST, &target(&acme), &[], "").await;
    assert_same(&bare, &node.send(http::Method::POST, &target(&node), &[], "").await);
    let unknown = upload(&other, "recordID=unknown-1&kind=captions&lang=de", Some("x")).await;
    let foreign = upload(&other, &fine, Some("x")).await;
    assert_eq!(foreign.body, unknown.body.replace("unknown-1", id));
    let query = format!("recordID={id}");
    let foreign = other.get("getRecordingTextTracks", &query).await;
    let unknown = node.get("getRecordingTextTracks", "recordID=unknown-1").await;
    assert_eq!(foreign.body, unknown.body.replace("unknown-1", id));
    assert_eq!(foreign.header("content-type"), unknown.header("content-type"));
    // These two come in XML.
    let missing = acme.get("getRecordingTextTracks", "").await;
    assert_same(&missing, &node.get("getRecordingTextTracks", "").await);
    let wrong = failed("checksumError", "You did not pass the checksum security check");
    let reply = acme.secret("wrong wrong wrong").get("getRecordingTextTracks", &query).await;
    assert_eq!(reply.seen(), (200, wrong.as_str()));
    let reply = upload(&acme.secret("wrong wrong wrong"), &fine, Some("x")).await;
    assert_eq!(reply.seen(), (200, wrong.as_str()));
    assert!(pool.node(0).text_track_bytes(id).is_empty());
}

/// It is the client that decides for how long, so it must not be forgotten before.
#[tokio::test]
async fn the_memory_of_an_answer_counts_until_the_client_has_read_it() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let pool = pool(2).await;
    let acme = pool.tenant("acme");
    for node in pool.nodes() {
        node.add_recordings("room@acme", 3_000);
    }
    let gathered = async || pool.metrics().await.get("portico_gathered_bytes");
    assert!(gathered().await < 0.5);
    // Of the many only a page is kept.
    acme.get("getRecordings", "limit=1").await.success();
    // With buffers that do not take it all.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a size");
    let mut stream = socket.connect(pool.address()).await.expect("somebody listens");
    let target = acme.target("getRecordings", "");
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is open");
    let mut head = [0; 64];
    stream.read_exact(&mut head).await.expect("an answer");
    assert!(head.starts_with(b"HTTP/1.1 200 "), "it is being written");
    let bytes = gathered().await;
    assert!(bytes > 5_000_000.0, "{bytes}");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("all of it");
    assert!(rest.ends_with(b"</recordings></response>"));
    eventually("it is given back", async || gathered().await < 0.5).await;
    // By a client that goes away, too.
    let mut raw = pool.raw().await;
    raw.send(request.as_bytes()).await;
    drop(raw);
    let calls = || pool.node_calls("getRecordings");
    eventually("the nodes were asked", async || calls() >= 6).await;
    eventually("it is given back", async || gathered().await < 0.5).await;
}
