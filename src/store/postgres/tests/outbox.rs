//! What it costs to look at the outbox, and what two instances do to each other there.

use tokio_postgres::Client;

use super::*;
use crate::model::{
    Callback, CallbackKind, CallbackToken, MeetingKey, NewDelivery, NodeName, Scope, Settled,
};
use crate::store::callbacks::{CALLBACKS_KEPT_MS, NEVER};
use crate::store::contract_callbacks::ANYBODYS;
use crate::store::op::{Change, Deliver, Full, Portion, Step};
use crate::store::postgres::apply::{Query, queries};
use crate::store::postgres::outbox::{REST, TAKE, locks};
use crate::store::{Callbacks, Places, Put};

/// Rows of what the triggers keep that are not what there is.
pub(in crate::store) const MISCOUNTED: &str = "
    WITH lines AS (SELECT owner, origin_sha256, min(next_attempt_at_ms) AS first FROM deliveries
            WHERE state = 'pending' GROUP BY owner, origin_sha256),
        counts AS (SELECT owner, count(*) FILTER (WHERE state = 'pending'),
                coalesce(sum(bytes) FILTER (WHERE state = 'pending'), 0),
                count(*) FILTER (WHERE state = 'dead'),
                min(next_attempt_at_ms) FILTER (WHERE state = 'pending')
            FROM deliveries WHERE state <> 'delivered' GROUP BY owner),
        kept AS (SELECT * FROM outbox_tenants WHERE pending + dead > 0
            OR pending <> 0 OR pending_bytes <> 0 OR next_attempt_at_ms IS NOT NULL)
    SELECT 'line', lines::text FROM ((TABLE lines EXCEPT TABLE outbox_lines)
        UNION ALL (TABLE outbox_lines EXCEPT TABLE lines)) AS lines
    UNION ALL SELECT 'tenant', counts::text FROM ((TABLE counts EXCEPT TABLE kept)
        UNION ALL (TABLE kept EXCEPT TABLE counts)) AS counts";

fn callback(number: u8, tenant: &str, kind: CallbackKind) -> Callback {
    Callback {
        token: CallbackToken::new([number; CallbackToken::BYTES]),
        kind,
        key: MeetingKey { scope: Scope::parse(tenant).unwrap(), id: "m".to_owned() },
        node: NodeName::new("bbb01"),
        node_meeting_id: "m".to_owned(),
        internal_id: None,
        target: Some("https://front.example/".to_owned()),
        created_at_ms: 1,
    }
}

fn delivery(callback: &Callback, subject: u64) -> NewDelivery {
    NewDelivery {
        token: callback.token.clone(),
        subject: subject.to_string(),
        origin: "https://front.example".to_owned(),
        payload: b"true".to_vec(),
        received_at_ms: subject,
    }
}

/// How many rows are looked at in this session, the triggers' among them.
async fn looked_at(client: &Client) -> i64 {
    let sql = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint
        FROM pg_stat_xact_user_tables";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn cost(client: &Client, queries: &[Query]) -> i64 {
    client.batch_execute("BEGIN").await.unwrap();
    let before = looked_at(client).await;
    for Query { sql, params, .. } in queries {
        let params: Vec<_> = params.iter().map(|param| &**param as &(dyn ToSql + Sync)).collect();
        client.execute(*sql, &params).await.unwrap();
    }
    let after = looked_at(client).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    after - before
}

