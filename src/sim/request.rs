//! One API request as the node sees it: its parameters, cleaned as `BigBlueButton` cleans them, and the checks that
//! every call shares.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, Method};

use crate::bbb::{Failure, Params, SignedQuery, verify};

use super::{Release, Settings};

const FORM: &str = "application/x-www-form-urlencoded";

pub(super) struct Request {
    pub(super) method: Method,
    /// The path below `/bigbluebutton/api/`, without slashes at its ends.
    pub(super) call: String,
    query: String,
    params: Params<'static>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Request {
    pub(super) fn new(
        method: Method,
        call: String,
        query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Self {
        let mut merged = query.as_bytes().to_vec();
        if media_type(&headers) == Some(FORM) && !body.is_empty() {
            merged.push(b'&');
            merged.extend_from_slice(&body);
        }
        let params = Params::parse(&merged).into_owned();
        Self { method, call, query: query.to_owned(), params, headers, body }
    }

    /// The first value of a parameter without control characters and surrounding space; nothing if that leaves nothing.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.params.get(name).map(|value| clean(&value)).filter(|value| !value.is_empty())
    }

    /// A parameter whose value is `true` or `false`; anything else counts as absent.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.text(name)?.parse().ok()
    }

    /// A parameter of digits.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// The words of a comma-separated parameter.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let list = self.text(name).unwrap_or_default();
        list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// Parameters whose names begin with `prefix`: the rest of the name, and the value.
    pub(super) fn with_prefix(&self, prefix: &str) -> Vec<(String, String)> {
        let named = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
            Some((name.strip_prefix(prefix)?.to_owned(), clean(&value)))
        };
        self.params.iter().filter_map(named).collect()
    }

    /// The body if it is declared to be XML.
    pub(super) fn xml_body(&self) -> Option<&Bytes> {
        (!self.body.is_empty() && media_type(&self.headers) == Some("application/xml"))
            .then_some(&self.body)
    }

    pub(super) fn wants_json(&self) -> bool {
        header(&self.headers, ACCEPT).is_some_and(|accept| accept.starts_with("application/json"))
    }

    /// The value of the `JSESSIONID` cookie.
    pub(super) fn session_cookie(&self) -> Option<&str> {
        let cookies = self.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies
            .flat_map(|line| line.split(';'))
            .find_map(|cookie| cookie.trim().strip_prefix("JSESSIONID="))
    }

    /// Checks the checksum, then the content type.
    pub(super) fn authenticate(&self, settings: &Settings) -> Result<(), Failure> {
        self.check_checksum(settings).map_err(|failure| match self.call.as_str() {
            call if call.contains("Recording") => Failure::RECORDING_CHECKSUM,
            call if call.starts_with("hooks/") => Failure::HOOK_CHECKSUM,
            _ => failure,
        })?;
        self.check_content_type()
    }

    /// `meetingID` within the limits of a node.
    pub(super) fn meeting_id(&self) -> Result<String, Failure> {
        let given = self.params.get("meetingID").unwrap_or_default();
        let cleaned = clean(&given);
        if cleaned.is_empty() {
            return Err(Failure::MISSING_MEETING_ID);
        }
        if !(2..=256).contains(&cleaned.chars().count()) {
            return Err(Failure::MEETING_ID_LENGTH);
        }
        if cleaned.contains(',') {
            return Err(Failure::MEETING_ID_COMMA);
        }
        if cleaned != given {
            return Err(Failure::INVALID_MEETING_ID);
        }
        Ok(cleaned)
    }

    /// Refuses a value that is there and neither `true` nor `false`.
    pub(super) fn check_flag(&self, name: &str, failure: Failure) -> Result<(), Failure> {
        match self.text(name) {
            Some(value) if value != "true" && value != "false" => Err(failure),
            _ => Ok(()),
        }
    }

    /// Refuses a value that is there and not made of digits.
    pub(super) fn check_digits(&self, name: &str, failure: Failure) -> Result<(), Failure> {
        match self.text(name) {
            Some(value) if !value.bytes().all(|byte| byte.is_ascii_digit()) => Err(failure),
            _ => Ok(()),
        }
    }

    /// A password, if one is given: 2 to 64 characters.
    pub(super) fn password(&self, name: &str) -> Result<Option<String>, Failure> {
        match self.text(name) {
            Some(value) if !(2..=64).contains(&value.chars().count()) => {
                Err(Failure::INVALID_PASSWORD)
            }
            value => Ok(value),
        }
    }

    fn check_checksum(&self, settings: &Settings) -> Result<(), Failure> {
        if settings.secret.is_empty() {
            return Ok(()); // A node without a secret checks nothing.
        }
        let Some(sent) = self.text("checksum") else { return Err(Failure::CHECKSUM_MISSING) };
        let Settings { algorithms, secret, release, .. } = settings;
        let query = SignedQuery::parse(self.query.as_bytes());
        let genuine = if query.is_signed() {
            query.verify(&self.call, algorithms, [secret.as_str()])
        } else {
            // A form that carries its own checksum; a query beside it is what was signed.
            let signed = match release {
                _ if !self.query.is_empty() => self.query.clone(),
                Release::V2_7 => self.sorted_form(),
                Release::V3_0 => String::new(),
            };
            verify(&sent, None, &self.call, signed.as_bytes(), algorithms, [secret.as_str()])
        };
        genuine.map(|_| ()).ok_or(Failure::CHECKSUM_MISMATCH)
    }

    fn sorted_form(&self) -> String {
        let mut items: Vec<_> = self.params.iter().filter(|(name, _)| name != "checksum").collect();
        items.sort_by(|(one, _), (other, _)| one.cmp(other));
        items.dedup_by(|(later, _), (first, _)| later == first);
        form_urlencoded::Serializer::new(String::new()).extend_pairs(items).finish()
    }

    /// A body must have a type this call reads. The header of a request without a body means nothing.
    fn check_content_type(&self) -> Result<(), Failure> {
        let takes_xml = matches!(self.call.as_str(), "create" | "insertDocument");
        match media_type(&self.headers) {
            _ if self.body.is_empty() => Ok(()),
            Some(FORM | "multipart/form-data") => Ok(()),
            // Nodes compare the whole header here: `application/xml; charset=utf-8` is refused.
            Some("application/xml")
                if takes_xml && header(&self.headers, CONTENT_TYPE) == Some("application/xml") =>
            {
                Ok(())
            }
            _ => Err(Failure::UNSUPPORTED_CONTENT_TYPE),
        }
    }
}

fn clean(value: &str) -> String {
    let printable: String = value.chars().filter(|character| !character.is_control()).collect();
    printable.trim().to_owned()
}

fn header(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    header(headers, CONTENT_TYPE)?.split(';').next().map(str::trim)
}
