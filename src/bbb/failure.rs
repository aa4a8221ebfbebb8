//! BigBlueButton's own failures.
//!
//! Clients act on the key, and some show the message, so both are to the letter; where no source gives a text,
//! it is ours. They travel with HTTP 200.

use std::borrow::Cow;

use super::xml::escaped as text;

/// A `FAILED` answer: its `messageKey` and `message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The stable key.
    pub key: Cow<'static, str>,
    /// The text for people.
    pub message: Cow<'static, str>,
}

macro_rules! failures {
    ($($(#[doc = $doc:literal])+ $name:ident: $key:literal, $message:literal;)+) => {
        impl Failure {
            $($(#[doc = $doc])+ pub const $name: Self = Self::new($key, $message);)+

            /// All of BigBlueButton's, for tables and tests.
            pub const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

failures! {
    // Checksum and request.
    /// There is no checksum.
    CHECKSUM_MISSING: "checksumError", "You must provide the checksum";
    /// The checksum is wrong.
    CHECKSUM_MISMATCH: "checksumError", "Checksums do not match";
    /// The checksum of a recording call is missing or wrong.
    RECORDING_CHECKSUM: "checksumError", "You did not pass the checksum security check";
    /// The checksum of a webhook call is missing or wrong.
    HOOK_CHECKSUM: "checksumError", "You did not pass the checksum security check.";
    /// The body's `Content-Type` cannot be used.
    UNSUPPORTED_CONTENT_TYPE: "unsupportedContentType",
        "POST request Content-Type is missing or unsupported";
    /// The call is one that no current node has.
    UNSUPPORTED_REQUEST: "unsupportedRequest", "This request is not supported.";
    /// The API is switched off on the server.
    API_NOT_ENABLED: "apiNotEnabled", "API is not enabled on this server";
    /// The path is in the API, but the request is not understood.
    REQUEST_NOT_RECOGNIZED: "validationError", "Request not recognized";

    // Parameters.
    /// `meetingID` is missing or empty.
    MISSING_MEETING_ID: "missingParamMeetingID", "You must provide a meeting ID";
    /// `meetingID` is too short or too long.
    MEETING_ID_LENGTH: "validationError", "Meeting ID must be between 2 and 256 characters";
    /// `meetingID` has a comma, which separates ids in the recording calls.
    MEETING_ID_COMMA: "validationError", "Meeting ID cannot contain ','";
    /// `meetingID` has a control character or white space around it.
    INVALID_MEETING_ID: "validationError", "Invalid meeting ID";
    /// `name` is missing or empty.
    MISSING_MEETING_NAME: "validationError", "You must provide a meeting name";
    /// `name` is too short or too long.
    MEETING_NAME_LENGTH: "validationError", "Meeting name must be between 2 and 256 characters";
    /// `voiceBridge` is no number.
    INVALID_VOICE_BRIDGE: "validationError", "Voice bridge must be an integral value";
    /// `record` is no boolean.
    INVALID_RECORD: "validationError", "Record must be a boolean value (true or false)";
    /// `isBreakout` is no boolean.
    INVALID_IS_BREAKOUT: "validationError",
        "You must provide a boolean value (true or false) for the breakout room";
    /// `guest` is no boolean.
    INVALID_GUEST: "validationError", "Guest must be a boolean value (true or false)";
    /// `auth` is no boolean.
    INVALID_AUTH: "validationError", "Auth must be a boolean value (true or false)";
    /// `presentationUploadExternalUrl` is no URL.
    INVALID_PRESENTATION_URL: "validationError",
        "Param 'presentationUploadExternalUrl' is not a valid URL";
    /// A password is too short or too long.
    INVALID_PASSWORD: "invalidPassword", "Invalid password";
    /// A password is neither of the meeting's two.
    WRONG_PASSWORD: "invalidPassword",
        "The provided password is neither a moderator or attendee password";

    // Meetings.
    /// There is no such meeting; for every call but `join`.
    NOT_FOUND: "notFound", "A meeting with that ID does not exist";
    /// There is no such meeting, for `join`.
    INVALID_MEETING_IDENTIFIER: "invalidMeetingIdentifier", "A meeting with that ID does not exist";
    /// The meeting has been ended.
    FORCIBLY_ENDED: "meetingForciblyEnded",
        "You can not join a meeting that has already been forcibly ended";
    /// The meeting exists, with other passwords than those given.
    ID_NOT_UNIQUE: "idNotUnique",
        "A meeting already exists with that meeting ID.  Please use a different meeting ID.";
    /// Another meeting uses the voice bridge.
    NON_UNIQUE_VOICE_BRIDGE: "nonUniqueVoiceBridge", "The selected voice bridge is already in use.";
    /// A breakout room was asked for without its parent.
    PARENT_MISSING: "parentMeetingIDMissing",
        "No parent meeting ID was provided for the breakout room";
    /// The parent of a breakout room does not run.
    PARENT_NOT_FOUND: "parentMeetingDoesNotExist", "No parent meeting exists for the breakout room";
    /// Nobody is in the meeting that a chat message is for.
    MEETING_NOT_FOUND: "meetingNotFound", "Meeting not found";

    // Joining and sessions.
    /// `fullName` is missing or empty.
    MISSING_FULL_NAME: "missingParamFullName", "You must provide your name";
    /// There is neither a role nor a password that matches. The key is BigBlueButton's.
    PARAMS_REQUIRED: "Params required", "Either a role or a password must be provided.";
    /// `createTime` is not that of the running meeting.
    CREATE_TIME_MISMATCH: "mismatchCreateTimeParam",
        "The createTime parameter submitted mismatches with the current meeting.";
    /// The meeting is full.
    MAX_PARTICIPANTS_REACHED: "maxParticipantsReached",
        "The number of participants allowed for this meeting has been reached.";
    /// The meeting takes no guests.
    GUEST_DENIED_ACCESS: "guestDeniedAccess", "You have been denied access to this meeting.";
    /// A moderator has turned the guest away.
    GUEST_DENY: "guestDeny", "User denied access for this session";
    /// A session call has no token.
    MISSING_TOKEN: "missingToken", "You must provide a session token";
    /// A session call has a token that is not, or no longer, known.
    MISSING_SESSION: "missingSession", "Invalid session token";

    // Recordings.
    /// `recordID` is missing or empty.
    MISSING_RECORD_ID: "missingParamRecordID", "You must specify a recordID.";
    /// `publish` is missing.
    MISSING_PUBLISH: "missingParamPublish", "You must specify a publish value true or false.";
    /// None of the recordings exists.
    RECORDINGS_NOT_FOUND: "notFound", "We could not find recordings";
    /// There is no recording with that id, for text tracks.
    NO_RECORDINGS: "noRecordings", "No recording found";
    /// A text track was uploaded without content.
    EMPTY_TEXT_TRACK: "empty_uploaded_text_track", "Empty uploaded text track.";
    /// `kind` of a text track is neither `subtitles` nor `captions`.
    INVALID_KIND: "invalidKind", "Invalid kind parameter, expected='subtitles|captions'";
    /// `lang` of a text track is no language tag.
    INVALID_LANG: "invalidLang", "Malformed lang param, expected an IETF language tag";

    // Webhooks.
    /// `callbackURL` is missing.
    MISSING_CALLBACK_URL: "missingParamCallbackURL", "You must specify a callbackURL in the parameters.";
    /// The hook could not be made.
    CREATE_HOOK_ERROR: "createHookError", "An error happened while creating your hook. Check the logs.";
    /// The hooks could not be listed.
    LIST_HOOK_ERROR: "listHookError", "An error happened while listing registered hooks. Check the logs.";
    /// The hook could not be removed.
    DESTROY_HOOK_ERROR: "destroyHookError",
        "An error happened while removing your hook. Check the logs.";
    /// There is no such hook.
    MISSING_HOOK: "destroyMissingHook", "The hook informed was not found.";
    /// `hookID` is missing.
    MISSING_HOOK_ID: "missingParamHookID", "You must specify a hookID in the parameters.";
}

impl Failure {
    /// A failure with fixed texts. One with other texts is built from its two fields.
    pub const fn new(key: &'static str, message: &'static str) -> Self {
        Self { key: Cow::Borrowed(key), message: Cow::Borrowed(message) }
    }

    /// A parameter is missing, as the calls for text tracks put it.
    pub fn missing_param(name: &str) -> Self {
        Self { key: "paramError".into(), message: format!("Missing param {name}.").into() }
    }

    /// The whole answer as XML.
    pub fn to_xml(&self) -> String {
        format!(
            "<response><returncode>FAILED</returncode><messageKey>{}</messageKey><message>{}</message></response>",
            text(&self.key),
            text(&self.message),
        )
    }

    /// The whole answer in the list form, which `create` uses for a clash of voice bridges.
    pub fn to_list_xml(&self) -> String {
        format!(
            "<response><returncode>FAILED</returncode><errors><error><key>{}</key><message>{}</message></error></errors></response>",
            text(&self.key),
            text(&self.message),
        )
    }

    /// The whole answer as JSON.
    pub fn to_json(&self) -> String {
        let (key, message) = (json(&self.key), json(&self.message));
        format!(
            r#"{{"response":{{"returncode":"FAILED","messageKey":{key},"message":{message}}}}}"#
        )
    }

    /// The value of the `errors` parameter with which `join` redirects: a JSON array, not yet percent-encoded.
    pub fn to_errors_param(&self) -> String {
        format!(r#"[{{"key":{},"message":{}}}]"#, json(&self.key), json(&self.message))
    }
}

/// A JSON string with its quotes.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bbb::Answer;

    #[test]
    fn answers_have_bigbluebuttons_shape() {
        let failure = Failure::CHECKSUM_MISMATCH;
        assert_eq!(
            failure.to_xml(),
            "<response><returncode>FAILED</returncode><messageKey>checksumError</messageKey>\
             <message>Checksums do not match</message></response>"
        );
        assert_eq!(
            failure.to_json(),
            r#"{"response":{"returncode":"FAILED","messageKey":"checksumError","message":"Checksums do not match"}}"#
        );
        assert_eq!(
            failure.to_errors_param(),
            r#"[{"key":"checksumError","message":"Checksums do not match"}]"#
        );
        assert_eq!(
            Failure::NON_UNIQUE_VOICE_BRIDGE.to_list_xml(),
            "<response><returncode>FAILED</returncode><errors><error><key>nonUniqueVoiceBridge</key>\
             <message>The selected voice bridge is already in use.</message></error></errors></response>"
        );
    }

    #[test]
    fn every_failure_can_be_read_back() {
        let odd = Failure { key: "k".into(), message: "a < b & \"c\" \u{1}".into() };
        for failure in Failure::ALL.iter().chain([&odd, &Failure::missing_param("lang")]) {
            for xml in [failure.to_xml(), failure.to_list_xml()] {
                let answer = Answer::parse(xml.as_bytes()).unwrap();
                assert!(!answer.is_success());
                assert_eq!(answer.message_key().as_deref(), Some(failure.key.as_ref()));
                let message = failure.message.replace('\u{1}', "");
                assert_eq!(answer.message().as_deref(), Some(message.as_str()));
            }
            let json: serde_json::Value = serde_json::from_str(&failure.to_json()).unwrap();
            assert_eq!(json["response"]["message"], failure.message.as_ref());
        }
    }
}
