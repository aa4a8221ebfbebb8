//! The nodes behind Portico: all of them in one process, answering `getMeetings`, `getMeetingInfo` and
//! `getRecordings` from memory without looking at the checksum. The simulated node of `portico::sim` is faithful, which
//! costs more CPU than what is measured; this one costs as little as it can.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use futures::future::try_join_all;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::requests::{SLUG, room};

/// When all meetings were created.
pub(crate) const CREATED_MS: u64 = 1_715_261_728_123;
/// Of each node.
const RECORDINGS: u64 = 500;
const LIST_HEAD: &str = "<response><returncode>SUCCESS</returncode><meetings>";
const LIST_TAIL: &str = "</meetings></response>";
const INFO_HEAD: &[u8] = b"<response><returncode>SUCCESS</returncode>";
const INFO_TAIL: &[u8] = b"</response>";

/// Serves `count` nodes, each on an address that is printed as a line, until the process is killed.
pub(crate) fn serve(count: usize, meetings: usize, attendees: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut nodes = Vec::new();
        for node in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
            nodes.push((listener, Arc::new(Node::new(node * meetings, meetings, attendees))));
        }
        try_join_all(nodes.into_iter().map(|(listener, node)| accept(listener, node))).await?;
        Ok(())
    })
}

/// The meetings of one node.
struct Node {
    /// The number of the first one.
    first: usize,
    /// The answer to `getMeetings`.
    list: String,
    /// Where in it the children of each meeting are.
    children: Vec<Range<usize>>,
    /// The answer to `getRecordings`, written when it is first asked for.
    recordings: OnceLock<String>,
}

impl Node {
    fn new(first: usize, meetings: usize, attendees: usize) -> Self {
        let mut list = LIST_HEAD.to_owned();
        let mut children = Vec::new();
        for number in first..first + meetings {
            list.push_str("<meeting>");
            let start = list.len();
            // Every tenth waits for its first participant.
            let attendees = if number.is_multiple_of(10) { 0 } else { attendees };
            write_meeting(&mut list, number, attendees).expect("a String takes everything");
            children.push(start..list.len());
            list.push_str("</meeting>");
        }
        list.push_str(LIST_TAIL);
        Self { first, list, children, recordings: OnceLock::new() }
    }

    /// Writes a whole response to the request at the beginning of `head`.
    fn answer(&self, head: &[u8], out: &mut Vec<u8>) {
        out.clear();
        let info = find(head, b"/getMeetingInfo?").and_then(|_| self.info(head));
        if let Some(info) = info {
            write_head(out, INFO_HEAD.len() + info.len() + INFO_TAIL.len());
            out.extend([INFO_HEAD, info, INFO_TAIL].concat());
        } else if let Some(created) = find(head, b"/create?").and_then(|_| created(head)) {
            write_head(out, created.len());
            out.extend(created.as_bytes());
        } else if find(head, b"/getRecordings?").is_some() {
            let list = self.recordings.get_or_init(|| recordings(self.first));
            write_head(out, list.len());
            out.extend(list.as_bytes());
        } else {
            write_head(out, self.list.len());
            out.extend(self.list.as_bytes());
        }
    }

    /// The children of the meeting that a request asks for.
    fn info(&self, head: &[u8]) -> Option<&[u8]> {
        let at = find(head, b"meetingID=room-")? + b"meetingID=room-".len();
        let digits = head[at..].iter().take_while(|byte| byte.is_ascii_digit());
        let number = digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
        let children = self.children.get(number.checked_sub(self.first)?)?;
        self.list.as_bytes().get(children.clone())
    }
}

/// A new meeting, which no list shows.
fn created(head: &[u8]) -> Option<String> {
    let at = find(head, b"&meetingID=").or_else(|| find(head, b"?meetingID="))? + 11;
    let id: Vec<u8> = head[at..].iter().copied().take_while(|byte| !b"& ".contains(byte)).collect();
    let id = String::from_utf8(id).ok()?.replace("%40", "@");
    let digest = hex::encode(Sha1::digest(&id));
    Some(format!(
        "<response><returncode>SUCCESS</returncode><meetingID>{id}</meetingID>\
         <internalMeetingID>{digest}-{CREATED_MS}</internalMeetingID>\
         <parentMeetingID>bbb-none</parentMeetingID><attendeePW>kWn3Jm0v</attendeePW>\
         <moderatorPW>pZ81xQyd</moderatorPW><createTime>{CREATED_MS}</createTime>\
         <voiceBridge>66052</voiceBridge><dialNumber>613-555-1234</dialNumber>\
         <createDate>Thu May 09 13:35:28 UTC 2024</createDate><hasUserJoined>false</hasUserJoined>\
         <duration>0</duration><hasBeenForciblyEnded>false</hasBeenForciblyEnded>\
         <messageKey></messageKey><message></message></response>"
    ))
}

fn write_head(out: &mut Vec<u8>, length: usize) {
    let head = "HTTP/1.1 200 \r\nContent-Type: text/xml;charset=utf-8\r\nContent-Length: ";
    out.extend(head.as_bytes());
    out.extend(length.to_string().as_bytes());
    out.extend(b"\r\nDate: Thu, 09 May 2024 13:35:28 GMT\r\nServer: nginx\r\n\r\n");
}

