//! One of the two who are asked: a node, or a pool with one node as the part of a tenant that a cell has for itself.

use bytes::Bytes;
use http::Method;
use portico::bbb::Call;
use portico::sim::{Node, Settings};

use super::{About, Body, Row, Way};
use crate::calls::at;
use crate::harness::{Client, Pool, Reply, eventually, sorted};

const SLIDES: &str = "<modules><module name=\"presentation\"><document url=\"https://x.test/y.pdf\" \
    filename=\"report.pdf\"/></module></modules>";
const TRACK: &str = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.vtt\"\r\n\r\n\
    WEBVTT\n\r\n--x--\r\n";
const XML: (&str, &str) = ("content-type", "application/xml");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const PARTS: (&str, &str) = ("content-type", "multipart/form-data; boundary=x");

pub(super) struct Side<'p> {
    pub(super) client: Client,
    node: Behind<'p>,
    /// What stands behind a meeting's id on the node.
    pub(super) scope: String,
}

/// The node that does the work.
enum Behind<'p> {
    Own(Node),
    Pools(&'p Node),
}

/// What a side has for a cell.
pub(super) struct Prepared {
    room: String,
    /// What `{id}` stands for where it is known.
    id: String,
    /// And where it is not.
    pub(super) unknown: String,
    internal_id: String,
    cookie: String,
    pub(super) record_id: String,
    pub(super) token: String,
}

impl Side<'static> {
    /// A node that is asked directly.
    pub(super) async fn node() -> Self {
        let node = Node::start(Settings::default()).await.expect("a node");
        Self { client: at(&node), node: Behind::Own(node), scope: String::new() }
    }
}

impl<'p> Side<'p> {
    /// A pool.
    pub(super) fn pool(pool: &'p Pool, scope: &str) -> Self {
        let node = Behind::Pools(pool.node(0));
        Self { client: pool.tenant(scope), node, scope: format!("@{scope}") }
    }

    pub(super) fn sim(&self) -> &Node {
        match &self.node {
            Behind::Own(node) => node,
            Behind::Pools(node) => node,
        }
    }

    /// Makes what the row is about, and whatever else there could be.
    pub(super) async fn prepare(&self, room: &str, row: &Row) -> Prepared {
        let (record_id, mut prepared) = (self.record(room).await, Prepared::of(room));
        prepared.record_id = record_id;
        if row.about != About::NewMeeting {
            self.meet(room, &mut prepared).await;
        }
        (prepared.id, prepared.unknown) = match row.about {
            About::NewMeeting => (room.to_owned(), format!("{room}-unknown")),
            About::Meeting => (room.to_owned(), "nowhere".to_owned()),
            About::Recording => (prepared.record_id.clone(), format!("{}-1", "0".repeat(40))),
            About::Hook => (self.hook(room).await, "4711".to_owned()),
            About::Session => (prepared.token.clone(), "unknown".to_owned()),
        };
        if row.call == Call::GetMeetings && row.about == About::Meeting {
            eventually("the list has what a poll has shown", async || {
                let list = self.client.get("getMeetings", "").await;
                list.body.contains("<participantCount>1</participantCount>")
            })
            .await;
        }
        prepared
    }

    /// A meeting and somebody in it.
    async fn meet(&self, room: &str, prepared: &mut Prepared) {
        let query = format!(
            "name=Algebra&meetingID={room}&attendeePW=ap&moderatorPW=mp&record=true&meta_origin=a%26b"
        );
        let created = self.client.get("create", &query).await.success();
        prepared.internal_id = created.text("internalMeetingID");
        let query = format!(
            "meetingID={room}&fullName=Ada&userID=ada&role=MODERATOR&redirect=false&userdata-k=v"
        );
        let joined = self.client.get("join", &query).await.success();
        prepared.token = joined.text("session_token");
        let cookie = joined.header("set-cookie").split(';').next().expect("a cookie");
        cookie.clone_into(&mut prepared.cookie);
    }

    /// A recording of an older meeting with that id, and a text track of it.
    async fn record(&self, room: &str) -> String {
        let meeting_id = format!("{room}{}", self.scope);
        let record_id = self.sim().add_recordings(&meeting_id, 1).swap_remove(0);
        let query = format!("recordID={record_id}&kind=captions&lang=fr");
        let node = at(self.sim());
        let target = node.target("putRecordingTextTrack", &query);
        let added = node.send(Method::POST, &target, &[PARTS], TRACK).await;
        assert!(added.body.contains("upload_text_track_success"), "{}", added.body);
        record_id
    }

