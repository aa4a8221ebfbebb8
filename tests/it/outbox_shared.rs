//! Two instances deliver what stands in one outbox.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use http::{Method, Uri};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Config, Front, Pool, Postgres, Tenant, eventually};

const CALLBACKS: usize = 500;
/// Those of them that are told to the end before one is killed, and those that it may then have on their way: more than
/// both instances can have.
const BEFORE: usize = 200;
const UNTIL_THE_KILL: usize = 264;
/// Tenants, each with a front end of its own.
const TENANTS: [&str; 4] = ["acme", "bolt", "cone", "dome"];
/// What one of them is told at the same time.
const AT_ONCE: usize = 2;

fn config(server: &Postgres, database: &str) -> Config {
    let config = Config::new()
        .set("store.kind", "postgres")
        .set("store.url", server.url(database))
        .set("callbacks.allow_targets", "[127.0.0.0/8]");
    TENANTS.into_iter().fold(config, |config, slug| config.tenant(Tenant::new(slug)))
}

fn token(number: usize) -> String {
    format!("{number:048x}")
}

/// A front end that notes what it is told at once, and answers when it may: until then that is on its way.
struct Slow {
    address: SocketAddr,
    told: Told,
    _serves: AbortOnDropHandle<()>,
}

type Told = Arc<Mutex<BTreeMap<String, usize>>>;
type Heard = (Told, watch::Receiver<bool>);

impl Slow {
    async fn start(may_answer: watch::Receiver<bool>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let told = Told::default();
        let hear = async |State((told, mut may_answer)): State<Heard>, uri: Uri| {
            let meeting = uri.path().trim_start_matches('/').to_owned();
            *told.lock().entry(meeting).or_default() += 1;
            // An error is a test that is over.
            drop(may_answer.wait_for(|may| *may).await);
        };
        let router = Router::new().fallback(hear).with_state((told.clone(), may_answer));
        let serves = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self { address, told, _serves: AbortOnDropHandle::new(serves) }
    }
}

/// How often each of them was told.
fn told(fronts: &[Slow]) -> BTreeMap<String, usize> {
    fronts.iter().flat_map(|front| front.told.lock().clone()).collect()
}

/// Calls the URLs of these callbacks at both.
async fn call(pools: [&Pool; 2], numbers: std::ops::Range<usize>) {
    for number in numbers {
        let target = format!("/b3lb/c/{}", token(number));
        let clients = pools.map(|pool| pool.tenant("acme"));
        let [one, two] = &clients;
        let (one, two) = tokio::join!(
            one.send(Method::GET, &target, &[], ""),
            two.send(Method::GET, &target, &[], ""),
        );
        assert_eq!((one.status.as_u16(), two.status.as_u16()), (200, 200));
    }
}