#[tokio::test]
async fn however_much_waits_as_little_is_looked_at() {
    let database = Server::shared().create_database();
    let store = open(&database).await;
    let hook = callback(1, "tenant1", CallbackKind::Hook);
    store.put_callbacks(std::slice::from_ref(&hook)).await.unwrap();
    let target = Target::parse(&Secret::new(Server::shared().url(&database))).unwrap();
    let session = Session::open(&Connector::new(&target), &target, None).await.unwrap();
    let client = &session.client;
    // Plans are made while there is nothing, and kept.
    client.batch_execute("SET plan_cache_mode = force_generic_plan; ANALYZE").await.unwrap();
    let places: [i64; 3] = [2, 4, 10];
    let settle = |id| {
        let error = "refused".to_owned();
        Op::Callbacks(Change::Settle {
            id,
            holder: ANYBODYS.holder,
            at_ms: 50,
            settled: Settled::Dead { error },
        })
    };
    let changes = |id| {
        let event = Deliver::new(&delivery(&hook, 77_777));
        [Op::Callbacks(Change::Deliver(event)), settle(id)]
    };
    assert!(REST.contains(&NEVER.to_string()));
    let costs = async |id| {
        let mut costs = Vec::new();
        for op in &changes(id) {
            let mut all = locks([op]);
            all.extend(queries(op));
            costs.push(cost(client, &all).await);
        }
        let params: Vec<Box<dyn ToSql + Send + Sync>> = vec![
            Box::new(99_i64),
            Box::new(places[0]),
            Box::new(places[1]),
            Box::new(places[2]),
            Box::new(ANYBODYS.holder.0),
            Box::new(vec![id]),
            Box::new(ANYBODYS.lease_ms()),
        ];
        costs.push(cost(client, &[Query::new(TAKE, params)]).await);
        let params: Vec<Box<dyn ToSql + Send + Sync>> = vec![Box::new(99_i64)];
        costs.push(cost(client, &[Query::new(REST, params)]).await);
        costs
    };
    costs(-1).await;
    // 40 tenants with 25 origins each and 20 deliveries to each of them, and as many that were given up or
    // delivered; and one webhook with many events that wait for their turn.
    sql(
        &database,
        &format!(
            "INSERT INTO callbacks
                 SELECT 'token-' || n, 'end', 'tenant' || n % 40, 0, 'm', 'n', 'm', NULL, 'https://f', 0
                 FROM generate_series(0, 999) AS n;
             INSERT INTO deliveries (token, subject_sha256, owner, origin_sha256, payload, bytes,
                     received_at_ms, attempts, next_attempt_at_ms, state, settled_at_ms)
                 SELECT 'token-' || n, int8send(m), 'tenant' || n % 40, int8send(n / 40), 'true', 4,
                     m, 0, m, CASE WHEN m <= 20 THEN 'pending' WHEN m <= 40 THEN 'dead'
                         ELSE 'delivered' END, m
                 FROM generate_series(0, 999) AS n, generate_series(1, 60) AS m;
             INSERT INTO deliveries (token, subject_sha256, owner, origin_sha256, payload, bytes,
                     received_at_ms, attempts, next_attempt_at_ms, state)
                 SELECT '{}', int8send(m), 'tenant1', sha256('https://front.example'), 'true', 4, m,
                     0, CASE m WHEN 1 THEN 1 ELSE {NEVER} END, 'pending'
                 FROM generate_series(1, 4000) AS m",
            hook.token.expose()
        ),
    )
    .await;
    assert_eq!(sql(&database, MISCOUNTED).await.trim(), "");
    let first = sql(
        &database,
        &format!(
            "SELECT min(id) FROM deliveries WHERE owner = 'tenant1'
        AND token = '{}'",
            hook.token.expose()
        ),
    )
    .await;
    let costs = costs(first.trim().parse().unwrap()).await;
    // Of 64,000 rows; the most for what is due: of 10 tenants 4 lines, of each 2, with their callbacks.
    assert!(costs.iter().all(|cost| (1..300).contains(cost)), "{costs:?}");
}