    async fn hook(&self, room: &str) -> String {
        let query = format!(
            "callbackURL=https%3A%2F%2Ffront.test%2Fof%2F{room}&eventID=rap-deleted&meetingID={room}"
        );
        self.client.get("hooks/create", &query).await.success().text("hookID")
    }

    /// The ids by which another tenant's might be reached.
    pub(super) async fn foreign(pool: &'p Pool, room: &str, row: &Row) -> Vec<String> {
        let other = Side { scope: "@other".to_owned(), ..Side::pool(pool, "other") };
        let room = format!("{room}-foreign");
        let mut prepared = Prepared::of(&room);
        other.meet(&room, &mut prepared).await;
        let (record_id, hook_id) = (other.record(&room).await, other.hook(&room).await);
        match row.about {
            About::NewMeeting | About::Meeting => {
                let on_node = format!("{room}@other");
                vec![room, on_node, prepared.internal_id]
            }
            About::Recording => vec![record_id],
            About::Hook => vec![hook_id],
            About::Session => vec![prepared.token],
        }
    }

    /// Makes the call; `unknown` is what it is about where that is nothing known.
    pub(super) async fn ask(&self, row: &Row, way: Way, of: &Prepared, unknown: &str) -> Reply {
        let is_known = !matches!(way, Way::Unknown | Way::Foreign);
        let id = if is_known { &of.id } else { unknown };
        let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
        let query = row.query.replace("{id}", &id).replace("{room}", &of.room);
        let query = match way {
            Way::Without(name) => without(&query, name),
            _ => query,
        };
        let cookie = [("cookie", of.cookie.as_str())];
        let headers = if row.call.is_signed() { &[] } else { &cookie[..] };
        let wrong = self.client.secret("the secret of nobody at all");
        let client = if way == Way::WrongChecksum { &wrong } else { &self.client };
        let call = row.call.as_str();
        let base = &client.base;
        let is_plain = !row.call.is_signed() && way != Way::WrongChecksum;
        let target =
            if is_plain { format!("{base}/{call}?{query}") } else { client.target(call, &query) };
        if way == Way::Form {
            let headers = [headers, &[FORM]].concat();
            let form = if is_plain { query } else { signed_form(client, row.call, &query) };
            return client.send(Method::POST, &format!("{base}/{call}"), &headers, form).await;
        }
        let (kind, body) = match row.body {
            _ if way == Way::Get => (None, ""),
            Body::None => (None, ""),
            Body::Xml => (Some(XML), SLIDES),
            Body::File => (Some(PARTS), TRACK),
        };
        let method = if kind.is_some() { Method::POST } else { Method::GET };
        let headers = [headers, kind.as_slice()].concat();
        client.send(method, &target, &headers, Bytes::from_static(body.as_bytes())).await
    }

    /// What is where the answer sends a browser, if that is the API of the node.
    pub(super) async fn follow(&self, answer: &Reply) -> Option<Reply> {
        let node = at(self.sim());
        let target = answer.header("location").strip_prefix(&format!("http://{}", node.host))?;
        if !target.starts_with(&node.base) {
            return None;
        }
        Some(node.send(Method::GET, target, &[], "").await)
    }
}

impl Prepared {
    fn of(room: &str) -> Self {
        let nothing = String::new;
        Self {
            room: room.to_owned(),
            id: nothing(),
            unknown: nothing(),
            internal_id: nothing(),
            cookie: nothing(),
            record_id: nothing(),
            token: nothing(),
        }
    }
}

/// With its checksum in it. A form of a join must be signed as before 3.0: over all that it says.
fn signed_form(client: &Client, call: Call, query: &str) -> String {
    let covered = if call == Call::Join { sorted(query) } else { String::new() };
    format!("{query}&checksum={}", client.checksum(call.as_str(), &covered))
}

fn without(query: &str, name: &str) -> String {
    let is_left = |pair: &&str| pair.split('=').next() != Some(name);
    let left: Vec<_> = query.split('&').filter(is_left).collect();
    assert!(left.len() < query.split('&').count(), "{name} is not in {query}");
    left.join("&")
}
