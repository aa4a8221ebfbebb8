//! What a node says about one meeting.

use std::borrow::Cow;

use super::Answer;
use super::params::Params;
use super::xml::{Element, Error, Outline};

/// A `<meeting>` of `getMeetings`, or the `<response>` of `getMeetingInfo`, which has the same children.
///
/// A typed view: the element stays whole, with whatever else it holds. Missing numbers are 0, and whatever is not
/// a digit is skipped in them, for some nodes print `1,000`.
#[derive(Debug)]
pub struct MeetingInfo<'a> {
    form: Form<'a>,
}

/// Nodes list thousands of meetings every few seconds, and nearly all of them are plain.
#[derive(Debug)]
enum Form<'a> {
    /// A main meeting whose texts are where they should be, in bytes of somebody else.
    Plain(Outline<'a>),
    /// Everything else.
    Tree(Element),
}

/// What has elements in it even in a plain meeting. Nothing here reads text out of these.
const NESTED: [&[u8]; 3] = [b"attendees", b"metadata", b"breakoutRooms"];

impl<'a> MeetingInfo<'a> {
    /// Reads the bytes of an element, without a tree where they are plain.
    ///
    /// # Errors
    /// Anything but well-formed XML within the bounds of [`Element::parse`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let form = match Outline::of(bytes).filter(is_plain) {
            Some(outline) => Form::Plain(outline),
            None => Form::Tree(Element::parse(bytes)?),
        };
        Ok(Self { form })
    }
}

impl MeetingInfo<'_> {
    /// Looks at an element as a meeting.
    pub fn from_element(element: Element) -> Self {
        Self { form: Form::Tree(element) }
    }

    /// `meetingID`: the id that the front end chose, or that was put in its place.
    pub fn meeting_id(&self) -> Cow<'_, str> {
        self.text("meetingID")
    }

    /// `internalMeetingID`: unique in time, and the id of the recording.
    pub fn internal_id(&self) -> Cow<'_, str> {
        self.text("internalMeetingID")
    }

    /// `meetingName`.
    pub fn name(&self) -> Cow<'_, str> {
        self.text("meetingName")
    }

    /// `createTime`, in ms since 1970 by the node's clock.
    pub fn create_time_ms(&self) -> u64 {
        self.number("createTime")
    }

    /// `endTime`, in ms since 1970 by the node's clock; 0 while the meeting runs.
    pub fn end_time_ms(&self) -> u64 {
        self.number("endTime")
    }

    /// Everybody in the meeting.
    pub fn participant_count(&self) -> u32 {
        self.count("participantCount")
    }

    /// Those who only listen.
    pub fn listener_count(&self) -> u32 {
        self.count("listenerCount")
    }

    /// Those with a microphone.
    pub fn voice_participant_count(&self) -> u32 {
        self.count("voiceParticipantCount")
    }

    /// Webcams.
    pub fn video_count(&self) -> u32 {
        self.count("videoCount")
    }

    /// Moderators.
    pub fn moderator_count(&self) -> u32 {
        self.count("moderatorCount")
    }

    /// Whether somebody has joined and the meeting has not ended.
    pub fn running(&self) -> bool {
        self.is_true("running")
    }

    /// Whether the meeting was ended; it may show for some seconds more.
    pub fn has_been_forcibly_ended(&self) -> bool {
        self.is_true("hasBeenForciblyEnded")
    }

    /// Whether this is a breakout room.
    pub fn is_breakout(&self) -> bool {
        self.is_true("isBreakout")
    }

    /// For a breakout room, the internal id of its parent.
    pub fn parent_internal_id(&self) -> Option<Cow<'_, str>> {
        let Form::Tree(element) = &self.form else { return None };
        // Nodes write it beside `isBreakout`; the documentation shows it inside `<breakout>`.
        element
            .child_text("parentMeetingID")
            .or_else(|| element.child("breakout")?.child_text("parentMeetingID"))
            .filter(|id| self.is_breakout() && !id.is_empty() && id != "bbb-none")
    }

    /// The bytes it was read from, if they are plain.
    pub fn outline(&self) -> Option<&Outline<'_>> {
        match &self.form {
            Form::Plain(outline) => Some(outline),
            Form::Tree(_) => None,
        }
    }

    /// The element itself, as a tree.
    pub fn into_element(self) -> Element {
        match self.form {
            Form::Plain(outline) => {
                // The tree takes all that has an outline. Were it not so, a node must not end us.
                Element::parse(outline.bytes()).unwrap_or_else(|_never| Element::new("meeting"))
            }
            Form::Tree(element) => element,
        }
    }

    /// The element as bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        match &self.form {
            Form::Plain(outline) => outline.bytes().to_vec(),
            Form::Tree(element) => element.to_vec(),
        }
    }

    fn text(&self, name: &str) -> Cow<'_, str> {
        let text = match &self.form {
            Form::Plain(outline) => outline.text(name),
            Form::Tree(element) => element.child_text(name),
        };
        text.unwrap_or_default()
    }

    fn is_true(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    fn number(&self, name: &str) -> u64 {
        number(&self.text(name))
    }

    fn count(&self, name: &str) -> u32 {
        u32::try_from(self.number(name)).unwrap_or(u32::MAX)
    }
}

