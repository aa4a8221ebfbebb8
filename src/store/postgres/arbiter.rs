//! The SQL of claims.
//!
//! Two instances that write about the same meetings would wait for each other in a circle where they do so in
//! different orders. So a transaction first takes the [`locks()`] on all of its meetings, by their numbers.

use std::sync::Arc;

use super::apply::{Param, Query, number, put_hook, put_meeting, scope, text, word};
use super::rows::{self, MEETINGS};
use super::text::to_column;
use super::{Postgres, Reader};
use crate::model::{Hook, InstanceId, Meeting, MeetingKey, Slug};
use crate::store::arbiter::{Adding, Arbiter, Claim, Claiming, LEASE, Saving, Standing};
use crate::store::op::{Arbitrate, Flag, Op, Saver};
use crate::store::{Error, Trouble};
use async_trait::async_trait;

/// How often something that vanishes while it is looked at is looked for.
const LOOKS: usize = 3;

/// The locks for all meetings that these changes are about.
pub(super) fn locks<'a>(ops: impl IntoIterator<Item = &'a Op>) -> Option<Query> {
    let mut names = Vec::new();
    for op in ops {
        match op {
            Op::PutMeeting(meeting) => names.push(lock_name(&meeting.key)),
            Op::RemoveMeeting { key, .. } => names.push(lock_name(key)),
            Op::Arbitrate(Arbitrate::Claim { claim, .. } | Arbitrate::Release(claim)) => {
                names.push(lock_name(&claim.key));
            }
            Op::Arbitrate(Arbitrate::Save(Saver { meeting, claim, .. })) => {
                names.push(lock_name(&meeting.key));
                names.extend(claim.as_ref().map(|claim| lock_name(&claim.key)));
            }
            _ => {}
        }
    }
    // What is in the order already is worth nothing: the server makes numbers of the names.
    (!names.is_empty()).then(|| {
        Query::new(
            "SELECT pg_advisory_xact_lock(number) FROM (
                SELECT DISTINCT hashtextextended(name, 0) AS number FROM unnest($1::text[]) AS name
                ORDER BY number) AS numbers",
            vec![Box::new(names)],
        )
    })
}

fn lock_name(key: &MeetingKey) -> String {
    let scope = &key.scope;
    format!("{} {} {}", scope.tenant.as_str(), scope.sub.get(), to_column(&key.id))
}

pub(super) fn queries(change: &Arbitrate) -> Vec<Query> {
    match change {
        Arbitrate::Claim { claim, is_ours, is_inherited } => take(claim, is_ours, is_inherited),
        Arbitrate::Release(claim) => vec![release(claim)],
        Arbitrate::Renew { instance, numbers } => renew(instance, numbers),
        Arbitrate::AddHook { hook, is_kept } => vec![add_hook(hook).telling_if(is_kept)],
        Arbitrate::Save(Saver { meeting, claim, is_kept }) => {
            let over = claim.as_ref().map(|claim| over(claim)).unwrap_or_default();
            let put = put_meeting_unless(meeting, over).telling_if(is_kept);
            [put].into_iter().chain(claim.as_ref().map(|claim| release(claim))).collect()
        }
    }
}

