//! What BigBlueButton expects in the parameters of `create` and `join`, where that is known. Other names may
//! have any value: every release brings new ones.
//!
//! Names have BigBlueButton's spelling, which counts. Sources: its API documentation, and the list of B3LB,
//! whose rules these are.

use url::Url;

/// Which call a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Create,
    Join,
}

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Flag,
    Number,
    Color,
    Url,
    /// A language, such as `de` or `pt-BR`.
    Locale,
    OneOf(&'static [&'static str]),
    /// The same in any case.
    OneOfInAnyCase(&'static [&'static str]),
    /// Anything but nothing.
    Text,
}

use Format::{Color, Flag, Locale, Number, OneOf, OneOfInAnyCase, Text};

const LAYOUT: Format = OneOf(&[
    "CUSTOM_LAYOUT",
    "SMART_LAYOUT",
    "PRESENTATION_FOCUS",
    "VIDEO_FOCUS",
    "CAMERAS_ONLY",
    "PARTICIPANTS_CHAT_ONLY",
    "PRESENTATION_ONLY",
    "MEDIA_ONLY",
    "UNIFIED_LAYOUT",
    "PLUGINS_ONLY",
]);
const GUEST_POLICY: Format =
    OneOf(&["ALWAYS_ACCEPT", "ALWAYS_DENY", "ASK_MODERATOR", "ALWAYS_ACCEPT_AUTH"]);
const BRIDGE: Format = OneOf(&["bbb-webrtc-sfu", "livekit", "freeswitch"]);
const FULL_AUDIO: Format = OneOf(&["sipjs", "kurento", "fullaudio"]);
const ROLE: Format = OneOfInAnyCase(&["VIEWER", "MODERATOR"]);
const CAMERA_PROFILE: Format = OneOf(&[
    "low", "low-u8", "low-u12", "low-u15", "low-u20", "low-u25", "low-u30", "medium", "high", "hd",
]);

/// The parameters of `create`.
const CREATE: &[(Format, &[&str])] = &[
    (
        Flag,
        &[
            "allowModsToEjectCameras",
            "allowModsToUnmuteUsers",
            "allowOverrideClientSettingsOnCreateCall",
            "allowPromoteGuestToModerator",
            "allowRequestsWithoutSession",
            "allowStartStopRecording",
            "autoStartRecording",
            "breakoutRoomsEnabled",
            "breakoutRoomsPrivateChatEnabled",
            "breakoutRoomsRecord",
            "endWhenNoModerator",
            "freeJoin",
            "learningDashboardEnabled",
            "lockSettingsDisableCam",
            "lockSettingsDisableMic",
            "lockSettingsDisableNote",
            "lockSettingsDisableNotes",
            "lockSettingsDisablePrivateChat",
            "lockSettingsDisablePublicChat",
            "lockSettingsHideUserList",
            "lockSettingsHideViewersAnnotation",
            "lockSettingsHideViewersCursor",
            "lockSettingsLockOnJoin",
            "lockSettingsLockOnJoinConfigurable",
            "lockSettingsLockedLayout",
            "meetingKeepEvents",
            "multiUserWhiteboardEnabled",
            "muteOnStart",
            "notifyRecordingIsOn",
            "preUploadedPresentationOverrideDefault",
            "presentationConversionCacheEnabled",
            "record",
            "recordFullDurationMedia",
            "requireUserConsentBeforeUnmuting",
            "virtualBackgroundsDisabled",
            "webcamsOnlyForModerator",
        ],
    ),
    (
        Number,
        &[
            "duration",
            "endWhenNoModeratorDelayInMinutes",
            "learningDashboardCleanupDelayInMinutes",
            "logoutTimer",
            "maxNumPages",
            "maxParticipants",
            "maxPinnedCameras",
            "meetingCameraCap",
            "meetingExpireIfNoUserJoinedInMinutes",
            "meetingExpireWhenLastUserLeftInMinutes",
            "userCameraCap",
            "voiceBridge",
        ],
    ),
    (Color, &["bannerColor"]),
    (
        Format::Url,
        &[
            "darklogo",
            "loginURL",
            "logo",
            "logoutURL",
            "pluginManifestsFetchUrl",
            "preUploadedPresentation",
            "presentationUploadExternalUrl",
        ],
    ),
    (LAYOUT, &["meetingLayout"]),
    (GUEST_POLICY, &["guestPolicy"]),
    (BRIDGE, &["audioBridge", "cameraBridge", "screenShareBridge"]),
    (FULL_AUDIO, &["meta_fullaudio-bridge"]),
    (
        Text,
        &[
            "bannerText",
            "clientSettingsOverride",
            "copyright",
            "disabledFeatures",
            "disabledFeaturesExclude",
            "groups",
            "moderatorOnlyMessage",
            "pluginManifests",
            "preUploadedPresentationName",
            "presentationUploadExternalDescription",
            "welcome",
        ],
    ),
];

