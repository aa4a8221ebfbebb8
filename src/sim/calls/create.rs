//! `create`: idempotent by id and passwords, and nothing else.

use http::StatusCode;
use tokio::time::Instant;
use url::Url;

use crate::bbb::{Element, Failure};
use crate::sim::meeting::{Breakout, Meeting};
use crate::sim::reply::{self, Reply};
use crate::sim::request::Request;
use crate::sim::world::{World, random_word, sha1_hex};
use crate::sim::xml::{Xml, is_name};
use crate::sim::{Shared, now_ms};

const DUPLICATE: (&str, &str) = (
    "duplicateWarning",
    "This conference was already in existence and may currently be in progress.",
);

/// Attempts to find a voice bridge that is free among the 90,000 of five digits.
const VOICE_BRIDGE_ATTEMPTS: usize = 100;

pub(super) fn create(node: &Shared, request: &Request) -> Result<Reply, Failure> {
    let wanted = Wanted::check(request)?;
    let Ok(documents) = documents(request) else {
        // The node's parser throws, and nobody catches it.
        return Ok(reply::status(StatusCode::INTERNAL_SERVER_ERROR));
    };
    let mut world = node.world.lock();
    if let Some(existing) = world.find_created(&wanted.id, wanted.is_breakout) {
        return if wanted.agrees_with(existing) {
            Ok(created(existing, DUPLICATE))
        } else {
            Err(Failure::ID_NOT_UNIQUE)
        };
    }
    let parent = if wanted.is_breakout { Some(parent(&world, request)?) } else { None };
    let Some(voice_bridge) = voice_bridge(&world, request) else { return Ok(voice_bridge_clash()) };
    let meeting = wanted.into_meeting(&world, request, parent, voice_bridge, documents);
    let answer = created(&meeting, ("", ""));
    node.hooks.meeting_created(&meeting, &node.callbacks);
    world.insert(meeting);
    Ok(answer)
}

/// The checked parameters that decide between a new meeting, a known one, and a refusal.
struct Wanted {
    id: String,
    name: String,
    attendee_pw: Option<String>,
    moderator_pw: Option<String>,
    is_breakout: bool,
}

impl Wanted {
    fn check(request: &Request) -> Result<Self, Failure> {
        let id = request.meeting_id()?;
        let name = request.text("name").ok_or(Failure::MISSING_MEETING_NAME)?;
        if !(2..=256).contains(&name.chars().count()) {
            return Err(Failure::MEETING_NAME_LENGTH);
        }
        request.check_digits("voiceBridge", Failure::INVALID_VOICE_BRIDGE)?;
        request.check_flag("record", Failure::INVALID_RECORD)?;
        request.check_flag("isBreakout", Failure::INVALID_IS_BREAKOUT)?;
        if request
            .text("presentationUploadExternalUrl")
            .is_some_and(|url| Url::parse(&url).is_err())
        {
            return Err(Failure::INVALID_PRESENTATION_URL);
        }
        Ok(Self {
            id,
            name,
            attendee_pw: request.password("attendeePW")?,
            moderator_pw: request.password("moderatorPW")?,
            is_breakout: request.flag("isBreakout").unwrap_or(false),
        })
    }

    /// Both passwords given and right, or none given at all.
    fn agrees_with(&self, meeting: &Meeting) -> bool {
        match (&self.attendee_pw, &self.moderator_pw) {
            (None, None) => true,
            (Some(attendee), Some(moderator)) => {
                *attendee == meeting.attendee_pw && *moderator == meeting.moderator_pw
            }
            _ => false,
        }
    }

