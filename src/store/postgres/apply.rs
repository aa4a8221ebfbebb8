//! The SQL of a change.

use tokio_postgres::types::ToSql;

use super::text::to_column;
use super::{arbiter, deliveries, outbox};
use crate::model::{Asset, AssetKey, Callback, CallbackToken, Hook, Meeting, Scope};
use crate::store::SavedAsset;
use crate::store::callbacks::{CALLBACKS_KEPT_MS, Put, TOLD_KEPT_MS, UNNOTICED_END_MS};
use crate::store::op::{Change, Flag, Full, Op, Outcome, PORTION, Portion, Step};

pub(super) type Param = Box<dyn ToSql + Send + Sync>;

/// One statement and what goes into it.
pub(super) struct Query {
    pub(super) sql: &'static str,
    pub(super) params: Vec<Param>,
    told: Told,
}

/// Who wants to know how many rows a statement told of or changed.
enum Told {
    Nobody,
    /// What had no room in the outbox if there is one.
    Outcome(Outcome),
    Portion(Full),
    /// Whether there was any.
    Any(Flag),
    /// That it is not so after all, if there was any.
    Not(Flag),
}

impl Query {
    pub(super) fn new(sql: &'static str, params: Vec<Param>) -> Self {
        Self { sql, params, told: Told::Nobody }
    }

    /// The same, whose rows are what had no room in the outbox.
    pub(super) fn telling(self, outcome: &Outcome) -> Self {
        Self { told: Told::Outcome(outcome.clone()), ..self }
    }

    /// The same, whose rows tell that something is so.
    pub(super) fn telling_if(self, flag: &Flag) -> Self {
        Self { told: Told::Any(flag.clone()), ..self }
    }

    /// The same, whose rows tell that what an earlier one told is not so.
    pub(super) fn unless(self, flag: &Flag) -> Self {
        Self { told: Told::Not(flag.clone()), ..self }
    }

    /// How many rows the server told of.
    pub(super) fn done(&self, rows: u64) {
        match &self.told {
            Told::Nobody => {}
            Told::Outcome(outcome) => {
                outcome.set(if rows > 0 { Put::GivenUp } else { Put::Kept });
            }
            Told::Portion(is_full) => is_full.set(rows),
            Told::Any(flag) => flag.set(rows > 0),
            Told::Not(flag) => flag.set(flag.get() && rows == 0),
        }
    }
}

/// The statements that make a change.
pub(super) fn queries(op: &Op) -> Vec<Query> {
    let query = match op {
        Op::Callbacks(change) => return of_callbacks(change),
        Op::Arbitrate(change) => return arbiter::queries(change),
        Op::PutMeeting(meeting) => put_meeting(meeting),
        Op::RemoveMeeting { key, internal_id, is_removed } => {
            let [tenant, sub_id] = scope(&key.scope);
            Query::new(
                "DELETE FROM meetings WHERE tenant = $1 AND sub_id = $2 AND meeting_id = $3
                    AND internal_id = $4",
                vec![tenant, sub_id, text(&key.id), text(internal_id)],
            )
            .telling_if(is_removed)
        }
        Op::PutNode { name, state, spec, keeps_state } => {
            let put = Query::new(
                "INSERT INTO nodes (name, state, spec) VALUES ($1, $2, $3)
                ON CONFLICT (name) DO UPDATE SET spec = excluded.spec,
                    state = CASE WHEN $4 AND 'retired' NOT IN (nodes.state, excluded.state)
                        THEN nodes.state ELSE excluded.state END",
                vec![
                    text(name.as_str()),
                    word(state.as_str()),
                    // JSON escapes a NUL by itself.
                    Box::new(spec.clone()),
                    Box::new(*keeps_state),
                ],
            );
            // Others read what is wanted of nodes when they hear this.
            let told = (!keeps_state)
                .then(|| Query::new("SELECT pg_notify('portico_inventory', '')", Vec::new()));
            return std::iter::once(put).chain(told).collect();
        }
        Op::RemoveNode(name) => Query::new(
            "DELETE FROM nodes WHERE name = $1
                AND NOT EXISTS (SELECT FROM meetings WHERE node = $1)",
            vec![text(name.as_str())],
        ),
        Op::PutAsset(key, asset) => put_asset(key, asset),
        Op::RemoveAsset(SavedAsset { key, digest, .. }, age) => Query::new(
            "DELETE FROM assets WHERE tenant = $1 AND kind = $2 AND digest = $3
                AND kept_at <= clock_timestamp() - $4 * interval '1 millisecond'",
            vec![
                word(key.tenant.as_str()),
                word(key.kind.as_str()),
                word(digest),
                Box::new(age.as_secs_f64() * 1000.0),
            ],
        ),
        Op::PutHook(hook) => put_hook(hook),
        Op::Probe => return probe(),
        Op::RemoveHook(id) => Query::new("DELETE FROM hooks WHERE id = $1", vec![number(*id)]),
    };
    vec![query]
}

