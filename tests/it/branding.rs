//! Each tenant's logo, slides and style sheet: served, and set on what its meetings are made of.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use portico::bbb::{Element, Params};
use portico::sim::Seen;

use crate::harness::{Client, Config, Pool, Reply, Tenant, eventually, portico};

const LOGO: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
const SLIDE: &str = "%PDF-1.7 the first slide";
const CSS: &str = "body { color: #123 }";
const OWN: &str = "<modules><module name=\"presentation\"><document url=\"https://x.test/own.pdf\" \
    filename=\"own.pdf\"/></module><module name=\"clientSettingsOverride\"><![CDATA[{}]]></module></modules>";

/// Two tenants with a look each, the second from elsewhere, and one without.
fn config() -> Config {
    let config = Config::new().set("server.public_url", "https://bbb.example.org/");
    config.file("acme.svg", LOGO);
    config.file("A & \"B\".pdf", SLIDE);
    config.file("acme.css", CSS);
    config.file("other.svg", "<svg/>");
    let acme = "{ logo: acme.svg, slide: 'A & \"B\".pdf', css: acme.css }";
    let other = "{ logo: other.svg, slide: 'https://cdn.test/s/x.pdf?a=1&b', css: 'https://cdn.test/x.css' }";
    config
        .tenant(Tenant::new("acme").set("branding", acme))
        .tenant(Tenant::new("other").set("branding", other))
        .tenant(Tenant::new("plain"))
}

async fn asset(client: &Client, what: &str, headers: &[(&str, &str)]) -> Reply {
    client.send(Method::GET, &format!("/b3lb/t/{what}"), headers, "").await
}

/// The last create that a node has seen.
fn seen(pool: &Pool) -> Seen {
    let mut requests = pool.node(0).requests().into_iter();
    requests.rfind(|seen| seen.path.ends_with("/create")).expect("a create")
}

fn param(query: &str, name: &str) -> Option<String> {
    Params::parse(query.as_bytes()).get(name).map(std::borrow::Cow::into_owned)
}

/// The one document of a body.
fn document(seen: &Seen) -> Element {
    let body = Element::parse(&seen.body_start).expect("XML");
    assert_eq!(seen.headers["content-type"], "application/xml");
    assert_eq!(seen.headers["content-length"], seen.body_len.to_string().as_str());
    let mut modules = body.children_named("module");
    let is_presentation = |m: &&Element| m.attribute("name") == Some("presentation");
    let presentation = modules.find(is_presentation).expect("a presentation");
    assert_eq!(presentation.elements().count(), 1);
    presentation.child("document").expect("a document").clone()
}

#[tokio::test]
async fn every_tenant_is_served_its_own_look() {
    let pool = Pool::start(config()).await;
    let any = pool.tenant("plain");
    for (what, kind, content) in [
        ("acme/logo", "image/svg+xml", LOGO),
        ("acme/slide", "application/pdf", SLIDE),
        ("acme/css", "text/css;charset=utf-8", CSS),
        ("acme/css.css", "text/css;charset=utf-8", CSS),
        ("other/logo", "image/svg+xml", "<svg/>"),
    ] {
        let reply = asset(&any, what, &[]).await;
        assert_eq!(reply.seen(), (200, content), "{what}");
        assert_eq!(reply.header("content-type"), kind);
        assert_eq!(reply.header("content-length"), content.len().to_string());
        assert_eq!(reply.header("cache-control"), "public, max-age=300");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        let is_sandboxed = reply.header("content-security-policy").contains("sandbox");
        assert_eq!(is_sandboxed, kind == "image/svg+xml");
        let head = any.send(Method::HEAD, &format!("/b3lb/t/{what}"), &[], "").await;
        assert_eq!(head.seen(), (200, ""));
        for name in ["content-length", "content-type", "etag"] {
            assert_eq!(head.header(name), reply.header(name), "{name}");
        }
    }
    let unknown = asset(&any, "nobody/logo", &[]).await;
    assert_eq!(unknown.status, 404);
    for absent in ["plain/logo", "other/css", "acme-5/logo", "acme/image", "acme/", "acme"] {
        let reply = asset(&any, absent, &[]).await;
        assert_eq!(reply.seen(), unknown.seen(), "{absent}");
    }
    for slug in ["acme", "nobody"] {
        let post = any.send(Method::POST, &format!("/b3lb/t/{slug}/logo"), &[], "").await;
        assert_eq!((post.status.as_u16(), post.header("allow")), (405, "GET, HEAD"));
    }
}

