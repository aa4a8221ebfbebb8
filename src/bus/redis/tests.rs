//! The bus over a real Redis.

use bytes::Bytes;
use prometheus::Registry;
use tokio::time::Instant;

use super::*;
use crate::bus::test_redis::Redis;
use crate::bus::{Appended, Away, Event, Position};
use crate::fleet::now_ms;
use crate::wait::{PATIENCE, eventually};

async fn redis() -> Arc<Redis> {
    tokio::task::spawn_blocking(|| Arc::new(Redis::start_new())).await.unwrap()
}

async fn on(redis: &Arc<Redis>, what: impl FnOnce(&Redis) + Send + 'static) {
    let redis = redis.clone();
    tokio::task::spawn_blocking(move || what(&redis)).await.unwrap();
}

fn settings(name: &str) -> Settings {
    Settings {
        instance: InstanceId::new(name),
        interval: Duration::from_secs(1),
        clock: now_ms,
        metrics: Metrics::register(&Registry::new()).unwrap(),
    }
}

fn bus(redis: &Redis, name: &str) -> Bus {
    open(&Secret::new(redis.url()), settings(name)).unwrap()
}

async fn next(bus: &mut Bus) -> News {
    timeout(PATIENCE, bus.news.recv()).await.expect("news in time").expect("the bus lives")
}

async fn joined(bus: &mut Bus) -> Position {
    match next(bus).await {
        News::Joined(at) => at,
        other => panic!("{other:?}"),
    }
}

/// So many events.
async fn events(bus: &mut Bus, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        match next(bus).await {
            News::Events(more) => events.extend(more),
            other => panic!("{other:?} after {} events", events.len()),
        }
    }
    events
}

/// The last place in the log.
async fn end(redis: &Arc<Redis>) -> Position {
    let redis = redis.clone();
    let asked = tokio::task::spawn_blocking(move || redis.ask("GET portico:1:end")).await;
    // Its length stands before it.
    let end = asked.unwrap().unwrap().lines().nth(1).unwrap().to_owned();
    value::position(::redis::Value::SimpleString(end)).unwrap()
}