/// Refused where it may not be written, and flushed to the server's log as every change is; the second one
/// changes nothing that anybody reads.
fn probe() -> Vec<Query> {
    [
        "UPDATE nodes SET state = state WHERE false",
        "SELECT pg_logical_emit_message(true, 'portico', '')",
    ]
    .into_iter()
    .map(|sql| Query::new(sql, Vec::new()))
    .collect()
}

pub(super) fn put_meeting(meeting: &Meeting) -> Query {
    let [tenant, sub_id] = scope(&meeting.key.scope);
    Query::new(
        "INSERT INTO meetings (tenant, sub_id, meeting_id, node, node_meeting_id, internal_id,
                created_at_ms, parent_internal_id, xml, expected_thousandths, peak)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            ON CONFLICT (tenant, sub_id, meeting_id) DO UPDATE SET node = excluded.node,
                node_meeting_id = excluded.node_meeting_id, internal_id = excluded.internal_id,
                created_at_ms = excluded.created_at_ms,
                parent_internal_id = excluded.parent_internal_id, xml = excluded.xml,
                expected_thousandths = excluded.expected_thousandths, peak = excluded.peak",
        vec![
            tenant,
            sub_id,
            text(&meeting.key.id),
            text(meeting.node.as_str()),
            text(&meeting.node_meeting_id),
            text(&meeting.internal_id),
            number(meeting.created_at_ms),
            optional(meeting.parent_internal_id.as_deref()),
            Box::new(meeting.xml.to_vec()),
            Box::new(i64::from(meeting.extent.expected_thousandths)),
            Box::new(i64::from(meeting.extent.peak)),
        ],
    )
}

fn put_asset(key: &AssetKey, asset: &Asset) -> Query {
    Query::new(
        "INSERT INTO assets (tenant, kind, path, digest, bytes) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (tenant, kind, digest) DO UPDATE SET path = excluded.path,
                bytes = excluded.bytes, kept_at = excluded.kept_at",
        vec![
            word(key.tenant.as_str()),
            word(key.kind.as_str()),
            text(&asset.path().to_string_lossy()),
            word(asset.digest()),
            Box::new(asset.bytes().to_vec()),
        ],
    )
}

pub(super) fn put_hook(hook: &Hook) -> Query {
    let [tenant, sub_id] = scope(&hook.scope);
    Query::new(
        "INSERT INTO hooks (id, tenant, sub_id, token, callback_url, meeting_id, events, raw,
                created_at_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, sub_id = excluded.sub_id,
                token = excluded.token, callback_url = excluded.callback_url,
                meeting_id = excluded.meeting_id, events = excluded.events, raw = excluded.raw,
                created_at_ms = excluded.created_at_ms",
        vec![
            number(hook.id),
            tenant,
            sub_id,
            word(hook.token.expose()),
            text(&hook.callback_url),
            optional(hook.meeting_id.as_deref()),
            text(&hook.events.join(",")),
            Box::new(hook.raw),
            number(hook.created_at_ms),
        ],
    )
}

fn of_callbacks(change: &Change) -> Vec<Query> {
    match change {
        Change::Put(callbacks) => callbacks.iter().map(put_callback).collect(),
        Change::Bind { tokens, internal_id } => vec![Query::new(
            "UPDATE callbacks SET internal_id = $2 WHERE token = ANY ($1)",
            vec![list(tokens), text(internal_id)],
        )],
        // Their deliveries go with them.
        Change::Remove(tokens) => {
            vec![Query::new("DELETE FROM callbacks WHERE token = ANY ($1)", vec![list(tokens)])]
        }
        // Two, as one that says OR reads all there are; and no condition on the end, as the way to one row
        // would then lead over all that have none.
        Change::End { token, at_ms } => [
            "UPDATE callbacks SET ended_at_ms = coalesce(ended_at_ms, $2)
                WHERE internal_id = (SELECT internal_id FROM callbacks WHERE token = $1)",
            "UPDATE callbacks SET ended_at_ms = coalesce(ended_at_ms, $2) WHERE token = $1",
        ]
        .map(|sql| Query::new(sql, vec![word(token.expose()), number(*at_ms)]))
        .into(),
        Change::Deliver(deliver) => outbox::deliver(deliver),
        Change::Settle { id, holder, at_ms, settled } => {
            outbox::settle(*id, *holder, *at_ms, settled)
        }
        Change::Retry { id, at_ms, is_done } => deliveries::retry(*id, *at_ms, is_done),
        Change::Discard { id, at_ms, is_done } => deliveries::discard(*id, *at_ms, is_done),
        Change::Expire(portion) => expire(portion),
    }
}

