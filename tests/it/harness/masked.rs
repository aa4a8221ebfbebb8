//! Answers without what differs from run to run.

/// Times, and what a node makes of times or at random.
const VOLATILE: [&str; 11] = [
    "internalMeetingID",
    "parentMeetingID",
    "createTime",
    "createDate",
    "startTime",
    "endTime",
    "voiceBridge",
    "user_id",
    "auth_token",
    "session_token",
    "hookID",
];

/// The XML as it came, but for the text of volatile elements, which is `*` unless it is empty, `0` or a word.
pub(crate) fn masked(xml: &str) -> String {
    VOLATILE.iter().fold(xml.to_owned(), |xml, name| mask(&xml, name))
}

fn mask(xml: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut parts = xml.split(&open);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push_str(&open);
        match part.split_once(&close) {
            Some((text, rest)) if !matches!(text, "" | "0" | "bbb-none") => {
                masked.extend(["*", &close, rest]);
            }
            _ => masked.push_str(part),
        }
    }
    masked
}