#[tokio::test]
async fn what_a_browser_has_is_not_sent_again() {
    let pool = Pool::start(config()).await;
    let any = pool.tenant("plain");
    let etag = asset(&any, "acme/css", &[]).await.header("etag").to_owned();
    assert!(etag.len() > 30 && etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    for tags in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let both = [("if-none-match", tags.as_str()), ("range", "bytes=0-1")];
        let reply = asset(&any, "acme/css", &both).await;
        assert_eq!(reply.seen(), (304, ""), "{tags}");
        assert_eq!((reply.header("etag"), reply.header("content-length")), (etag.as_str(), ""));
    }
    assert_eq!(asset(&any, "acme/logo", &[("if-none-match", &etag)]).await.status, 200);
}

#[tokio::test]
async fn a_part_is_served_to_whoever_asks_for_one() {
    let pool = Pool::start(config()).await;
    let any = pool.tenant("plain");
    let etag = asset(&any, "acme/slide", &[]).await.header("etag").to_owned();
    let last = SLIDE.len() - 1;
    for (range, status, body, shown) in [
        ("bytes=0-3", 206, "%PDF", format!("bytes 0-3/{}", SLIDE.len())),
        ("bytes=-5", 206, "slide", format!("bytes {}-{last}/{}", last - 4, SLIDE.len())),
        ("bytes=99999-", 416, "", format!("bytes */{}", SLIDE.len())),
        ("bytes=0-1,3-4", 200, SLIDE, String::new()),
        ("nonsense", 200, SLIDE, String::new()),
    ] {
        let reply = asset(&any, "acme/slide", &[("range", range)]).await;
        assert_eq!(reply.seen(), (status, body), "{range}");
        assert_eq!(reply.header("content-range"), shown);
        assert_eq!(reply.header("content-length"), body.len().to_string());
    }
    let part =
        |tag: &str| [("range", "bytes=0-3"), ("if-range", tag)].map(|(n, v)| (n, v.to_owned()));
    for (tag, status) in [(etag.as_str(), 206), ("\"another\"", 200)] {
        let headers = part(tag);
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(asset(&any, "acme/slide", &headers).await.status, status);
    }
}

#[tokio::test]
async fn a_create_brings_logo_and_slides() {
    let pool = Pool::start(config()).await;
    pool.tenant("acme").create("room").await;
    let create = seen(&pool);
    assert_eq!(create.method, Method::POST);
    assert_eq!(
        param(&create.query, "logo").as_deref(),
        Some("https://bbb.example.org/b3lb/t/acme/logo")
    );
    let slide = document(&create);
    assert_eq!(slide.attribute("name"), Some("A & \"B\".pdf"));
    assert_eq!(STANDARD.decode(slide.text().as_bytes()).expect("base64"), SLIDE.as_bytes());
    assert_eq!(pool.node(0).meetings()[0].documents, ["A & \"B\".pdf"]);

    // Front ends create a running meeting again before every join: its slides are there.
    let again = pool.tenant("acme").create("room").await;
    assert_eq!(again.key(), "duplicateWarning");
    assert_eq!((seen(&pool).method, seen(&pool).body_len), (Method::GET, 0));

    let form = "name=Algebra&meetingID=form&welcome=Hi";
    pool.tenant("acme").post_form("create", form).await.success();
    assert_eq!(document(&seen(&pool)).attribute("name"), Some("A & \"B\".pdf"));
    assert_eq!(param(&seen(&pool).query, "welcome").as_deref(), Some("Hi"));

    pool.tenant("other").create("room").await;
    let slide = document(&seen(&pool));
    assert_eq!(slide.attribute("url"), Some("https://cdn.test/s/x.pdf?a=1&b"));
    assert_eq!(slide.attribute("filename"), Some("x.pdf"));
    assert_eq!(
        param(&seen(&pool).query, "logo").as_deref(),
        Some("https://bbb.example.org/b3lb/t/other/logo")
    );

    pool.tenant("plain").create("room").await;
    let create = seen(&pool);
    assert_eq!((create.method, param(&create.query, "logo")), (Method::GET, None));
}