fn payload(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_sees_the_same_in_the_same_order() {
    const EACH: usize = 150;
    let redis = redis().await;
    let mut buses = ["a", "b", "c"].map(|name| bus(&redis, name));
    let mut seen = Vec::new();
    for bus in &mut buses {
        seen.push(joined(bus).await);
    }
    let tasks: Vec<_> = buses
        .iter()
        .zip(seen)
        .enumerate()
        .map(|(writer, (bus, mut seen))| {
            let (log, redis) = (bus.log.clone(), redis.clone());
            tokio::spawn(async move {
                // What was told on condition, with what had to be the last before it.
                let mut conditional = Vec::new();
                for number in 0..EACH {
                    let text = format!("{writer}:{number}");
                    if number % 3 == 0 {
                        let two = vec![payload(&text), payload(&format!("{text}+"))];
                        log.append(two).await.expect("Redis is there");
                        continue;
                    }
                    loop {
                        match log.append_if(seen, vec![payload(&text)]).await {
                            Ok(Appended::At(at)) => {
                                conditional.push((text, seen, at));
                                seen = at;
                                break;
                            }
                            Ok(Appended::Behind(events)) => {
                                assert!(events.iter().all(|event| event.at > seen));
                                seen = events.last().expect("some came before").at;
                            }
                            // Too far behind to be shown it.
                            Err(Away) => seen = end(&redis).await,
                        }
                    }
                }
                conditional
            })
        })
        .collect();
    let mut conditional = Vec::new();
    for task in tasks {
        conditional.extend(task.await.unwrap());
    }
    let all = 3 * (EACH + EACH / 3);
    let first = events(&mut buses[0], all).await;
    for bus in &mut buses[1..] {
        assert!(first == events(bus, all).await, "two instances have seen different logs");
    }
    assert_eq!(first.len(), all);
    for writer in 0..3 {
        let own: Vec<_> = first.iter().filter(|event| event.payload[0] == b'0' + writer).collect();
        assert!(own.is_sorted_by_key(|event| event.at));
        assert!(own.iter().all(|event| event.author == own[0].author));
        let numbers: Vec<usize> = own
            .iter()
            .filter_map(|event| std::str::from_utf8(&event.payload[2..]).unwrap().parse().ok())
            .collect();
        assert_eq!(numbers, (0..EACH).collect::<Vec<_>>(), "in the order of the writer, none lost");
    }
    // What was told on condition stands directly behind what its author had seen.
    assert_eq!(conditional.len(), 3 * (EACH - EACH / 3));
    for (text, seen, at) in conditional {
        let place = first.iter().position(|event| event.at == at).unwrap();
        assert_eq!(first[place].payload, text);
        let before = place.checked_sub(1).map_or(Position::default(), |before| first[before].at);
        assert_eq!(before, seen, "{text}");
    }
}

#[tokio::test]
async fn one_who_is_behind_is_shown_what_came_before() {
    let redis = redis().await;
    let mut bus = bus(&redis, "a");
    let seen = joined(&mut bus).await;
    bus.log.append(vec![payload("1"), payload("2")]).await.unwrap();
    let Ok(Appended::Behind(before)) = bus.log.append_if(seen, vec![payload("x")]).await else {
        panic!("it was behind");
    };
    assert_eq!(before, events(&mut bus, 2).await);
    assert!(matches!(
        bus.log.append_if(before[1].at, vec![payload("3")]).await,
        Ok(Appended::At(_))
    ));
    assert_eq!(events(&mut bus, 1).await[0].payload, "3");
    // Too far behind to be shown all of it.
    bus.log.append(vec![payload("more"); 80]).await.unwrap();
    assert_eq!(bus.log.append_if(before[1].at, vec![payload("x")]).await, Err(Away));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_says_nothing_is_gone_until_it_speaks_again() {
    let redis = redis().await;
    let (mut one, mut other) = (bus(&redis, "a"), bus(&redis, "b"));
    joined(&mut one).await;
    joined(&mut other).await;
    eventually("both are seen", async || one.living.borrow().all().len() == 2).await;

    on(&redis, Redis::pause).await;
    let begun = Instant::now();
    assert_eq!(one.log.append(vec![payload("unheard")]).await, Err(Away));
    assert!(begun.elapsed() < WITHIN * 2, "{:?}", begun.elapsed());
    assert_eq!(next(&mut one).await, News::Away);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(one.living.borrow().is_ours("node") && !one.living.borrow().is_in_touch());
    assert_eq!(next(&mut other).await, News::Away);

    on(&redis, Redis::resume).await;
    joined(&mut one).await;
    joined(&mut other).await;
    eventually("both are seen", async || one.living.borrow().all().len() == 2).await;
    one.log.append(vec![payload("heard")]).await.unwrap();
    // What was sent to it while it was silent may come late.
    let heard = async |bus: &mut Bus| loop {
        if events(bus, 1).await.iter().any(|event| event.payload == "heard") {
            break;
        }
    };
    heard(&mut one).await;
    heard(&mut other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_empty_is_a_new_log() {
    let redis = redis().await;
    let (mut one, mut other) = (bus(&redis, "a"), bus(&redis, "b"));
    joined(&mut one).await;
    joined(&mut other).await;
    one.log.append(vec![payload("1"), payload("2")]).await.unwrap();
    let old = events(&mut other, 2).await[1].at;
    events(&mut one, 2).await;

    on(&redis, Redis::stop).await;
    assert_eq!(next(&mut one).await, News::Away);
    assert_eq!(next(&mut other).await, News::Away);
    assert_eq!(one.log.append(vec![payload("3")]).await, Err(Away));
    on(&redis, Redis::start).await;
    let seen = joined(&mut one).await;
    joined(&mut other).await;
    assert_eq!(other.log.append_if(old, vec![payload("x")]).await, Err(Away));
    // The other sees that and begins anew once more.
    let told = one.log.append_if(seen, vec![payload("4")]).await.unwrap();
    let event = &events(&mut one, 1).await[0];
    assert_eq!((told, &*event.payload), (Appended::At(event.at), &b"4"[..]));
    assert_eq!(event.at.seq, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_lost_while_we_read_is_noticed() {
    let redis = redis().await;
    let mut bus = bus(&redis, "a");
    joined(&mut bus).await;
    bus.log.append(vec![payload("1"), payload("2")]).await.unwrap();
    events(&mut bus, 2).await;
    on(&redis, |redis| drop(redis.ask("FLUSHALL"))).await;
    assert_eq!(next(&mut bus).await, News::Away);
    assert_eq!(joined(&mut bus).await, Position::default());
    bus.log.append(vec![payload("3")]).await.unwrap();
    assert_eq!(events(&mut bus, 1).await[0].payload, "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_too_slowly_is_told_to_begin_anew() {
    let redis = redis().await;
    let mut bus = bus(&redis, "a");
    let begin = joined(&mut bus).await;
    // More than waits for the reader.
    for _ in 0..WAITING + 8 {
        bus.log.append(vec![payload("event"); 64]).await.unwrap();
    }
    eventually("nothing more fits", async || bus.news.capacity() == 0).await;
    on(&redis, |redis| drop(redis.ask("XTRIM portico:1:log MAXLEN 0"))).await;
    bus.log.append(vec![payload("last")]).await.unwrap();
    let mut next_seq = begin.seq + 1;
    let rejoined = loop {
        match next(&mut bus).await {
            News::Events(events) => {
                for event in events {
                    assert_eq!(event.at.seq, next_seq, "no gap before it is told");
                    next_seq += 1;
                }
            }
            News::Away => break joined(&mut bus).await,
            News::Joined(at) => panic!("joined at {at} without having been away"),
        }
    };
    assert!(rejoined.seq > next_seq);
    bus.log.append(vec![payload("new")]).await.unwrap();
    assert_eq!(events(&mut bus, 1).await[0].at.seq, rejoined.seq + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_or_dies_is_no_longer_among_the_living() {
    let redis = redis().await;
    let buses = ["a", "b", "c"].map(|name| bus(&redis, name));
    for bus in &buses {
        eventually("all are seen", async || bus.living.borrow().all().len() == 3).await;
    }
    let [one, leaving, dying] = buses;
    let owners = |bus: &Bus| {
        let living = bus.living.borrow();
        (0..50).map(|node| living.owner_of(&format!("node{node}")).clone()).collect::<Vec<_>>()
    };
    assert_eq!(owners(&one), owners(&leaving));
    assert_eq!(owners(&one), owners(&dying));

    let begun = Instant::now();
    leaving.membership.leave().await;
    eventually("it has left", async || one.living.borrow().all().len() == 2).await;
    assert!(begun.elapsed() < Duration::from_millis(800), "{:?}", begun.elapsed());
    // What it still has to say is heard.
    leaving.log.append(vec![payload("bye")]).await.unwrap();

    let begun = Instant::now();
    drop(dying.membership);
    eventually("it is dead", async || one.living.borrow().all().len() == 1).await;
    // Its lease and one of our own periods.
    assert!(begun.elapsed() < Duration::from_millis(1800), "{:?}", begun.elapsed());
    assert!((0..50).all(|node| one.living.borrow().is_ours(&format!("node{node}"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_no_longer_hears_the_news_is_alone_and_not_among_the_living() {
    let redis = redis().await;
    let (one, mut deaf) = (bus(&redis, "a"), bus(&redis, "b"));
    for bus in [&one, &deaf] {
        eventually("both are seen", async || bus.living.borrow().all().len() == 2).await;
    }
    // As when the task that reads them panics. Nothing happens in the log meanwhile.
    let begun = Instant::now();
    deaf.news.close();
    eventually("it is alone", async || !deaf.living.borrow().is_in_touch()).await;
    assert!((0..50).all(|node| deaf.living.borrow().is_ours(&format!("node{node}"))));
    assert_eq!(deaf.log.append(vec![payload("unheard")]).await, Err(Away));
    eventually("the other takes over", async || one.living.borrow().all().len() == 1).await;
    // It has left; its lease holds for longer.
    assert!(begun.elapsed() < Duration::from_millis(800), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn however_the_keeping_ends_we_are_alone() {
    let (living, is_living) = watch::channel(Living::alone(InstanceId::new("a")));
    let keeper =
        keeper_of(Target::parse(&Secret::new("redis://localhost")).unwrap(), living.clone());
    let other = InstanceId::new("b");
    living.send_replace(Living::among(other.clone(), vec![other]));
    let ended = tokio::spawn(async move {
        let _kept = keeper;
        panic!("a test's panic");
    });
    assert!(ended.await.is_err());
    assert!(!is_living.borrow().is_in_touch() && is_living.borrow().is_ours("node"));
}

fn keeper_of(target: Target, living: watch::Sender<Living>) -> Keeper {
    keeper_with(settings("a"), target, living)
}

fn keeper_with(settings: Settings, target: Target, living: watch::Sender<Living>) -> Keeper {
    let teller = Arc::new(Teller::new(settings.instance.clone(), settings.metrics.clone()));
    let (_leave, is_leaving) = watch::channel(false);
    let (has_left, _left) = watch::channel(false);
    Keeper::new(target, settings, teller, living, is_leaving, has_left)
}

/// What is said about a URL.
async fn trouble_with(url: String) -> Trouble {
    let target = Target::parse(&Secret::new(url)).unwrap();
    let living = watch::Sender::new(Living::alone(InstanceId::new("a")));
    let mut keeper = keeper_of(target, living);
    keeper.begin().await.err().expect("it cannot be used")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_used_is_named_with_the_remedy() {
    let redis = redis().await;
    let url = redis.url();
    let (host, password) = (url.rsplit_once('@').unwrap().1.to_owned(), Redis::PASSWORD);
    let said = async |url: String| {
        let trouble = trouble_with(url).await;
        let said = crate::chain::Chain(&trouble).to_string();
        assert!(said.contains("`redis.url`"), "{said}");
        assert!(!said.contains(password) && !said.contains("hush"), "{said}");
        (trouble, said)
    };
    for wrong in [format!("redis://:hush@{host}"), format!("redis://{host}")] {
        let (trouble, said) = said(wrong).await;
        assert!(matches!(trouble, Trouble::Refused { .. }), "{said}");
        assert!(!trouble.is_passing() && said.contains("correct user and password"), "{said}");
    }
    let (trouble, text) = said(url.replace("/0", "/99")).await;
    assert!(matches!(trouble, Trouble::NoDatabase { .. }), "{text}");
    let (trouble, text) = said(url.replace("redis://", "rediss://")).await;
    assert!(matches!(trouble, Trouble::Silent { .. }), "{text}");
    assert!(text.contains("write redis:// in `redis.url`"), "{text}");

    redis.ask("REPLICAOF 127.0.0.1 1").unwrap();
    let (trouble, text) = said(url.clone()).await;
    assert!(matches!(trouble, Trouble::ReadOnly { .. }), "{text}");
    redis.ask("REPLICAOF NO ONE").unwrap();
    redis.ask("ACL SETUSER few on >hush ~other:* +@all").unwrap();
    let (trouble, text) = said(format!("redis://few:hush@{host}")).await;
    assert!(matches!(trouble, Trouble::Forbidden { .. }), "{text}");

    on(&redis, Redis::pause).await;
    let (trouble, text) = said(url.clone()).await;
    assert!(matches!(trouble, Trouble::Slow { .. }) && trouble.is_passing(), "{text}");
    on(&redis, Redis::stop).await;
    let (trouble, text) = said(url).await;
    assert!(matches!(trouble, Trouble::Away { .. }) && trouble.is_passing(), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_speaks_tls_is_told_from_one_that_does_not() {
    let redis = redis().await;
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("redis.crt"), dir.path().join("redis.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let set = format!(
        "CONFIG SET tls-auth-clients no tls-cert-file {} tls-key-file {} tls-port {port}",
        certificate.display(),
        key.display()
    );
    assert_eq!(redis.ask(&set).as_deref(), Some("+OK\r\n"));
    let url = format!("redis://:{}@127.0.0.1:{port}/0", Redis::PASSWORD);
    for (url, remedy) in [
        (url.clone(), "if its port speaks TLS, write rediss:// in `redis.url`"),
        // Nobody that we trust has signed it.
        (url.replace("redis://", "rediss://"), "or name its authority's in SSL_CERT_FILE"),
    ] {
        let said = crate::chain::Chain(&trouble_with(url).await).to_string();
        assert!(said.contains(remedy) && !said.contains(Redis::PASSWORD), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_differs_from_redis_is_said_once_in_a_while() {
    let redis = redis().await;
    let url = Secret::new(redis.url());
    for (clock, said) in [
        (now_ms as fn() -> u64, None),
        (|| now_ms() + 60_000, Some(" s ahead of that of Redis at 127.0.0.1:")),
        (|| now_ms() - 60_000, Some(" s behind that of Redis at 127.0.0.1:")),
    ] {
        let living = watch::Sender::new(Living::alone(InstanceId::new("a")));
        let settings = Settings { clock, ..settings("a") };
        let mut keeper = keeper_with(settings, Target::parse(&url).unwrap(), living);
        let beat = keeper.begin().await.expect("it can be used").beat;
        let warning = keeper.compare_clocks(&beat);
        let is_right = match (&warning, said) {
            (Some(warning), Some(said)) => {
                warning.contains(said) && warning.contains("let NTP set both")
            }
            (warning, said) => warning.is_none() && said.is_none(),
        };
        assert!(is_right, "{warning:?}");
        assert_eq!(keeper.compare_clocks(&beat), None);
    }
}