/// Whether an outline says of a meeting all that the tree would.
fn is_plain(outline: &Outline<'_>) -> bool {
    outline.nested().all(|name| NESTED.contains(&name))
        && !outline.has("breakout")
        && outline.text("isBreakout").is_none_or(|is_breakout| is_breakout != "true")
}

impl From<Answer> for MeetingInfo<'_> {
    /// The answer of `getMeetingInfo`.
    fn from(answer: Answer) -> Self {
        Self::from_element(answer.into_element())
    }
}

/// The `<meeting>` of a meeting that was just created, as `getMeetings` of its node would give it.
///
/// `answer` is the node's answer to the create, and `params` are the parameters that it was asked with. The
/// elements have BigBlueButton's order.
pub fn new_meeting(answer: &Answer, params: &Params<'_>) -> Element {
    let mut meeting = Element::new("meeting");
    let told = |name: &str| answer.text(name).unwrap_or_default();
    let asked = |name: &str| params.get(name).unwrap_or_default();
    let flag = |name: &str| if asked(name).eq_ignore_ascii_case("true") { "true" } else { "false" };

    meeting.push_text("meetingName", &asked("name"));
    for name in [
        "meetingID",
        "internalMeetingID",
        "createTime",
        "createDate",
        "voiceBridge",
        "dialNumber",
        "attendeePW",
        "moderatorPW",
    ] {
        meeting.push_text(name, &told(name));
    }
    meeting.push_text("running", "false");
    meeting.push_text("duration", &number(&told("duration")).to_string());
    meeting.push_text("hasUserJoined", "false");
    meeting.push_text("recording", flag("record"));
    meeting.push_text("hasBeenForciblyEnded", "false");
    meeting.push_text("startTime", &told("createTime"));
    meeting.push_text("endTime", "0");
    for name in ["participantCount", "listenerCount", "voiceParticipantCount", "videoCount"] {
        meeting.push_text(name, "0");
    }
    meeting.push_text("maxUsers", &number(&asked("maxParticipants")).to_string());
    meeting.push_text("moderatorCount", "0");
    meeting.push(Element::new("attendees"));
    meeting.push(metadata(params));
    meeting.push_text("isBreakout", flag("isBreakout"));
    if flag("isBreakout") == "true" {
        meeting.push_text("parentMeetingID", &told("parentMeetingID"));
        meeting.push_text("sequence", &number(&asked("sequence")).to_string());
        meeting.push_text("freeJoin", flag("freeJoin"));
    }
    meeting
}

/// `meta_` parameters, with lower-case names; of a repeated one the first counts. BigBlueButton ignores those
/// whose names would not do as XML names.
fn metadata(params: &Params<'_>) -> Element {
    let mut metadata = Element::new("metadata");
    for (name, value) in params.iter() {
        let Some(key) = name.strip_prefix("meta_") else { continue };
        let key = key.to_ascii_lowercase();
        let is_key = key.starts_with(|c: char| c.is_ascii_alphabetic())
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if is_key && metadata.child(&key).is_none() {
            metadata.push_text(&key, &value);
        }
    }
    metadata
}