/// The parameters of `join`.
const JOIN: &[(Format, &[&str])] = &[
    (
        Flag,
        &[
            "auth",
            "bot",
            "excludeFromDashboard",
            "guest",
            "redirect",
            "userdata-bbb_ask_for_feedback_on_logout",
            "userdata-bbb_auto_join_audio",
            "userdata-bbb_auto_share_webcam",
            "userdata-bbb_auto_swap_layout",
            "userdata-bbb_display_branding_area",
            "userdata-bbb_enable_screen_sharing",
            "userdata-bbb_enable_video",
            "userdata-bbb_force_listen_only",
            "userdata-bbb_force_restore_presentation_on_new_events",
            "userdata-bbb_fullaudio_bridge",
            "userdata-bbb_hide_controls",
            "userdata-bbb_hide_notifications",
            "userdata-bbb_hide_presentation",
            "userdata-bbb_hide_presentation_on_join",
            "userdata-bbb_listen_only_mode",
            "userdata-bbb_mirror_own_webcam",
            "userdata-bbb_multi_user_pen_only",
            "userdata-bbb_outside_toggle_recording",
            "userdata-bbb_outside_toggle_self_voice",
            "userdata-bbb_prefer_dark_theme",
            "userdata-bbb_record_video",
            "userdata-bbb_show_participants_on_login",
            "userdata-bbb_show_public_chat_on_login",
            "userdata-bbb_skip_check_audio",
            "userdata-bbb_skip_check_audio_on_first_join",
            "userdata-bbb_skip_echotest_if_previous_device",
            "userdata-bbb_skip_video_preview",
            "userdata-bbb_skip_video_preview_on_first_join",
        ],
    ),
    (
        Format::Url,
        &[
            "avatarURL",
            "errorRedirectUrl",
            "logoutURL",
            "userdata-bbb_custom_style_url",
            "webcamBackgroundURL",
        ],
    ),
    (LAYOUT, &["defaultLayout", "enforceLayout", "userdata-bbb_default_layout"]),
    (ROLE, &["role"]),
    (Locale, &["userdata-bbb_override_default_locale"]),
    (CAMERA_PROFILE, &["userdata-bbb_preferred_camera_profile"]),
    (
        Text,
        &[
            "firstName",
            "lastName",
            "userdata-bbb_client_title",
            "userdata-bbb_custom_style",
            "userdata-bbb_multi_user_tools",
            "userdata-bbb_presenter_tools",
            "userdata-bbb_shortcuts",
        ],
    ),
];

impl Format {
    /// What a parameter of this name takes; `None` for a name that is not known.
    pub(super) fn of(call: Of, name: &str) -> Option<Self> {
        let table = match call {
            Of::Create => CREATE,
            Of::Join => JOIN,
        };
        table.iter().find(|(_, names)| names.contains(&name)).map(|(format, _)| *format)
    }

