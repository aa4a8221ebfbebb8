//! What tenants have used, over time.

use http::Method;
use serde_json::{Value, json};

use crate::api::{self, Operator};
use crate::harness::{Cluster, Plan, Pool, Tenant, eventually, portico};

fn config() -> crate::harness::Config {
    api::config().tenant(Tenant::new("beta")).set("polling.interval", "100ms")
}

/// Meetings begun and the peaks of each tenant, over all days, in the order of days and tenants.
async fn used(operator: &Operator<'_>, query: &str) -> Vec<(String, u64, u64, u64)> {
    let reply = operator.call(Method::GET, &format!("/statistics{query}"), None).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let page: Value = serde_json::from_str(&reply.body).expect("JSON");
    let rows = page["items"].as_array().expect("rows").iter().map(|row| {
        let number = |name: &str| row[name].as_u64().expect("a number");
        let tenant = row["tenant"].as_str().expect("a tenant").to_owned();
        (tenant, number("meetings"), number("peak_meetings"), number("peak_attendees"))
    });
    rows.collect()
}

fn row(
    tenant: &str,
    meetings: u64,
    peak_meetings: u64,
    peak_attendees: u64,
) -> (String, u64, u64, u64) {
    (tenant.to_owned(), meetings, peak_meetings, peak_attendees)
}

/// Days may change while a test runs.
async fn is_used(operator: &Operator<'_>, expected: &[(String, u64, u64, u64)]) {
    eventually("it is counted", async || {
        let rows = used(operator, "").await;
        expected.iter().all(|(tenant, meetings, peak_meetings, peak_attendees)| {
            let own: Vec<_> = rows.iter().filter(|row| row.0 == *tenant).collect();
            own.iter().map(|row| row.1).sum::<u64>() == *meetings
                && own.iter().map(|row| row.2).max() == Some(*peak_meetings)
                && own.iter().map(|row| row.3).max() == Some(*peak_attendees)
        })
    })
    .await;
}

#[tokio::test]
async fn use_is_told_as_json_and_csv_and_each_tenant_sees_its_own() {
    let mut pool = Pool::start(config()).await;
    for id in ["algebra", "botany"] {
        pool.tenant("acme").create(id).await.success();
    }
    pool.tenant("beta").create("algebra").await.success();
    pool.node_of("algebra@acme").add_attendees("algebra@acme", 7);
    eventually("they are seen", async || {
        pool.metrics().await.sum("portico_tenant_attendees", &[]) > 6.5
    })
    .await;
    // Whoever stops tells what it has counted.
    pool.signal("TERM");
    assert!(pool.ended().await.success());
    pool.restart().await;
    let operator = Operator::of(&pool, "operator").await;
    is_used(&operator, &[row("acme", 2, 2, 7), row("beta", 1, 1, 0)]).await;
    assert_eq!(used(&operator, "?tenant=beta&by=hour&from=2020-01-01").await.len(), 1);
    assert_eq!(used(&operator, "?to=2020-01-01").await, []);
    assert_eq!(used(&operator, "?from=9999-01-01").await, []);
    assert_eq!(used(&operator, "?tenant=beta&from=9999-01-01").await, []);
    for (query, field) in [
        ("?from=today", "from"),
        ("?to=1", "to"),
        ("?tenant=A%20B", "tenant"),
        ("?tenant=bata", "tenant"),
        ("?from=2026-11-22&to=2026-11-21", "from"),
        ("?from=2026-11-21T10:00:01Z&to=2026-11-21T10:00:00Z", "from"),
        ("?limit=0", "limit"),
    ] {
        let reply = operator.call(Method::GET, &format!("/statistics{query}"), None).await;
        assert_eq!(reply.status, 422, "{}", reply.body);
        let problem: Value = serde_json::from_str(&reply.body).expect("JSON");
        assert_eq!(problem["errors"][0]["field"], json!(field));
    }
    let page = operator.call(Method::GET, "/statistics?limit=1", None).await;
    let page: Value = serde_json::from_str(&page.body).expect("JSON");
    let next = page["next"].as_str().expect("another page");
    let rest = used(&operator, &format!("?limit=1000&cursor={next}")).await;
    assert!(rest.iter().any(|row| row.0 == "beta"), "{rest:?}");

    let accept = [("accept", "text/csv")];
    let csv = operator.call_with(Method::GET, "/statistics", None, &accept).await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8; header=present");
    let mut lines = csv.body.lines();
    let names = "tenant,begins,by,meetings,attendee_minutes,peak_meetings,peak_attendees";
    assert_eq!(lines.next(), Some(names));
    let first = lines.next().expect("a row");
    assert!(first.starts_with("acme,20") && first.contains(",day,"), "{first}");

    let token = api::token(&pool, &["--scope", "tenant", "--tenant", "beta"]).await;
    let beta = Operator { pool: &pool, token };
    let own = used(&beta, "").await;
    assert!(!own.is_empty() && own.iter().all(|row| row.0 == "beta"), "{own:?}");
    assert_eq!(beta.call(Method::GET, "/statistics?tenant=acme", None).await.status, 403);
    assert_eq!(pool.admin("/api/portico/v1/statistics").await.status, 401);

    let path = pool.config_path().to_str().expect("UTF-8");
    let table = portico(&["statistics", "-c", path, "--tenant", "acme"]).await;
    assert_eq!(table.code, 0, "{}", table.stderr);
    assert!(table.stdout.starts_with("TENANT  BEGINS"), "{}", table.stdout);
    assert!(table.stdout.contains("acme    20"), "{}", table.stdout);
    let csv = portico(&["statistics", "-c", path, "--output", "csv", "--by", "hour"]).await;
    let names = "tenant,begins,meetings,attendee_minutes,peak_meetings,peak_attendees\n";
    assert!(csv.stdout.starts_with(names), "{}", csv.stdout);
    let refused = portico(&["node", "list", "-c", path, "--output", "csv"]).await;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
}