/// Several statements, as each sees what was committed before it began: when the one that takes has succeeded, whoever
/// had the claim before has saved the meeting, or never will.
fn take(claim: &Claim, is_ours: &Flag, is_inherited: &Flag) -> Vec<Query> {
    let [tenant, sub_id, id, instance, _] = names(claim);
    let left_behind = Query::new(
        "SELECT FROM claims WHERE tenant = $1 AND sub_id = $2 AND meeting_id = $3
            AND instance <> $4 AND expires_at <= clock_timestamp()",
        vec![tenant, sub_id, id, instance],
    );
    let [tenant, sub_id, id, instance, number] = names(claim);
    let taken = Query::new(
        "INSERT INTO claims AS held (tenant, sub_id, meeting_id, instance, number, expires_at)
            SELECT $1, $2, $3, $4, $5, clock_timestamp() + make_interval(secs => $6)
                WHERE NOT EXISTS (SELECT 1 FROM claims WHERE tenant = $1 AND sub_id = $2
                    AND meeting_id = $3 AND instance <> $4 AND expires_at > clock_timestamp())
            ON CONFLICT (tenant, sub_id, meeting_id) DO UPDATE SET instance = excluded.instance,
                number = excluded.number, expires_at = excluded.expires_at
                WHERE held.instance = excluded.instance OR held.expires_at <= clock_timestamp()",
        vec![tenant, sub_id, id, instance, number, Box::new(LEASE.as_secs_f64())],
    );
    let [tenant, sub_id, id, instance, number] = names(claim);
    let over = over(claim);
    let undone = match &claim.internal_id {
        None => Query::new(
            "DELETE FROM claims WHERE tenant = $1 AND sub_id = $2 AND meeting_id = $3
                AND instance = $4 AND number = $5
                AND EXISTS (SELECT 1 FROM meetings WHERE tenant = $1 AND sub_id = $2
                    AND meeting_id = $3 AND internal_id <> ALL ($6))",
            vec![tenant, sub_id, id, instance, number, Box::new(over)],
        ),
        Some(internal_id) => Query::new(
            "DELETE FROM claims WHERE tenant = $1 AND sub_id = $2 AND meeting_id = $3
                AND instance = $4 AND number = $5
                AND EXISTS (SELECT 1 FROM meetings WHERE tenant = $1 AND internal_id = $7
                    AND internal_id <> ALL ($6))",
            vec![tenant, sub_id, id, instance, number, Box::new(over), text(internal_id)],
        ),
    };
    vec![left_behind.telling_if(is_inherited), taken.telling_if(is_ours), undone.unless(is_ours)]
}

fn release(claim: &Claim) -> Query {
    Query::new(
        "DELETE FROM claims WHERE tenant = $1 AND sub_id = $2 AND meeting_id = $3
            AND instance = $4 AND number = $5",
        names(claim).into(),
    )
}

fn renew(instance: &InstanceId, numbers: &[u64]) -> Vec<Query> {
    let numbers: Vec<i64> = numbers.iter().copied().map(signed).collect();
    vec![
        Query::new(
            "UPDATE claims SET expires_at = clock_timestamp() + make_interval(secs => $3)
                WHERE instance = $1 AND number = ANY ($2)",
            vec![word(instance.as_str()), Box::new(numbers), Box::new(LEASE.as_secs_f64())],
        ),
        Query::new(
            "DELETE FROM claims WHERE (tenant, sub_id, meeting_id) IN (
                SELECT tenant, sub_id, meeting_id FROM claims
                    WHERE expires_at < clock_timestamp() - interval '1 minute'
                    FOR UPDATE SKIP LOCKED)
                AND expires_at < clock_timestamp() - interval '1 minute'",
            Vec::new(),
        ),
    ]
}

/// Saves a meeting unless there is another one that is not `over`.
fn put_meeting_unless(meeting: &Meeting, over: Vec<String>) -> Query {
    let Query { mut params, .. } = put_meeting(meeting);
    params.push(Box::new(over));
    Query::new(
        "INSERT INTO meetings AS present (tenant, sub_id, meeting_id, node, node_meeting_id,
                internal_id, created_at_ms, parent_internal_id, xml, expected_thousandths, peak)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            ON CONFLICT (tenant, sub_id, meeting_id) DO UPDATE SET node = excluded.node,
                node_meeting_id = excluded.node_meeting_id, internal_id = excluded.internal_id,
                created_at_ms = excluded.created_at_ms,
                parent_internal_id = excluded.parent_internal_id, xml = excluded.xml,
                expected_thousandths = excluded.expected_thousandths, peak = excluded.peak
                WHERE present.internal_id = excluded.internal_id
                    OR present.internal_id = ANY ($12)",
        params,
    )
}

/// Keeps a webhook unless there is one of its number or for its URL.
fn add_hook(hook: &Hook) -> Query {
    let Query { params, .. } = put_hook(hook);
    Query::new(
        "INSERT INTO hooks (id, tenant, sub_id, token, callback_url, meeting_id, events, raw,
                created_at_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        params,
    )
}

