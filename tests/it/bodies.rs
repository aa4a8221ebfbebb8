//! What comes in a body: slides, and parameters that are too long for a URL.

use std::fmt::Write as _;
use std::time::Duration;

use http::Method;
use portico::bbb::jwt;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::callbacks;
use crate::harness::{Config, Front, Pool, Raw, Tenant, eventually, failed};

const QUERY: &str = "name=Algebra&meetingID=room";

/// So many documents, with so many bytes of base64 each, and their names.
fn slides(count: usize, bytes: usize) -> (String, Vec<String>) {
    let names: Vec<_> = (0..count).map(|number| format!("slide {number:04}.pdf")).collect();
    let content = "QUJD".repeat(bytes / 4);
    let mut body = String::from("<modules><module name=\"presentation\">");
    for name in &names {
        write!(body, "<document name=\"{name}\">{content}</document>").expect("text");
    }
    body.push_str("</module></modules>");
    (body, names)
}

/// The one create that the node has seen, with its body.
fn seen(pool: &Pool) -> portico::sim::Seen {
    let mut creates = pool.nodes().iter().flat_map(portico::sim::Node::requests);
    creates.find(|seen| seen.path.ends_with("/create")).expect("a create")
}

#[tokio::test]
async fn small_slides_reach_the_node_as_they_are() {
    let pool = Pool::start(Config::new().nodes(3).tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let body = "<modules><module name=\"presentation\"><document url=\"https://x.test/y.pdf\" \
                filename=\"report.pdf\"/></module></modules>";
    let reply = acme.post_xml("create", QUERY, body).await.success();
    assert_eq!(reply.text("meetingID"), "room");
    let node = pool.node_of("room@acme");
    assert_eq!(node.meetings()[0].documents, ["report.pdf"]);
    let create = seen(&pool);
    assert_eq!((create.method, create.body_len), (Method::POST, body.len()));
    assert_eq!(create.headers["content-type"], "application/xml");
    assert_eq!(create.headers["content-length"], body.len().to_string().as_str());
    // Behind it stands a hook of ours.
    assert!(create.query.starts_with("name=Algebra&meetingID=room%40acme&meetingEndedURL="));
}

#[tokio::test]
async fn five_megabytes_of_slides_arrive_whole() {
    let pool = Pool::start(Config::new().nodes(3).tenant(Tenant::new("acme"))).await;
    let (body, names) = slides(500, 10_480);
    assert!(body.len() > 5_000_000);
    let length = body.len();
    pool.tenant("acme").post_xml("create", QUERY, body).await.success();
    assert_eq!(pool.node_of("room@acme").meetings()[0].documents, names);
    assert_eq!(seen(&pool).body_len, length);
    assert_eq!(pool.node_calls("create"), 1);
}

#[tokio::test]
async fn slides_in_chunks_of_unknown_number_arrive_whole() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let (body, names) = slides(100, 10_000);
    let mut raw = pool.raw().await;
    raw.send(format!(
        "POST {} HTTP/1.1\r\nHost: portico\r\nContent-Type: application/xml\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        acme.target("create", QUERY)
    ))
    .await;
    for chunk in body.as_bytes().chunks(7_777) {
        raw.send(format!("{:x}\r\n", chunk.len())).await;
        raw.send(chunk).await;
        raw.send("\r\n").await;
    }
    raw.send("0\r\n\r\n").await;
    let reply = raw.reply().await.expect("an answer");
    assert!(reply.is_success(), "{reply:?}");
    assert_eq!(pool.node(0).meetings()[0].documents, names);
    assert_eq!(seen(&pool).body_len, body.len());

    // The connection goes on.
    raw.send(format!("GET {} HTTP/1.1\r\nHost: portico\r\n\r\n", acme.target("getMeetings", "")))
        .await;
    assert!(raw.reply().await.expect("an answer").is_success());
}