#[tokio::test]
async fn what_is_too_old_is_forgotten() {
    let config = config().set("statistics.retention_days", "100");
    let mut cluster = Plan::new(config, 1).without_redis().start().await;
    // 99 and 101 days ago, and hours of 34 and 36 days ago.
    let old = "INSERT INTO statistics
        SELECT per, (extract(epoch FROM now())::bigint / 86400 - days) * 86400, 'acme', 1, 0, 0, 1, 1
            FROM (VALUES ('day', 99), ('day', 101), ('hour', 34), ('hour', 36)) AS old (per, days)";
    cluster.postgres().sql(cluster.database(), old);
    cluster.instance_mut(0).restart().await;
    let ages =
        "SELECT coalesce(sum((extract(epoch FROM now())::bigint / 86400 - begins_at_s / 86400)), 0)
        FROM statistics WHERE meetings = 1 AND attendee_ms = 0 AND sampled_ms = 0";
    eventually("they are gone", async || sql(&cluster, ages) == 99 + 34).await;
}

#[tokio::test]
async fn several_instances_count_once_and_a_kill_loses_little() {
    for plan in [Plan::new(config(), 2), Plan::new(config(), 2).without_redis()] {
        let mut cluster = plan.start().await;
        for number in 0..6 {
            let pool = cluster.instance(number % 2);
            pool.tenant("acme").create(&format!("room{number}")).await.success();
        }
        let node = &cluster.nodes()[0];
        let some = node.meetings().first().map(|meeting| meeting.external_id.clone());
        node.add_attendees(&some.expect("a meeting"), 4);
        let listed = async |pool: &Pool| pool.metrics().await.sum("portico_tenant_attendees", &[]);
        for pool in cluster.instances() {
            eventually("it is seen", async || listed(pool).await > 3.5).await;
        }
        let operator = Operator::of(cluster.instance(0), "admin").await;
        is_used(&operator, &[row("acme", 6, 6, 4)]).await;
        // Whoever dies now loses nothing, and the other one goes on.
        cluster.instance_mut(1).kill9();
        let operator = Operator::of(cluster.instance(0), "admin").await;
        cluster.instance(0).tenant("acme").create("room6").await.success();
        is_used(&operator, &[row("acme", 7, 7, 4)]).await;
        // At no time have two counted the same: there is no more attendance than the pool can have had.
        let seconds =
            sql(&cluster, "SELECT max(sampled_ms) / 1000 FROM statistics WHERE per = 'day'");
        let lived =
            "SELECT extract(epoch FROM now())::bigint - min(created_at_ms) / 1000 FROM meetings";
        assert!(seconds <= sql(&cluster, lived) + 2);
    }
}

fn sql(cluster: &Cluster, statement: &str) -> i64 {
    cluster.postgres().sql(cluster.database(), statement).trim().parse().expect("a number")
}