/// The digits of a text as a number; the largest one where they are too many.
fn number(text: &str) -> u64 {
    text.bytes().filter(u8::is_ascii_digit).fold(0, |number: u64, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bbb::xml::soup;

    fn meeting(children: &str) -> MeetingInfo<'static> {
        let xml = format!("<meeting>{children}</meeting>");
        MeetingInfo::from_element(Element::parse(xml.as_bytes()).unwrap())
    }

    #[test]
    fn a_meeting_is_read() {
        let meeting = meeting(
            "<meetingName>A &amp; B</meetingName><meetingID>ext</meetingID><internalMeetingID>sha-1</internalMeetingID>\
             <createTime>1715261728123</createTime><running>true</running><endTime>0</endTime>\
             <hasBeenForciblyEnded>false</hasBeenForciblyEnded><participantCount>1,234</participantCount>\
             <listenerCount>1</listenerCount><voiceParticipantCount>2</voiceParticipantCount><videoCount>3</videoCount>\
             <moderatorCount>99999999999999999999999</moderatorCount><isBreakout>false</isBreakout>\
             <parentMeetingID>bbb-none</parentMeetingID>",
        );
        assert_eq!(meeting.name(), "A & B");
        assert_eq!(meeting.meeting_id(), "ext");
        assert_eq!(meeting.internal_id(), "sha-1");
        assert_eq!(meeting.create_time_ms(), 1_715_261_728_123);
        assert_eq!(meeting.end_time_ms(), 0);
        assert_eq!(meeting.participant_count(), 1234);
        assert_eq!(meeting.listener_count(), 1);
        assert_eq!(meeting.voice_participant_count(), 2);
        assert_eq!(meeting.video_count(), 3);
        assert_eq!(meeting.moderator_count(), u32::MAX);
        assert!(meeting.running() && !meeting.has_been_forcibly_ended() && !meeting.is_breakout());
        assert_eq!(meeting.parent_internal_id(), None);
    }

    #[test]
    fn breakout_rooms_know_their_parent_in_both_spellings() {
        let real = meeting("<isBreakout>true</isBreakout><parentMeetingID>p-1</parentMeetingID>");
        assert_eq!(real.parent_internal_id().as_deref(), Some("p-1"));
        let documented = meeting(
            "<isBreakout>true</isBreakout><breakout><parentMeetingID>p-1</parentMeetingID></breakout>",
        );
        assert_eq!(documented.parent_internal_id().as_deref(), Some("p-1"));
    }

    #[test]
    fn only_what_an_outline_says_in_full_is_read_without_a_tree() {
        for (children, is_plain) in [
            ("<meetingID>a</meetingID><isBreakout>false</isBreakout>", true),
            ("<attendees><attendee><a/></attendee></attendees><metadata><m>x</m></metadata>", true),
            ("<breakoutRooms><breakout>b</breakout></breakoutRooms>", true),
            ("<isBreakout>true</isBreakout>", false),
            ("<breakout><parentMeetingID>p</parentMeetingID></breakout>", false),
            ("<meetingID>a<b/></meetingID>", false),
            ("<meetingID a='b'>a</meetingID>", false),
            ("<meetingID><![CDATA[a]]></meetingID>", false),
        ] {
            let xml = format!("<meeting>{children}</meeting>");
            let meeting = MeetingInfo::read(xml.as_bytes()).unwrap();
            assert_eq!(meeting.outline().is_some(), is_plain, "{children}");
        }
        assert!(MeetingInfo::read(b"<meeting>").is_err());
    }

    fn facts(meeting: &MeetingInfo<'_>) -> impl PartialEq + std::fmt::Debug + use<> {
        (
            (meeting.meeting_id().into_owned(), meeting.internal_id().into_owned()),
            (meeting.create_time_ms(), meeting.end_time_ms(), meeting.participant_count()),
            (meeting.has_been_forcibly_ended(), meeting.is_breakout()),
            meeting.parent_internal_id().map(Cow::into_owned),
            meeting.to_vec(),
        )
    }

    fn both_ways_agree(xml: &[u8]) {
        let Ok(tree) = Element::parse(xml) else {
            assert!(MeetingInfo::read(xml).is_err());
            return;
        };
        let read = MeetingInfo::read(xml).expect("the tree could");
        assert_eq!(facts(&read), facts(&MeetingInfo::from_element(tree.clone())));
        assert_eq!(read.into_element(), tree);
    }

    proptest! {
        #[test]
        fn with_and_without_a_tree_the_same_is_read(
            pieces in prop::collection::vec(
                prop::sample::select(&[
                    "<meetingID>", "</meetingID>", "<meetingID/>", "<internalMeetingID>i-1</internalMeetingID>",
                    "<isBreakout>true</isBreakout>", "<isBreakout>false</isBreakout>", "<breakout>", "</breakout>",
                    "<parentMeetingID>p</parentMeetingID>", "<participantCount>1,0</participantCount>",
                    "<attendees>", "</attendees>", "<endTime>7</endTime>", "x", "&amp;", "&quot;", "\n", "<!-- -->",
                ]),
                0..12,
            ),
        ) {
            both_ways_agree(format!("<meeting>{}</meeting>", pieces.concat()).as_bytes());
        }

        #[test]
        fn broken_meetings_are_broken_both_ways(xml in soup()) {
            both_ways_agree(&xml);
        }
    }

    const CREATED: &[u8] = b"<response><returncode>SUCCESS</returncode><meetingID>room-1</meetingID>\
        <internalMeetingID>640a-1531155809613</internalMeetingID><parentMeetingID>bbb-none</parentMeetingID>\
        <attendeePW>ap</attendeePW><moderatorPW>mp</moderatorPW><createTime>1531155809613</createTime>\
        <voiceBridge>70757</voiceBridge><dialNumber>613-555-1234</dialNumber>\
        <createDate>Mon Jul 09 17:03:29 UTC 2018</createDate><hasUserJoined>false</hasUserJoined>\
        <duration>0</duration><hasBeenForciblyEnded>false</hasBeenForciblyEnded><messageKey></messageKey>\
        <message></message></response>";

    #[test]
    fn a_new_meeting_has_bigbluebuttons_shape() {
        let answer = Answer::parse(CREATED).unwrap();
        let params = Params::parse(
            b"name=Anton%27s+Room&meetingID=room-1&record=true&maxParticipants=20&meta_bbb-Origin=greenlight\
              &meta_endCallbackUrl=https%3A%2F%2Fgl%2F%3Fa%26b&meta_a_b=ignored&meta_=x&meta_bbb-origin=later",
        );
        assert_eq!(
            String::from_utf8(new_meeting(&answer, &params).to_vec()).unwrap(),
            "<meeting><meetingName>Anton's Room</meetingName><meetingID>room-1</meetingID>\
             <internalMeetingID>640a-1531155809613</internalMeetingID><createTime>1531155809613</createTime>\
             <createDate>Mon Jul 09 17:03:29 UTC 2018</createDate><voiceBridge>70757</voiceBridge>\
             <dialNumber>613-555-1234</dialNumber><attendeePW>ap</attendeePW><moderatorPW>mp</moderatorPW>\
             <running>false</running><duration>0</duration><hasUserJoined>false</hasUserJoined>\
             <recording>true</recording><hasBeenForciblyEnded>false</hasBeenForciblyEnded>\
             <startTime>1531155809613</startTime><endTime>0</endTime><participantCount>0</participantCount>\
             <listenerCount>0</listenerCount><voiceParticipantCount>0</voiceParticipantCount>\
             <videoCount>0</videoCount><maxUsers>20</maxUsers><moderatorCount>0</moderatorCount>\
             <attendees></attendees><metadata><bbb-origin>greenlight</bbb-origin>\
             <endcallbackurl>https://gl/?a&amp;b</endcallbackurl></metadata><isBreakout>false</isBreakout></meeting>"
        );
    }

    #[test]
    fn a_new_breakout_room_names_its_parent() {
        let answer = std::str::from_utf8(CREATED).unwrap().replace("bbb-none", "p-1");
        let answer = Answer::parse(answer.as_bytes()).unwrap();
        let params =
            Params::parse(b"name=x&isBreakout=true&sequence=2&freeJoin=true&parentMeetingID=p");
        let meeting = MeetingInfo::from_element(new_meeting(&answer, &params));
        assert_eq!(meeting.parent_internal_id().as_deref(), Some("p-1"));
        let xml = String::from_utf8(meeting.to_vec()).unwrap();
        assert!(xml.ends_with(
            "<isBreakout>true</isBreakout><parentMeetingID>p-1</parentMeetingID><sequence>2</sequence>\
             <freeJoin>true</freeJoin></meeting>"
        ));
    }
}