#[tokio::test]
async fn what_the_front_end_or_a_rule_sets_goes_first() {
    let config = config();
    config.file("b.svg", LOGO);
    let rules = "{ create: [{ name: logo, mode: set, value: 'https://rule.test/' }], \
        join: [{ name: userdata-bbb_custom_style_url, mode: set, value: 'https://rule.test/css' }] }";
    let tenant = Tenant::new("ruled").set("branding", "{ logo: b.svg, css: acme.css }");
    let pool = Pool::start(config.tenant(tenant.set("params", rules))).await;
    let acme = pool.tenant("acme");

    acme.get("create", "name=Own&meetingID=own&logo=https%3A%2F%2Fown.test%2F").await.success();
    assert_eq!(param(&seen(&pool).query, "logo").as_deref(), Some("https://own.test/"));
    pool.tenant("ruled").create("room").await;
    assert_eq!(param(&seen(&pool).query, "logo").as_deref(), Some("https://rule.test/"));

    acme.post_xml("create", "name=Own&meetingID=slides", OWN).await.success();
    let create = seen(&pool);
    assert_eq!(create.body_start, OWN.as_bytes());
    assert!(param(&create.query, "logo").is_some());
    let by_parameter =
        "name=Own&meetingID=parameter&preUploadedPresentation=https%3A%2F%2Fx.test%2Fp.pdf";
    acme.get("create", by_parameter).await.success();
    assert_eq!((seen(&pool).method, seen(&pool).body_len), (Method::GET, 0));
    let too_long = format!("name=Long&meetingID=long&welcome={}", "x".repeat(7000));
    acme.get("create", &too_long).await.success();
    assert_eq!(seen(&pool).headers["content-type"], "application/x-www-form-urlencoded");

    let style = async |client: &Client, query: &str| {
        let reply = client.get("join", query).await;
        assert_eq!(reply.status, 302, "{}", reply.body);
        let location = reply.header("location").to_owned();
        param(location.split_once('?').expect("a query").1, "userdata-bbb_custom_style_url")
    };
    let join = "fullName=Ada&meetingID=own&role=VIEWER";
    let ours = "https://bbb.example.org/b3lb/t/acme/css";
    assert_eq!(style(&acme, join).await.as_deref(), Some(ours));
    let own = format!("{join}&userdata-bbb_custom_style_url=https%3A%2F%2Fown.test%2Fcss");
    assert_eq!(style(&acme, &own).await.as_deref(), Some("https://own.test/css"));
    let room = "fullName=Ada&meetingID=room&role=VIEWER";
    assert_eq!(style(&pool.tenant("ruled"), room).await.as_deref(), Some("https://rule.test/css"));
    pool.tenant("other").create("room").await;
    assert_eq!(style(&pool.tenant("other"), room).await.as_deref(), Some("https://cdn.test/x.css"));
    pool.tenant("plain").create("room").await;
    assert_eq!(style(&pool.tenant("plain"), room).await, None);
}

#[tokio::test]
async fn forced_slides_take_the_place_of_a_front_ends() {
    let config = Config::new();
    config.file("a.pdf", SLIDE);
    let tenant = Tenant::new("acme").set("branding", "{ slide: a.pdf, force: true }");
    let pool = Pool::start(config.tenant(tenant)).await;
    let acme = pool.tenant("acme");

    acme.post_xml("create", "name=Own&meetingID=small", OWN).await.success();
    let create = seen(&pool);
    assert_eq!(document(&create).attribute("name"), Some("a.pdf"));
    let body = String::from_utf8(create.body_start.to_vec()).expect("text");
    assert!(body.contains("clientSettingsOverride") && !body.contains("own.pdf"), "{body}");

    let large = format!(
        "<modules><module name=\"presentation\"><document name=\"own.pdf\">{}</document></module></modules>",
        "QUJD".repeat(1_000_000)
    );
    let said = "too long to keep what else is in it";
    assert!(!pool.log().contains(said), "what is kept is nothing to warn of");
    acme.post_xml("create", "name=Own&meetingID=large", large).await.success();
    assert_eq!(document(&seen(&pool)).attribute("name"), Some("a.pdf"));
    eventually("a warning is logged", async || pool.log().contains(said)).await;

    let by_parameter =
        "name=Own&meetingID=parameter&preUploadedPresentation=https%3A%2F%2Fx.test%2Fp.pdf";
    acme.get("create", by_parameter).await.success();
    assert_eq!(param(&seen(&pool).query, "preUploadedPresentation"), None);
    for meeting in pool.node(0).meetings() {
        assert_eq!(meeting.documents, ["a.pdf"], "{}", meeting.external_id);
    }
}