#[tokio::test]
async fn however_many_callbacks_there_are_as_few_are_looked_at() {
    let database = Server::shared().create_database();
    let store = open(&database).await;
    let ended = callback(1, "tenant1", CallbackKind::End);
    store.put_callbacks(std::slice::from_ref(&ended)).await.unwrap();
    store.bind_callbacks(std::slice::from_ref(&ended.token), "ended").await.unwrap();
    let target = Target::parse(&Secret::new(Server::shared().url(&database))).unwrap();
    let session = Session::open(&Connector::new(&target), &target, None).await.unwrap();
    let client = &session.client;
    client.batch_execute("SET plan_cache_mode = force_generic_plan; ANALYZE").await.unwrap();
    let now_ms = 3 * CALLBACKS_KEPT_MS;
    let token = ended.token.clone();
    let mut changes = vec![
        Change::Bind { tokens: vec![token.clone()], internal_id: "bound".to_owned() },
        Change::End { token: token.clone(), at_ms: now_ms },
        Change::Remove(vec![token]),
    ];
    changes.extend(
        Step::ALL.map(|step| Change::Expire(Portion { step, now_ms, is_full: Full::default() })),
    );
    let changes: Vec<_> = changes.into_iter().map(Op::Callbacks).collect();
    let costs = async || {
        let mut costs = Vec::new();
        for op in &changes {
            let mut all = locks([op]);
            all.extend(queries(op));
            costs.push(cost(client, &all).await);
        }
        costs
    };
    costs().await;
    // Half of them have ended of late, and what was to be told is on its way, given up or delivered; a
    // few are long over, and one webhook has many events that were delivered, a few of them long ago.
    let (lately, long_ago) = (now_ms - 1, 1);
    sql(
        &database,
        &format!(
            "INSERT INTO callbacks
                 SELECT 'token-' || n, CASE n WHEN 0 THEN 'hook' ELSE 'end' END, 'tenant' || n % 40, 0,
                     'm', 'n', 'm', 'internal-' || n, 'https://f', {lately},
                     CASE WHEN n BETWEEN 1 AND 10 THEN {long_ago} WHEN n % 2 = 1 THEN {lately} END
                 FROM generate_series(0, 20000) AS n;
             INSERT INTO meetings
                 SELECT 'acme', 0, 'm' || n, 'n', 'm', 'internal-' || n, 0, NULL, ''
                 FROM generate_series(0, 5000) AS n;
             INSERT INTO deliveries (token, subject_sha256, owner, origin_sha256, payload, bytes,
                     received_at_ms, attempts, next_attempt_at_ms, state, settled_at_ms)
                 SELECT 'token-' || n, '', 'tenant' || n % 40, int8send(n / 40 % 25), 'true', 4, 1, 0, 1,
                     CASE WHEN n <= 10 OR n % 3 = 0 THEN 'delivered'
                         WHEN n % 3 = 1 THEN 'dead' ELSE 'pending' END,
                     CASE WHEN n <= 10 THEN {long_ago} ELSE {lately} END
                 FROM generate_series(1, 20000) AS n;
             INSERT INTO deliveries (token, subject_sha256, owner, origin_sha256, payload, bytes,
                     received_at_ms, attempts, next_attempt_at_ms, state, settled_at_ms)
                 SELECT 'token-0', int8send(m), 'tenant0', '', '', 4, 1, 1, 1,
                     CASE WHEN m % 2 = 0 THEN 'delivered' ELSE 'dead' END,
                     CASE WHEN m <= 10 THEN {long_ago} ELSE {lately} END
                 FROM generate_series(1, 4000) AS m"
        ),
    )
    .await;
    let costs = costs().await;
    // The most for what forgets: ten rows with what belongs to them, and 40 tenants.
    assert!(costs.iter().all(|cost| *cost < 400), "{costs:?}");
    assert!(costs[..3].iter().all(|cost| (1..60).contains(cost)), "{costs:?}");
}

#[tokio::test]
async fn two_that_work_on_one_outbox_do_not_stand_in_each_others_way() {
    let database = Server::shared().create_database();
    let (one, two) = tokio::join!(open(&database), open(&database));
    let tenants: Vec<_> = (1..=6_u8)
        .map(|number| callback(number, &format!("tenant{number}"), CallbackKind::Hook))
        .collect();
    one.put_callbacks(&tenants).await.unwrap();
    // Each of them takes the tenants in its own order.
    let put = async |store: &Postgres, tenants: Vec<&Callback>, from: u64| {
        let all = (from..from + 40)
            .flat_map(|subject| tenants.iter().map(move |callback| delivery(callback, subject)));
        let all: Vec<_> = all.collect();
        let puts = futures::future::join_all(all.iter().map(|new| store.put_delivery(new))).await;
        assert!(puts.into_iter().all(|put| put.unwrap() == Put::Kept));
    };
    let reversed = tenants.iter().rev().collect();
    tokio::join!(put(&one, tenants.iter().collect(), 0), put(&two, reversed, 20));
    let places = Places { of_origin: 99, of_tenant: 99, all: 99 };
    let mut settled = 0;
    loop {
        let due = one.take_deliveries(100, places, ANYBODYS).await.unwrap().taken;
        if due.is_empty() {
            break;
        }
        // Of each webhook one event, whoever put it in.
        assert_eq!(due.len(), tenants.len());
        settled += due.len();
        let settle = async |store: &Postgres, id| {
            store.settle_delivery(id, ANYBODYS.holder, 100, &Settled::Delivered).await.unwrap();
        };
        let forth = futures::future::join_all(due.iter().map(|due| settle(&one, due.id)));
        let back = futures::future::join_all(due.iter().rev().map(|due| settle(&two, due.id)));
        tokio::join!(forth, back);
    }
    assert_eq!(settled, 60 * tenants.len());
    assert_eq!(sql(&database, MISCOUNTED).await.trim(), "");
}