    fn into_meeting(
        self,
        world: &World,
        request: &Request,
        parent: Option<String>,
        voice_bridge: String,
        documents: Vec<String>,
    ) -> Meeting {
        let id_hash = sha1_hex(&self.id);
        // An id that ended this very millisecond still owns its internal id.
        let mut created_ms = now_ms();
        while world.contains(&format!("{id_hash}-{created_ms}")) {
            created_ms += 1;
        }
        let generated_id = format!("{id_hash}-{created_ms}");
        let (external_id, internal_id) =
            if self.is_breakout { (generated_id, self.id) } else { (self.id, generated_id) };
        let number = |name, default| request.number(name).unwrap_or(default);
        let metadata = request
            .with_prefix("meta_")
            .into_iter()
            .filter(|(key, _)| {
                key.starts_with(|c: char| c.is_ascii_alphabetic())
                    && !key.contains('_')
                    && is_name(key)
            })
            .map(|(key, value)| (key.to_ascii_lowercase(), value))
            .collect();
        Meeting {
            external_id,
            internal_id,
            name: self.name,
            attendee_pw: self.attendee_pw.unwrap_or_else(|| random_word(8)),
            moderator_pw: self.moderator_pw.unwrap_or_else(|| random_word(8)),
            created_ms,
            created: Instant::now(),
            voice_bridge,
            dial_number: request.text("dialNumber").unwrap_or_else(|| "613-555-1234".to_owned()),
            duration: number("duration", 0),
            expire_unused: number("meetingExpireIfNoUserJoinedInMinutes", 5),
            expire_empty: number("meetingExpireWhenLastUserLeftInMinutes", 1),
            record: request.flag("record").unwrap_or(false),
            keep_events: request.flag("meetingKeepEvents").unwrap_or(false),
            max_users: number("maxParticipants", 0),
            allow_requests_without_session: request
                .flag("allowRequestsWithoutSession")
                .unwrap_or(false),
            denies_guests: request.text("guestPolicy").as_deref() == Some("ALWAYS_DENY"),
            disabled_features: request.list("disabledFeatures"),
            logout_url: request.text("logoutURL"),
            ended_url: request.text("meetingEndedURL"),
            metadata,
            documents,
            breakout: parent.map(|parent_internal_id| Breakout {
                parent_internal_id,
                sequence: number("sequence", 0),
                free_join: request.flag("freeJoin").unwrap_or(false),
            }),
            rooms: Vec::new(),
            attendees: Vec::new(),
            has_user_joined: false,
            empty_since: None,
            ended: None,
        }
    }
}

/// The internal id of the meeting a breakout room belongs to.
fn parent(world: &World, request: &Request) -> Result<String, Failure> {
    let id = request.text("parentMeetingID").ok_or(Failure::PARENT_MISSING)?;
    world.find_live(&id).map(|parent| parent.internal_id.clone()).ok_or(Failure::PARENT_NOT_FOUND)
}

/// The bridge that was asked for unless it is taken, or a free one.
fn voice_bridge(world: &World, request: &Request) -> Option<String> {
    let is_free = |bridge: &String| !world.is_voice_bridge_used(bridge);
    match request.text("webVoice").or_else(|| request.text("voiceBridge")) {
        Some(bridge) => Some(bridge).filter(is_free),
        None => (0..VOICE_BRIDGE_ATTEMPTS)
            .map(|_| rand::random_range(10_000..100_000_u32).to_string())
            .find(is_free),
    }
}

/// The only failure that comes as a list.
fn voice_bridge_clash() -> Reply {
    reply::xml(
        "<response><returncode>FAILED</returncode><errors><error><key>nonUniqueVoiceBridge</key>\
         <message>The selected voice bridge is already in use.</message></error></errors></response>"
            .to_owned(),
    )
}

/// Names of the documents in the body and in `preUploadedPresentation`.
pub(super) fn documents(request: &Request) -> Result<Vec<String>, crate::bbb::XmlError> {
    let mut documents: Vec<String> = request.text("preUploadedPresentation").into_iter().collect();
    if let Some(body) = request.xml_body() {
        let modules = Element::parse(body)?;
        for module in
            modules.children_named("module").filter(|m| m.attribute("name") == Some("presentation"))
        {
            for document in module.children_named("document") {
                let name = ["filename", "name", "url"]
                    .into_iter()
                    .find_map(|name| document.attribute(name));
                documents.push(name.unwrap_or_default().to_owned());
            }
        }
    }
    Ok(documents)
}

fn created(meeting: &Meeting, (key, message): (&str, &str)) -> Reply {
    let parent =
        meeting.breakout.as_ref().map_or("bbb-none", |breakout| &breakout.parent_internal_id);
    let answer = Xml::success()
        .text("meetingID", &meeting.external_id)
        .text("internalMeetingID", &meeting.internal_id)
        .text("parentMeetingID", parent)
        .text("attendeePW", &meeting.attendee_pw)
        .text("moderatorPW", &meeting.moderator_pw)
        .number("createTime", meeting.created_ms)
        .text("voiceBridge", &meeting.voice_bridge)
        .text("dialNumber", &meeting.dial_number)
        .text("createDate", &meeting.create_date())
        .flag("hasUserJoined", meeting.has_user_joined)
        .number("duration", meeting.duration)
        .flag("hasBeenForciblyEnded", meeting.is_forcibly_ended())
        .message(key, message)
        .end();
    reply::xml(answer)
}