#[tokio::test]
async fn large_slides_are_fetched_from_where_the_front_end_reaches_us() {
    let config = Config::new();
    let large = format!("%PDF-{}", "x".repeat(768_000));
    config.file("large.pdf", &large);
    let tenant = Tenant::new("acme").set("branding", "{ slide: large.pdf }");
    let pool = Pool::start(config.tenant(tenant)).await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    let url = format!("http://{}/b3lb/t/acme/slide", pool.address());
    let slide = document(&seen(&pool));
    assert_eq!(
        (slide.attribute("url"), slide.attribute("filename")),
        (Some(&*url), Some("large.pdf"))
    );
    assert_eq!(asset(&acme, "acme/slide", &[]).await.body, large);
    // A proxy on this machine is trusted.
    let proxied = acme.header("x-forwarded-proto", "https").header("x-forwarded-host", "door.test");
    proxied.create("proxied").await;
    let url = "https://door.test/b3lb/t/acme/slide";
    assert_eq!(document(&seen(&pool)).attribute("url"), Some(url));
}

#[tokio::test]
async fn a_changed_file_counts_after_a_hangup_and_a_bad_one_never() {
    let pool = Pool::start(config()).await;
    let any = pool.tenant("plain");
    let hangup = async |said: &str| {
        let times = pool.log().matches(said).count();
        pool.signal("HUP");
        eventually("it is read", async || pool.log().matches(said).count() > times).await;
    };
    let before = asset(&any, "acme/css", &[]).await;
    std::fs::write(pool.dir().join("acme.css"), "body { color: red }").expect("a file");
    assert_eq!(asset(&any, "acme/css", &[]).await.seen(), before.seen());
    hangup("configuration read again").await;
    let after = asset(&any, "acme/css", &[]).await;
    assert_eq!(after.seen(), (200, "body { color: red }"));
    assert_ne!(after.header("etag"), before.header("etag"));

    std::fs::write(pool.dir().join("A & \"B\".pdf"), "no PDF").expect("a file");
    hangup("the configuration stays as it was").await;
    assert_eq!(asset(&any, "acme/slide", &[]).await.seen(), (200, SLIDE));
    pool.says("tenants[0].branding.slide").await;
}

#[tokio::test]
async fn a_file_that_has_vanished_is_served_from_its_copy() {
    let mut pool = Pool::start(config()).await;
    std::fs::remove_file(pool.dir().join("acme.css")).expect("a file");
    pool.restart().await;
    let any = pool.tenant("plain");
    assert_eq!(asset(&any, "acme/css", &[]).await.seen(), (200, CSS));
    pool.says("acme.css is gone").await;
    pool.kill9();
    pool.restart().await;
    assert_eq!(asset(&any, "acme/css", &[]).await.seen(), (200, CSS), "the copy stays");

    // A copy of another file is none.
    let yaml = pool.config_yaml().replace("css: acme.css", "css: mistyped.css");
    pool.rewrite_config(&yaml);
    pool.start_process();
    let status = pool.ended().await;
    assert_eq!(status.code(), Some(2));
    pool.kill9();
    pool.says("mistyped.css does not exist").await;
    let checked = portico(&["check", "-c", &pool.config_path().display().to_string()]).await;
    assert_eq!(checked.code, 2, "{}", checked.stderr);
}