fn put_callback(callback: &Callback) -> Query {
    let [tenant, sub_id] = scope(&callback.key.scope);
    Query::new(
        "INSERT INTO callbacks (token, kind, tenant, sub_id, meeting_id, node,
                node_meeting_id, internal_id, target, created_at_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            ON CONFLICT (token) DO UPDATE SET kind = excluded.kind, tenant = excluded.tenant,
                sub_id = excluded.sub_id, meeting_id = excluded.meeting_id, node = excluded.node,
                node_meeting_id = excluded.node_meeting_id, internal_id = excluded.internal_id,
                target = excluded.target, created_at_ms = excluded.created_at_ms,
                ended_at_ms = NULL",
        vec![
            word(callback.token.expose()),
            word(callback.kind.as_str()),
            tenant,
            sub_id,
            text(&callback.key.id),
            text(callback.node.as_str()),
            text(&callback.node_meeting_id),
            optional(callback.internal_id.as_deref()),
            optional(callback.target.as_deref()),
            number(callback.created_at_ms),
        ],
    )
}

/// What is found row by row on the way over an index, whatever the planner thinks of how many there are: a
/// subquery with LIMIT or OFFSET is no join in its eyes.
fn expire(portion: &Portion) -> Vec<Query> {
    let before = |age_ms| number(portion.now_ms.saturating_sub(age_ms));
    let rows = || -> Param { Box::new(i64::from(PORTION)) };
    let query = match portion.step {
        // Whoever settles an event gives the next one its turn in the same statement, and the deliveries of a
        // callback go with it.
        Step::GiveTurns | Step::ForgetDeliveries => return Vec::new(),
        Step::End => Query::new(
            "UPDATE callbacks SET ended_at_ms = $1 WHERE token = ANY (ARRAY(
                SELECT token FROM callbacks WHERE ended_at_ms IS NULL AND created_at_ms < $2
                    AND (SELECT true FROM meetings
                        WHERE meetings.internal_id = callbacks.internal_id LIMIT 1) IS NULL
                    AND (kind <> 'hook' OR (SELECT true FROM hooks
                        WHERE hooks.token = callbacks.token LIMIT 1) IS NULL)
                LIMIT $3))",
            vec![number(portion.now_ms), before(UNNOTICED_END_MS), rows()],
        ),
        Step::Forget => Query::new(
            "DELETE FROM callbacks WHERE token = ANY (ARRAY(
                SELECT token FROM callbacks WHERE ended_at_ms < $1
                    AND (SELECT true FROM (SELECT state, settled_at_ms FROM deliveries
                            WHERE deliveries.token = callbacks.token OFFSET 0) AS its
                        WHERE state = 'pending' OR (state = 'dead' AND settled_at_ms >= $1)
                        LIMIT 1) IS NULL
                LIMIT $2))",
            vec![before(CALLBACKS_KEPT_MS), rows()],
        ),
        // A webhook has no end by which its events could go.
        Step::ForgetEvents => Query::new(
            "DELETE FROM deliveries WHERE id = ANY (ARRAY(
                (SELECT old.id FROM callbacks CROSS JOIN LATERAL (SELECT id FROM deliveries
                        WHERE token = callbacks.token AND state = 'delivered'
                            AND settled_at_ms < $2 LIMIT $3) AS old
                    WHERE kind = 'hook' LIMIT $3)
                UNION ALL (SELECT old.id FROM outbox_tenants
                    CROSS JOIN LATERAL (SELECT id, token FROM deliveries
                        WHERE owner = tenant AND state = 'dead' AND settled_at_ms < $1
                        OFFSET 0) AS old
                    WHERE (SELECT kind FROM callbacks WHERE token = old.token) = 'hook' LIMIT $3)
                LIMIT $3))",
            vec![before(CALLBACKS_KEPT_MS), before(TOLD_KEPT_MS), rows()],
        ),
    };
    vec![Query { told: Told::Portion(portion.is_full.clone()), ..query }]
}

/// A text from outside.
pub(super) fn text(text: &str) -> Param {
    Box::new(to_column(text).into_owned())
}

fn optional(text: Option<&str>) -> Param {
    Box::new(text.map(|text| to_column(text).into_owned()))
}

/// A text of a kind that holds neither NUL nor backslash.
pub(super) fn word(word: &str) -> Param {
    Box::new(word.to_owned())
}

pub(super) fn list(tokens: &[CallbackToken]) -> Param {
    Box::new(tokens.iter().map(|token| token.expose().to_owned()).collect::<Vec<_>>())
}

/// PostgreSQL's integers are signed; the cap is 292 million years away.
pub(super) fn number(number: u64) -> Param {
    Box::new(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(super) fn scope(scope: &Scope) -> [Param; 2] {
    [word(scope.tenant.as_str()), Box::new(i32::from(scope.sub.get()))]
}