/// All are told to both, in part before one is killed and in part after that; each arrives, and none
/// twice but for those that were on their way when it was.
#[tokio::test]
async fn a_kill_loses_no_callback_and_doubles_only_what_was_on_its_way() {
    let server = Postgres::shared();
    let database = server.create_database();
    let one = Pool::start(config(server, &database)).await;
    let mut two = Pool::start(config(server, &database)).await;
    let (answers, may_answer) = watch::channel(true);
    let mut fronts = Vec::new();
    for _ in TENANTS {
        fronts.push(Slow::start(may_answer.clone()).await);
    }
    let rows: Vec<String> = (0..CALLBACKS)
        .map(|number| {
            let at = number % TENANTS.len();
            let (url, tenant) = (format!("http://{}/m{number}", fronts[at].address), TENANTS[at]);
            format!(
                "('{}', 'meeting_ended', '{tenant}', 0, 'm{number}', 'node0', 'm{number}', '{url}', 0)",
                token(number)
            )
        })
        .collect();
    let insert =
        "INSERT INTO callbacks (token, kind, tenant, sub_id, meeting_id, node, node_meeting_id,
            target, created_at_ms)";
    server.sql(&database, &format!("{insert} VALUES {}", rows.join(",")));
    call([&one, &two], 0..BEFORE).await;
    eventually("the first ones are told", async || told(&fronts).len() == BEFORE).await;
    answers.send_replace(false);
    call([&one, &two], BEFORE..UNTIL_THE_KILL).await;
    let delivers = async || two.metrics().await.get("portico_callbacks_in_flight") > 0.5;
    eventually("it delivers", delivers).await;
    two.kill9();
    let holders = "SELECT holder, meeting_id FROM deliveries JOIN callbacks USING (token)
        WHERE state = 'pending' AND holder <> 0";
    let held = server.sql(&database, holders);
    answers.send_replace(true);
    for number in UNTIL_THE_KILL..CALLBACKS {
        let target = format!("/b3lb/c/{}", token(number));
        let reply = one.tenant("acme").send(Method::GET, &target, &[], "").await;
        assert_eq!(reply.status, 200);
    }
    // Leases of the one that is gone are not renewed.
    let last = "SELECT holder FROM deliveries ORDER BY held_until_ms DESC, id LIMIT 1";
    let living = server.sql(&database, last);
    let of_other = format!(
        "SELECT count(*) FROM deliveries WHERE state = 'pending' AND holder NOT IN (0, {})",
        living.trim()
    );
    eventually("it has all to itself", async || server.sql(&database, &of_other).trim() == "0")
        .await;
    eventually("all are told", async || told(&fronts).len() == CALLBACKS).await;
    let settled = "SELECT count(*) FROM deliveries WHERE state = 'delivered'";
    eventually("all is written down", async || {
        server.sql(&database, settled).trim() == CALLBACKS.to_string()
    })
    .await;
    let on_their_way: BTreeSet<&str> = held
        .lines()
        .filter_map(|line| line.split_once('|'))
        .filter(|(holder, _)| *holder != living.trim())
        .map(|(_, meeting)| meeting)
        .collect();
    let told = told(&fronts);
    let doubled: BTreeMap<_, _> = told.iter().filter(|(_, times)| **times > 1).collect();
    eprintln!("{} on their way at the kill, {} told twice", on_their_way.len(), doubled.len());
    assert!(!on_their_way.is_empty(), "it held nothing");
    assert!(on_their_way.len() <= TENANTS.len() * AT_ONCE, "{on_their_way:?}");
    for (meeting, times) in doubled {
        assert_eq!((*times, on_their_way.contains(meeting.as_str())), (2, true), "{meeting}");
    }
}

#[tokio::test]
async fn what_one_has_taken_in_the_other_delivers_when_that_one_stops() {
    let server = Postgres::shared();
    let database = server.create_database();
    let mut one = Pool::start(config(server, &database)).await;
    let two = Pool::start(config(server, &database)).await;
    // The first attempts fail, so it waits.
    let front = Front::start(&[503]).await;
    server.sql(
        &database,
        &format!(
            "INSERT INTO callbacks (token, kind, tenant, sub_id, meeting_id, node, node_meeting_id,
                target, created_at_ms)
             VALUES ('{}', 'meeting_ended', 'acme', 0, 'm', 'node0', 'm', '{}', 0)",
            token(1),
            front.url("/over/1"),
        ),
    );
    let target = format!("/b3lb/c/{}", token(1));
    let reply = one.tenant("acme").send(Method::GET, &target, &[], "").await;
    assert_eq!(reply.status, 200);
    eventually("it was tried", async || front.heard("/over/").len() == 1).await;
    one.signal("TERM");
    eventually("it is told", async || front.heard("/over/").len() == 2).await;
    assert!(one.ended().await.success());
    let left = "SELECT count(*) FROM deliveries WHERE state = 'pending' OR holder NOT IN
        (SELECT holder FROM deliveries WHERE state = 'delivered')";
    eventually("nothing is left", async || server.sql(&database, left).trim() == "0").await;
    drop(two);
}
