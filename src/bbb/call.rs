//! The calls of the API: their paths, and what each of them takes and answers.

/// A call of the API, named by its path below `/bigbluebutton/api/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the table below gives each call's path, and BigBlueButton documents it"
)]
pub enum Call {
    Root,
    Create,
    Join,
    IsMeetingRunning,
    End,
    GetMeetingInfo,
    GetMeetings,
    GetSessions,
    InsertDocument,
    SendChatMessage,
    GetRecordings,
    PublishRecordings,
    DeleteRecordings,
    UpdateRecordings,
    GetRecordingTextTracks,
    PutRecordingTextTrack,
    GetJoinUrl,
    LearningDashboard,
    Feedback,
    GuestWait,
    Enter,
    SignOut,
    Stuns,
    GetDefaultConfigXml,
    SetConfigXml,
    HooksCreate,
    HooksList,
    HooksDestroy,
    HooksPing,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 29] = [
        Self::Root,
        Self::Create,
        Self::Join,
        Self::IsMeetingRunning,
        Self::End,
        Self::GetMeetingInfo,
        Self::GetMeetings,
        Self::GetSessions,
        Self::InsertDocument,
        Self::SendChatMessage,
        Self::GetRecordings,
        Self::PublishRecordings,
        Self::DeleteRecordings,
        Self::UpdateRecordings,
        Self::GetRecordingTextTracks,
        Self::PutRecordingTextTrack,
        Self::GetJoinUrl,
        Self::LearningDashboard,
        Self::Feedback,
        Self::GuestWait,
        Self::Enter,
        Self::SignOut,
        Self::Stuns,
        Self::GetDefaultConfigXml,
        Self::SetConfigXml,
        Self::HooksCreate,
        Self::HooksList,
        Self::HooksDestroy,
        Self::HooksPing,
    ];

    /// The call of a path without the base URL and its slash: `create`, `hooks/create`; empty for the version.
    /// Case counts, as it does for a node.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.as_str() == path)
    }

    /// The path, which is also what the checksum covers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Create => "create",
            Self::Join => "join",
            Self::IsMeetingRunning => "isMeetingRunning",
            Self::End => "end",
            Self::GetMeetingInfo => "getMeetingInfo",
            Self::GetMeetings => "getMeetings",
            Self::GetSessions => "getSessions",
            Self::InsertDocument => "insertDocument",
            Self::SendChatMessage => "sendChatMessage",
            Self::GetRecordings => "getRecordings",
            Self::PublishRecordings => "publishRecordings",
            Self::DeleteRecordings => "deleteRecordings",
            Self::UpdateRecordings => "updateRecordings",
            Self::GetRecordingTextTracks => "getRecordingTextTracks",
            Self::PutRecordingTextTrack => "putRecordingTextTrack",
            Self::GetJoinUrl => "getJoinUrl",
            Self::LearningDashboard => "learningDashboard",
            Self::Feedback => "feedback",
            Self::GuestWait => "guestWait",
            Self::Enter => "enter",
            Self::SignOut => "signOut",
            Self::Stuns => "stuns",
            Self::GetDefaultConfigXml => "getDefaultConfigXML",
            Self::SetConfigXml => "setConfigXML",
            Self::HooksCreate => "hooks/create",
            Self::HooksList => "hooks/list",
            Self::HooksDestroy => "hooks/destroy",
            Self::HooksPing => "hooks/ping",
        }
    }

    /// Whether a checksum must come with it. The others carry a session token, or nothing.
    pub const fn is_signed(self) -> bool {
        !matches!(
            self,
            Self::Root
                | Self::GetJoinUrl
                | Self::LearningDashboard
                | Self::Feedback
                | Self::GuestWait
                | Self::Enter
                | Self::SignOut
                | Self::Stuns
                | Self::HooksPing
        )
    }

    /// Whether its answers, failures too, are JSON without being asked for. The calls for text tracks are not
    /// among them: a wrong checksum is told in XML.
    pub const fn answers_json(self) -> bool {
        matches!(
            self,
            Self::GetJoinUrl
                | Self::LearningDashboard
                | Self::Feedback
                | Self::GuestWait
                | Self::Enter
                | Self::Stuns
        )
    }

    /// Whether the method may be used. Others get a 405.
    ///
    /// `join` also takes POST, as nodes before 3.0 do. HEAD is for probes, so only the version call has it: a
    /// HEAD of any other call would have to act without showing its answer.
    pub fn allows(self, method: &str) -> bool {
        match method {
            "GET" => {
                !matches!(self, Self::InsertDocument | Self::PutRecordingTextTrack | Self::Feedback)
            }
            "POST" => !matches!(
                self,
                Self::Root
                    | Self::SendChatMessage
                    | Self::PublishRecordings
                    | Self::DeleteRecordings
                    | Self::GuestWait
                    | Self::Enter
                    | Self::HooksCreate
                    | Self::HooksList
                    | Self::HooksDestroy
                    | Self::HooksPing
            ),
            "HEAD" => self == Self::Root,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_its_own_path() {
        for call in Call::ALL {
            assert_eq!(Call::from_path(call.as_str()), Some(call));
            assert!(call.allows("GET") || call.allows("POST"), "{call:?}");
            assert!(!call.allows("PUT") && !call.allows("get"));
        }
    }

    #[test]
    fn paths_are_taken_literally() {
        for path in ["Create", "create/", "/create", "getmeetings", "hooks", "hooks/create/1", " "]
        {
            assert_eq!(Call::from_path(path), None, "{path}");
        }
    }

    #[test]
    fn calls_of_front_ends_are_signed() {
        let unsigned: Vec<_> = Call::ALL.into_iter().filter(|call| !call.is_signed()).collect();
        assert_eq!(unsigned.len(), 9);
        assert!(Call::Join.is_signed() && Call::HooksDestroy.is_signed());
        assert!(!Call::Root.is_signed() && !Call::Stuns.is_signed());
    }

    #[test]
    fn methods_follow_bigbluebutton() {
        for call in [Call::Create, Call::Join, Call::End, Call::GetMeetings, Call::GetMeetingInfo] {
            assert!(call.allows("GET") && call.allows("POST") && !call.allows("HEAD"), "{call:?}");
        }
        assert!(Call::Root.allows("HEAD") && !Call::Root.allows("POST"));
        assert!(!Call::InsertDocument.allows("GET") && Call::InsertDocument.allows("POST"));
    }
}