fn names(claim: &Claim) -> [Param; 5] {
    let [tenant, sub_id] = scope(&claim.key.scope);
    [tenant, sub_id, text(&claim.key.id), word(claim.instance.as_str()), number(claim.number)]
}

fn over(claim: &Claim) -> Vec<String> {
    claim.over.iter().map(|id| to_column(id).into_owned()).collect()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Reader {
    /// The meetings of tenants with these ids, by any of their names, each once.
    pub(super) async fn find(&self, wanted: &[(Slug, String)]) -> Result<Vec<Meeting>, Error> {
        let tenants: Vec<&str> = wanted.iter().map(|(tenant, _)| tenant.as_str()).collect();
        let ids: Vec<_> = wanted.iter().map(|(_, id)| to_column(id).into_owned()).collect();
        // A part for each index.
        let sql = ["meeting_id", "internal_id", "node_meeting_id"]
            .map(|name| {
                format!(
                    "{MEETINGS} JOIN unnest($1::text[], $2::text[]) AS wanted (whose, name)
                        ON meetings.{name} = wanted.name AND meetings.tenant = wanted.whose"
                )
            })
            .join(" UNION ALL ");
        let found = self.rows(&sql, &[&tenants, &ids]).await?;
        // As at the start, the others count.
        let mut meetings: Vec<Meeting> = Vec::new();
        let mut known = std::collections::HashSet::new();
        for meeting in found.iter().filter_map(|row| rows::meeting(row).ok()) {
            if known.insert(meeting.key.clone()) {
                meetings.push(meeting);
            }
        }
        Ok(meetings)
    }

    async fn at(&self, key: &MeetingKey) -> Result<Option<Meeting>, Error> {
        let sql = format!("{MEETINGS} WHERE tenant = $1 AND sub_id = $2 AND meeting_id = $3");
        let [tenant, sub_id] = scope(&key.scope);
        let found = self.rows(&sql, &[&*tenant, &*sub_id, &to_column(&key.id)]).await?;
        Ok(self.read_all(&found, rows::meeting)?.pop())
    }

    async fn running(&self, claim: &Claim) -> Result<Option<Meeting>, Error> {
        let Some(internal_id) = &claim.internal_id else { return self.at(&claim.key).await };
        let sql = format!(
            "{MEETINGS} WHERE tenant = $1 AND internal_id = $2
            ORDER BY sub_id, meeting_id LIMIT 1"
        );
        let tenant = claim.key.scope.tenant.as_str();
        let found = self.rows(&sql, &[&tenant, &to_column(internal_id)]).await?;
        Ok(self.read_all(&found, rows::meeting)?.pop())
    }

    async fn standings(&self, keys: &[MeetingKey]) -> Result<Vec<Standing>, Error> {
        let tenants: Vec<&str> = keys.iter().map(|key| key.scope.tenant.as_str()).collect();
        let subs: Vec<i32> = keys.iter().map(|key| i32::from(key.scope.sub.get())).collect();
        let ids: Vec<_> = keys.iter().map(|key| to_column(&key.id).into_owned()).collect();
        let wanted = "unnest($1::text[], $2::integer[], $3::text[]) WITH ORDINALITY
            AS wanted (tenant, sub_id, meeting_id, place)";
        // Claims first: one that is gone by then has left its meeting.
        let claimed = format!(
            "SELECT place FROM {wanted} JOIN claims USING (tenant, sub_id, meeting_id)
                WHERE expires_at > clock_timestamp()"
        );
        let claimed = self.rows(&claimed, &[&tenants, &subs, &ids]).await?;
        let place = |row: &tokio_postgres::Row| row.try_get::<_, i64>(0);
        let claimed: Result<Vec<i64>, _> = claimed.iter().map(place).collect();
        let claimed = claimed.map_err(|error| self.trouble(&error))?;
        let saved = format!("{MEETINGS} JOIN {wanted} USING (tenant, sub_id, meeting_id)");
        let saved = self.rows(&saved, &[&tenants, &subs, &ids]).await?;
        let saved: Vec<Meeting> = saved.iter().filter_map(|row| rows::meeting(row).ok()).collect();
        let standing = |(place, key): (i64, &MeetingKey)| Standing {
            key: key.clone(),
            is_claimed: claimed.contains(&place),
            meeting: saved.iter().find(|meeting| meeting.key == *key).cloned(),
        };
        Ok((1..).zip(keys).map(standing).collect())
    }
}

impl Postgres {
    async fn save(&self, meeting: &Meeting, claim: Option<&Claim>) -> Result<Saving, Error> {
        for _ in 0..LOOKS {
            let is_kept = Flag::default();
            let claim = claim.cloned().map(Box::new);
            let saver = Saver { meeting: meeting.clone().into(), claim, is_kept: is_kept.clone() };
            self.write(Op::Arbitrate(Arbitrate::Save(saver))).await?;
            if is_kept.get() {
                return Ok(Saving::Kept);
            }
            if let Some(other) = self.reader().await?.at(&meeting.key).await? {
                return Ok(Saving::Other(other.into()));
            }
        }
        Err(self.slow())
    }

    /// What is asked for comes and goes too fast.
    fn slow(&self) -> Error {
        Trouble::Slow { place: Arc::clone(&self.target.place) }.into()
    }
}

#[async_trait]
impl Arbiter for Postgres {
    fn is_shared(&self) -> bool {
        true
    }

    async fn claim_meeting(&self, claim: &Claim) -> Result<Claiming, Error> {
        let (is_ours, is_inherited) = (Flag::default(), Flag::default());
        let told = Arbitrate::Claim {
            claim: claim.clone().into(),
            is_ours: is_ours.clone(),
            is_inherited: is_inherited.clone(),
        };
        self.write(Op::Arbitrate(told)).await?;
        if is_ours.get() {
            return Ok(if is_inherited.get() { Claiming::Inherited } else { Claiming::Ours });
        }
        let running = self.reader().await?.running(claim).await?;
        let running = running.filter(|meeting| !claim.over.contains(&meeting.internal_id));
        Ok(running.map_or(Claiming::Theirs, |meeting| Claiming::Runs(meeting.into())))
    }

    async fn release_claim(&self, claim: &Claim) -> Result<(), Error> {
        self.write(Op::Arbitrate(Arbitrate::Release(claim.clone().into()))).await
    }

    async fn renew_claims(&self, instance: &InstanceId, numbers: &[u64]) -> Result<(), Error> {
        let (instance, numbers) = (instance.clone(), numbers.to_vec());
        self.write(Op::Arbitrate(Arbitrate::Renew { instance, numbers })).await
    }

    async fn find_claims(&self, keys: &[MeetingKey]) -> Result<Vec<Standing>, Error> {
        self.reader().await?.standings(keys).await
    }

    async fn put_created(&self, meeting: &Meeting, claim: &Claim) -> Result<Saving, Error> {
        self.save(meeting, Some(claim)).await
    }

    async fn put_found(&self, meeting: &Meeting) -> Result<Saving, Error> {
        self.save(meeting, None).await
    }

    async fn add_hook(&self, hook: &Hook) -> Result<Adding, Error> {
        for _ in 0..LOOKS {
            let is_kept = Flag::default();
            let add = Arbitrate::AddHook { hook: hook.clone().into(), is_kept: is_kept.clone() };
            self.write(Op::Arbitrate(add)).await?;
            if is_kept.get() {
                return Ok(Adding::Kept);
            }
            if let Some(instead) = Adding::instead(hook, self.find_hooks(None).await?) {
                return Ok(instead);
            }
        }
        Err(self.slow())
    }

    async fn find_hooks(&self, tenant: Option<&Slug>) -> Result<Vec<Hook>, Error> {
        let found = self.reader().await?.rows(rows::HOOKS, &[]).await?;
        let hooks = found.iter().filter_map(|row| rows::hook(row).ok());
        let is_meant = |hook: &Hook| tenant.is_none_or(|tenant| hook.scope.tenant == *tenant);
        Ok(hooks.filter(is_meant).collect())
    }
}