    /// Whether BigBlueButton would take this value.
    pub(super) fn allows(self, value: &str) -> bool {
        match self {
            Flag => matches!(value, "true" | "false"),
            // A Java `int`.
            Number => is_all(value, u8::is_ascii_digit) && value.parse::<i32>().is_ok(),
            Color => value
                .strip_prefix('#')
                .is_some_and(|rest| rest.len() == 6 && is_all(rest, u8::is_ascii_hexdigit)),
            Self::Url => is_url(value),
            Locale => {
                let mut parts = value.splitn(2, ['-', '_']);
                let is_code = |code: &str| {
                    (2..=4).contains(&code.len()) && is_all(code, u8::is_ascii_alphanumeric)
                };
                parts.all(is_code) && value.starts_with(|c: char| c.is_ascii_lowercase())
            }
            OneOf(words) => words.contains(&value),
            OneOfInAnyCase(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
            Text => !value.trim().is_empty(),
        }
    }

    /// What it takes, in words that follow "is not".
    pub(super) fn words(self) -> String {
        match self {
            Flag => "true or false".to_owned(),
            Number => "a whole number, of digits only".to_owned(),
            Color => "a colour such as \"#1a2b3c\"".to_owned(),
            Self::Url => {
                "an http or https URL of a full host name, such as https://www.example.org/"
                    .to_owned()
            }
            Locale => "a language such as de or pt-BR".to_owned(),
            OneOf(words) | OneOfInAnyCase(words) => format!("one of {}", words.join(", ")),
            Text => "a text; to have the parameter removed, use the mode block".to_owned(),
        }
    }
}

fn is_all(text: &str, is_right: impl Fn(&u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(|byte| is_right(&byte))
}

/// The host must have a dot: other names mean something else on the node than here.
fn is_url(text: &str) -> bool {
    let has_scheme = text.starts_with("http://") || text.starts_with("https://");
    let is_plain = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    has_scheme
        && is_plain
        && Url::parse(text).is_ok_and(|url| match url.host() {
            Some(url::Host::Domain(name)) => name.trim_matches('.').contains('.'),
            Some(_) => true,
            None => false,
        })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn values_are_taken_as_bigbluebutton_takes_them() {
        for (format, good, bad) in [
            (Flag, vec!["true", "false"], vec!["", "True", "1", "yes"]),
            (Number, vec!["0", "30"], vec!["", "-1", "+1", "3.5", "many", "4294967296"]),
            (Color, vec!["#a0B1c2"], vec!["", "a0b1c2", "#fff", "#a0b1cg", "red", "#a0b1c2d"]),
            (
                Format::Url,
                vec![
                    "https://a.example/x?y=%%MEETINGID%%",
                    "http://10.0.0.1:8080/",
                    "http://[::1]/",
                ],
                vec![
                    "",
                    "www.example.org",
                    "ftp://a.example/",
                    "https://",
                    "https://localhost/",
                    "https://a.example/a b",
                ],
            ),
            (Locale, vec!["de", "pt-BR", "zh_CN"], vec!["", "german", "de-", "-de", "DE"]),
            (LAYOUT, vec!["SMART_LAYOUT"], vec!["", "smart_layout", "SMART"]),
            (ROLE, vec!["VIEWER", "moderator"], vec!["", "ATTENDEE"]),
            (Text, vec!["x"], vec!["", " "]),
        ] {
            for value in good {
                assert!(format.allows(value), "{format:?} {value:?}");
            }
            for value in bad {
                assert!(!format.allows(value), "{format:?} {value:?}");
            }
        }
    }

    #[test]
    fn a_name_stands_in_a_table_once_and_has_a_format_of_its_call() {
        for table in [CREATE, JOIN] {
            let names: Vec<_> = table.iter().flat_map(|(_, names)| *names).collect();
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        }
        assert_eq!(Format::of(Of::Create, "record"), Some(Flag));
        assert_eq!(Format::of(Of::Join, "record"), None);
        assert_eq!(Format::of(Of::Create, "Record"), None);
        assert_eq!(Format::of(Of::Join, "role"), Some(ROLE));
    }
}