async fn accept(listener: TcpListener, node: Arc<Node>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("accepting")?;
        stream.set_nodelay(true)?;
        let node = node.clone();
        // It ends with its connection, whose end is nobody's fault here.
        tokio::spawn(async move { converse(stream, &node).await.ok() });
    }
}

async fn converse(mut stream: TcpStream, node: &Node) -> anyhow::Result<()> {
    let (mut head, mut out) = (Vec::new(), Vec::new());
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if head.ends_with(b"\r\n\r\n") {
            node.answer(&head, &mut out);
            stream.write_all(&out).await?;
            head.clear();
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A node's recordings of its first meeting, as a node with BigBlueButton 3.0 lists them, with previews.
fn recordings(meeting: usize) -> String {
    let mut list = "<response><returncode>SUCCESS</returncode><recordings>".to_owned();
    let id = format!("{}@{SLUG}", room(meeting));
    let digest = hex::encode(Sha1::digest(&id));
    for number in 0..RECORDINGS {
        let start = CREATED_MS + number * 3_600_000;
        let record_id = format!("{digest}-{start}");
        write_recording(&mut list, &id, &record_id, start).expect("a String takes everything");
    }
    list.push_str("</recordings></response>");
    list
}

fn write_recording(out: &mut String, id: &str, record_id: &str, start: u64) -> std::fmt::Result {
    let end = start + 2_700_000;
    write!(
        out,
        "<recording><recordID>{record_id}</recordID><meetingID>{id}</meetingID>\
         <internalMeetingID>{record_id}</internalMeetingID><name>Algebra, group 3</name>\
         <isBreakout>false</isBreakout><published>true</published><state>published</state>\
         <startTime>{start}</startTime><endTime>{end}</endTime><participants>24</participants>\
         <rawSize>951067432</rawSize><size>110483612</size><metadata><isBreakout>false</isBreakout>\
         <meetingName>Algebra, group 3</meetingName><bbb-origin>Moodle</bbb-origin>\
         <bbb-context>Algebra for beginners</bbb-context><meetingId>{id}</meetingId></metadata>\
         <playback><format><type>presentation</type>\
         <url>https://bbb.example.org/playback/presentation/2.3/{record_id}</url>\
         <processingTime>7177</processingTime><length>45</length><size>10437190</size>\
         <preview><images>"
    )?;
    for number in 1..=3 {
        write!(
            out,
            "<image alt=\"Algebra, page {number}\" height=\"136\" width=\"176\">\
             https://bbb.example.org/presentation/{record_id}/presentation/d2d9a672040fbde2/thumbnails/thumb-{number}.png</image>"
        )?;
    }
    out.write_str("</images></preview></format></playback></recording>")
}

/// The children of a `<meeting>`, as a node with BigBlueButton 3.0 writes them.
fn write_meeting(out: &mut String, number: usize, attendees: usize) -> std::fmt::Result {
    let id = format!("{}@{SLUG}", room(number));
    let digest = hex::encode(Sha1::digest(&id));
    write!(
        out,
        "<meetingName>Algebra {number}, group 3</meetingName><meetingID>{id}</meetingID>\
         <internalMeetingID>{digest}-{CREATED_MS}</internalMeetingID>\
         <createTime>{CREATED_MS}</createTime>\
         <createDate>Thu May 09 13:35:28 UTC 2024</createDate><voiceBridge>66052</voiceBridge>\
         <dialNumber>613-555-1234</dialNumber><attendeePW>kWn3Jm0v</attendeePW>\
         <moderatorPW>pZ81xQyd</moderatorPW><running>true</running><duration>0</duration>\
         <hasUserJoined>true</hasUserJoined><recording>true</recording>\
         <hasBeenForciblyEnded>false</hasBeenForciblyEnded><startTime>{CREATED_MS}</startTime>\
         <endTime>0</endTime><participantCount>{attendees}</participantCount>\
         <listenerCount>0</listenerCount><voiceParticipantCount>{attendees}</voiceParticipantCount>\
         <videoCount>1</videoCount><maxUsers>0</maxUsers><moderatorCount>1</moderatorCount>\
         <attendees>"
    )?;
    for attendee in 0..attendees {
        let role = if attendee == 0 { "MODERATOR" } else { "VIEWER" };
        write!(
            out,
            "<attendee><userID>w_{number:08}{attendee:04}</userID>\
             <fullName>Student Number {attendee}</fullName><role>{role}</role>\
             <isPresenter>{}</isPresenter><isListeningOnly>false</isListeningOnly>\
             <hasJoinedVoice>true</hasJoinedVoice><hasVideo>false</hasVideo>\
             <clientType>HTML5</clientType></attendee>",
            attendee == 0
        )?;
    }
    write!(
        out,
        "</attendees><metadata><bbb-origin>Moodle</bbb-origin>\
         <bbb-origin-server-name>moodle.example.org</bbb-origin-server-name>\
         <bbb-context>Algebra for beginners</bbb-context>\
         <endcallbackurl>https://moodle.example.org/mod/bigbluebuttonbn/bbb_broker.php</endcallbackurl>\
         </metadata><isBreakout>false</isBreakout>"
    )
}
