//! What keeping meetings costs: a start with very many of them, and a create's writes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::{join, try_join_all};
use portico::model::{
    Callback, CallbackKind, CallbackToken, Extent, InstanceId, Meeting, MeetingKey, NodeName,
    Scope, Secret,
};
use portico::store::{Claim, Claiming, Embedded, Older, Postgres, Saving, Store};
use sha1::{Digest, Sha1};
use tokio::time::Instant;

use crate::nodes::CREATED_MS;
use crate::pool::{Plan, Size, node_name};
use crate::postgres::Postgres as Server;
use crate::requests::{SLUG, room};
use crate::table::{Row, Table, note};

/// As after a crash in the middle of the largest day.
const SIZE: Size = Size { nodes: 100, meetings_per_node: 1_000, attendees_per_meeting: 0 };
const POLLING: &str = "{ interval: 5s, timeout: 60s }";
/// Meetings that are written at the same time when a store is filled.
const AT_ONCE: usize = 2_000;
/// Creates that are measured, and how many of them are under way at the same time.
const CREATES: usize = 3_000;
const UNDER_WAY: [usize; 2] = [1, 16];

/// A store of one kind, with what it needs.
struct Kind {
    name: &'static str,
    server: Option<(Arc<Server>, String)>,
}

impl Kind {
    fn all() -> [Self; 2] {
        let server = Arc::new(Server::start_as(true));
        let database = server.create_database();
        [
            Self { name: "embedded", server: None },
            Self { name: "postgres", server: Some((server, database)) },
        ]
    }

    fn url(&self) -> Option<String> {
        self.server.as_ref().map(|(server, database)| server.url(database))
    }

    async fn open(&self, dir: &std::path::Path) -> anyhow::Result<Arc<dyn Store>> {
        Ok(match self.url() {
            None => Arc::new(Embedded::open(dir)?),
            Some(url) => Arc::new(Postgres::open(&Secret::new(url), Older::Migrate).await?),
        })
    }
}

/// How soon an instance is ready that finds 100,000 meetings in its store.
pub(crate) async fn cold_start(table: &mut Table) -> anyhow::Result<()> {
    for kind in Kind::all() {
        note(&format!("a start with {} meetings in the store: {}", SIZE.meetings(), kind.name));
        let mut plan = Plan::new(SIZE, POLLING)?;
        fill(kind.open(plan.dir.path()).await?.as_ref()).await?;
        if let Some(url) = kind.url() {
            plan.settings = format!("store: {{ kind: postgres, url: '{url}' }}\n");
        }
        let pool = plan.start().await?;
        table.push(Row::told(
            format!(
                "start with {} meetings in the store ({}): ready after",
                SIZE.meetings(),
                kind.name
            ),
            format!("{:.2} s", pool.ready_after.as_secs_f64()),
            String::new(),
        ));
    }
    Ok(())
}

async fn fill(store: &dyn Store) -> anyhow::Result<()> {
    let numbers: Vec<usize> = (0..SIZE.meetings()).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        let meetings =
            numbers.iter().map(|number| meeting(*number)).collect::<Result<Vec<_>, _>>()?;
        try_join_all(meetings.iter().map(|meeting| store.put_meeting(meeting))).await?;
    }
    Ok(())
}

/// A meeting as the nodes of the benchmark run it.
fn meeting(number: usize) -> anyhow::Result<Meeting> {
    let scope = Scope::parse(SLUG).context("a scope")?;
    let node_meeting_id = format!("{}@{SLUG}", room(number));
    Ok(Meeting {
        node: NodeName::new(node_name(number / SIZE.meetings_per_node)),
        internal_id: format!("{}-{CREATED_MS}", hex::encode(Sha1::digest(&node_meeting_id))),
        key: MeetingKey { scope, id: room(number) },
        node_meeting_id,
        created_at_ms: CREATED_MS,
        parent_internal_id: None,
        extent: Extent::default(),
        xml: format!("<meeting><meetingID>{}</meetingID></meeting>", room(number))
            .into_bytes()
            .into(),
    })
}

/// What the store adds to the create of a new meeting, in the order in which it is asked: before the node,
/// and after it.
pub(crate) async fn creates(table: &mut Table) -> anyhow::Result<()> {
    for kind in Kind::all() {
        let dir = tempfile::tempdir()?;
        let store = kind.open(dir.path()).await?;
        for (round, under_way) in UNDER_WAY.into_iter().enumerate() {
            note(&format!("the store's part in a create: {}, {under_way} at a time", kind.name));
            let times = many_creates(&store, under_way, round * CREATES).await?;
            for percent in [50, 99] {
                let micros = times[(times.len() - 1) * percent / 100].as_micros();
                table.push(Row::told(
                    format!(
                        "create, {under_way} at a time: store time added ({}) p{percent}",
                        kind.name
                    ),
                    format!("{micros} µs"),
                    String::new(),
                ));
            }
        }
    }
    Ok(())
}

/// How long the store has taken for each, the quickest first.
async fn many_creates(
    store: &Arc<dyn Store>,
    under_way: usize,
    first: usize,
) -> anyhow::Result<Vec<Duration>> {
    let instance = InstanceId::named("bench");
    let workers = (0..under_way).map(|worker| {
        let (store, instance) = (store.clone(), instance.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            for number in (worker..CREATES).step_by(under_way) {
                times.push(one_create(store.as_ref(), &instance, first + number).await?);
            }
            anyhow::Ok(times)
        })
    });
    let mut times = Vec::new();
    for worker in try_join_all(workers).await? {
        times.extend(worker?);
    }
    times.sort_unstable();
    Ok(times)
}

/// As `create` does it: before the node is asked, and after it has answered.
async fn one_create(
    store: &dyn Store,
    instance: &InstanceId,
    number: usize,
) -> anyhow::Result<Duration> {
    let meeting = meeting(number)?;
    let tokens = [(); 2].map(|()| CallbackToken::new(rand::random()));
    let callbacks: Vec<_> = [
        (CallbackKind::End, Some("https://moodle.example.org/end")),
        (CallbackKind::MeetingEnded, None),
    ]
    .into_iter()
    .zip(&tokens)
    .map(|((kind, target), token)| Callback {
        token: token.clone(),
        kind,
        key: meeting.key.clone(),
        node: meeting.node.clone(),
        node_meeting_id: meeting.node_meeting_id.clone(),
        internal_id: None,
        target: target.map(str::to_owned),
        created_at_ms: CREATED_MS,
    })
    .collect();
    let claim = Claim {
        key: meeting.key.clone(),
        internal_id: None,
        over: Vec::new(),
        instance: instance.clone(),
        number: u64::try_from(number)?,
    };
    let begun = Instant::now();
    let put = store.put_callbacks(&callbacks);
    if store.is_shared() {
        let (claimed, put) = join(store.claim_meeting(&claim), put).await;
        ensure!(matches!(claimed?, Claiming::Ours), "somebody else has the claim");
        put?;
    } else {
        // Nobody else creates meetings, so nobody is asked.
        put.await?;
    }
    let bind = store.bind_callbacks(&tokens, &meeting.internal_id);
    if store.is_shared() {
        let (saved, bound) = join(store.put_created(&meeting, &claim), bind).await;
        ensure!(matches!(saved?, Saving::Kept), "somebody else has the meeting");
        bound?;
    } else {
        let (saved, bound) = join(store.put_meeting(&meeting), bind).await;
        saved?;
        bound?;
    }
    Ok(begun.elapsed())
}