#[tokio::test]
async fn parameters_too_long_for_a_url_reach_the_node_as_a_form() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let welcome = "Good+morning%21".repeat(600);
    let form = format!("{QUERY}&meta_long={welcome}&meta_last=1");
    let signed = "Good morning!".repeat(600);
    let hook = format!("http://{}/b3lb/c/{}", pool.address(), "0".repeat(48));
    let hook: String = form_urlencoded::byte_serialize(hook.as_bytes()).collect();
    let hook = format!("&meetingEndedURL={hook}");
    for (by, reply) in [
        ("form", acme.post_form("create", &form).await),
        ("query", acme.get("create", &form).await),
    ] {
        let reply = reply.success();
        assert_eq!(reply.text("meetingID"), "room", "{by}");
        let creates: Vec<_> = pool.node(0).requests();
        let create = creates.iter().rfind(|seen| seen.path.ends_with("/create")).expect("one");
        assert_eq!(create.method, Method::POST, "{by}");
        assert!(
            create.query.starts_with("checksum="),
            "nothing else in the query: {}",
            create.query
        );
        assert_eq!(create.headers["content-type"], "application/x-www-form-urlencoded");
        assert_eq!(create.body_len, form.len() + "%40acme".len() + hook.len(), "{by}");
    }
    let metadata = &pool.node(0).meetings()[0].metadata;
    assert_eq!(*metadata, [("long".to_owned(), signed), ("last".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_the_connection_stays_healthy() {
    let config = Config::new().set("limits.max_body", "64KiB").tenant(Tenant::new("acme"));
    let pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    let too_large = |max| {
        let message =
            format!("The request body is larger than the {max} that this server accepts.");
        failed("requestTooLarge", &message)
    };
    let mut raw = pool.raw().await;
    for (kind, body) in [
        ("application/xml", slides(10, 10_000).0),
        ("application/x-www-form-urlencoded", format!("{QUERY}&welcome={}", "x".repeat(100_000))),
    ] {
        raw.send(format!(
            "POST {} HTTP/1.1\r\nHost: portico\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            acme.target("create", QUERY),
            body.len()
        ))
        .await;
        let reply = raw.reply().await.expect("an answer");
        assert_eq!(reply.seen(), (200, too_large("64.0 KiB").as_str()));
    }
    raw.send(format!("GET {} HTTP/1.1\r\nHost: portico\r\n\r\n", acme.target("create", QUERY)))
        .await;
    assert!(raw.reply().await.expect("an answer").is_success());
    assert_eq!(pool.node_calls("create"), 1);
}

/// Raw quotes and angles are fine in a form, and no HTTP library takes them in a URI.
#[tokio::test]
async fn a_form_that_becomes_a_query_may_hold_any_characters() {
    let pool = Pool::start(Config::new().nodes(3).tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let form = "name=First&meetingID=room&meta_note=\"hi\"<b>`{|}^\\ \u{fc}";
    acme.post_form("create", form).await.success();
    let info = acme.get("getMeetingInfo", "meetingID=room").await.success();
    let xml = info.xml();
    let note = xml.child("metadata").and_then(|all| all.child_text("note").map(Into::into));
    assert_eq!(note, Some(String::from("\"hi\"<b>`{|}^\\ \u{fc}")));
    // It is nobody's fault, so no node is kept from new meetings.
    for number in 0..3 {
        acme.create(&format!("room-{number}")).await.success();
    }
}

#[tokio::test]
async fn slides_that_are_not_xml_are_their_senders_fault_and_no_nodes() {
    let pool = Pool::start(Config::new().nodes(3).tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let not_read = failed("validationError", "Request not recognized");
    for broken in ["<modules", "<modules><module></modules>", "modules", " ", "<a/><b/>"] {
        let reply = acme.post_xml("create", QUERY, broken).await;
        assert_eq!(reply.seen(), (200, not_read.as_str()), "{broken}");
    }
    assert_eq!(pool.node_calls("create"), 0, "no node need be asked");

    // Of a meeting that runs the documents do not matter.
    acme.create("room").await;
    let again = acme.get("create", QUERY).await.success();
    assert_eq!(again.key(), "duplicateWarning");
    for broken in ["<modules", "modules"] {
        let reply = acme.post_xml("insertDocument", "meetingID=room", broken).await;
        assert_eq!(reply.seen(), (200, not_read.as_str()), "{broken}");
    }
    assert_eq!(pool.node_calls("insertDocument"), 0);

    let metrics = pool.admin("/metrics").await.body;
    assert!(!metrics.contains("portico_node_failures_total{"), "{metrics}");
    assert!(!pool.log().contains("WARN"), "{}", pool.log());
}

/// Too long to be looked at: whether it is the body or the node nobody knows, and it cannot be sent again.
#[tokio::test]
async fn a_node_that_fails_with_slides_that_are_streamed_is_not_the_front_ends_fault() {
    let pool = Pool::start(Config::new().nodes(2).tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    for call in ["create", "insertDocument"] {
        pool.node(0).set_call_fault(call, Some(portico::sim::Fault::Status(500)));
        pool.node(1).set_call_fault(call, Some(portico::sim::Fault::Status(500)));
    }
    let (long, _) = slides(100, 10_000);
    for (call, query) in
        [("create", "name=Algebra&meetingID=long"), ("insertDocument", "meetingID=room")]
    {
        let before = pool.node_calls(call);
        let reply = acme.post_xml(call, query, long.clone()).await;
        assert_eq!(reply.key(), "internalError", "{call}: {}", reply.body);
        assert_eq!(pool.node_calls(call), before + 1, "{call}");
        let counted = format!("portico_node_failures_total{{call=\"{call}\",kind=\"status\"}} 1");
        let metrics = pool.admin("/metrics").await.body;
        assert!(metrics.contains(&counted), "{metrics}");
    }
}

#[tokio::test]
async fn a_node_that_fails_with_slides_that_are_well_is_left_for_the_next() {
    let pool = Pool::start(Config::new().nodes(2).tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    pool.node(0).set_call_fault("create", Some(portico::sim::Fault::Status(500)));
    let declared = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", slides(1, 100).0);
    for number in 0..4 {
        let query = format!("name=Algebra&meetingID=room{number}");
        acme.post_xml("create", &query, declared.clone()).await.success();
    }
    assert_eq!(pool.node(1).meetings().len(), 4);
    // Another encoding is the node's to read.
    let latin = b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><modules a=\"\xfc\"/>".as_slice();
    acme.post_xml("insertDocument", "meetingID=room0", latin).await;
    assert_eq!(pool.node_calls("insertDocument"), 1);
}

#[tokio::test]
async fn whoever_dribbles_into_one_callback_does_not_hold_up_another() {
    let (pool, front) = (Pool::start(callbacks::config()).await, Front::start(&[]).await);
    let acme = pool.tenant("acme");
    let created = async |id: &str| {
        let url = front.encoded("/ready");
        let query = format!("name=A+room&meetingID={id}&meta_bbb-recording-ready-url={url}");
        let created = acme.get("create", &query).await.success();
        let url = callbacks::sent_to_node(&pool, "meta_bbb-recording-ready-url").expect("ours");
        (callbacks::target(&url), created.text("internalMeetingID"))
    };
    let (theirs, _) = created("theirs").await;
    let (ours, record_id) = created("ours").await;
    let head = format!("POST {theirs} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n");
    let mut dribbling = Vec::new();
    for _ in 0..24 {
        let mut raw = Raw::connect(pool.address()).await;
        raw.send(format!("{head}Expect: 100-continue\r\n\r\n")).await;
        let mut invited = [0; 12];
        let reading = raw.stream.read_exact(&mut invited);
        timeout(Duration::from_secs(10), reading).await.expect("it is read at once").expect("open");
        assert_eq!(&invited, b"HTTP/1.1 100");
        raw.send("x=").await;
        dribbling.push(raw);
    }
    // It is announced as soon as its node lists it.
    pool.node(0).publish_recording("ours@acme");
    let claims = json!({"meeting_id": "ours@acme", "record_id": record_id});
    let form = format!("signed_parameters={}", jwt::hs256(&claims, pool.node(0).secret()));
    let sent = acme.send(Method::POST, &ours, &[], form);
    let reply = timeout(Duration::from_secs(10), sent).await.expect("it need not wait");
    assert_eq!(reply.status, 200);
    eventually("it is announced", async || front.heard("/ready").len() == 1).await;
}
