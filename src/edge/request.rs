//! A request as the pipeline sees it: its raw query, its form, and what its client reads.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Method, header};

use super::reply::Dialect;
use crate::bbb::{self, Algorithm, Call, Params, SignedQuery};

/// Who asks for it first wants answers in JSON.
const JSON: &[u8] = b"application/json";

/// The parts of a request that decide its answer.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// The query exactly as sent, with its checksum found.
    query: SignedQuery<'a>,
    has_query: bool,
    /// The form in the body exactly as sent.
    form: Option<Vec<u8>>,
    wants_json: bool,
    is_browser: bool,
}

impl<'a> Request<'a> {
    pub(super) fn new(method: Method, query: &'a [u8], headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).map_or(&b""[..], HeaderValue::as_bytes);
        Self {
            method,
            query: SignedQuery::parse(query),
            has_query: !query.trim_ascii().is_empty(),
            form: None,
            wants_json: contains(accept.get(..JSON.len()).unwrap_or_default(), JSON),
            is_browser: contains(accept, b"text/html"),
        }
    }

    /// Adds the form that was read from the body.
    pub(super) fn with_form(mut self, form: Vec<u8>) -> Self {
        self.form = Some(form);
        self
    }

    /// Whether there is a query. Then it alone is what the checksum covers.
    pub(super) fn has_query(&self) -> bool {
        self.has_query
    }

    /// Whether a form in the body counts.
    ///
    /// A form beside a signed query is not covered by the checksum. That is BigBlueButton's way, and
    /// harmless where only the front end sees signed queries. A join link is in its user's hands: there,
    /// such a form is left out.
    pub(super) fn takes_form(&self, call: Call) -> bool {
        !(call == Call::Join && self.has_query())
    }

    /// Where the checksum is: in the query, or, without one, in the form.
    pub(super) fn signature(&self) -> Signature<'_> {
        match &self.form {
            Some(form) if !self.has_query() => Signature::Form(Params::parse(form)),
            _ => Signature::Query(&self.query),
        }
    }

    /// What was asked, without its checksum: the query, then the form, as a servlet merges them.
    pub(super) fn params(&self, call: Call) -> Cow<'_, Params<'_>> {
        let params = self.query.params();
        let Some(form) = self.form.as_ref().filter(|_| self.takes_form(call)) else {
            return Cow::Borrowed(params);
        };
        let mut form = Params::parse(form);
        // The latter names the hash of the checksum that is gone.
        form.remove_all(&["checksum", "checksumHash"]);
        let mut params = params.clone();
        params.append(form);
        Cow::Owned(params)
    }

    /// The form in which the client reads answers to this call.
    pub(super) fn dialect(&self, call: Option<Call>) -> Dialect {
        // bbb-webhooks knows nothing but XML.
        let is_of_hooks =
            matches!(call, Some(Call::HooksCreate | Call::HooksList | Call::HooksDestroy));
        if is_of_hooks {
            return Dialect::Xml;
        }
        if self.wants_json || call.is_some_and(Call::answers_json) {
            Dialect::Json
        } else {
            Dialect::Xml
        }
    }

    /// Whether a person looks at the answer.
    pub(super) fn is_browser(&self) -> bool {
        self.is_browser
    }
}

/// Whether a header mentions a media type, in whatever case.
fn contains(header: &[u8], media_type: &[u8]) -> bool {
    header.windows(media_type.len()).any(|part| part.eq_ignore_ascii_case(media_type))
}

/// A checksum and what it covers.
pub(super) enum Signature<'a> {
    Query(&'a SignedQuery<'a>),
    Form(Params<'a>),
}

impl Signature<'_> {
    /// Whether there is a checksum at all.
    pub(super) fn is_signed(&self) -> bool {
        match self {
            Self::Query(query) => query.is_signed(),
            Self::Form(form) => form.get("checksum").is_some_and(|sum| !sum.trim().is_empty()),
        }
    }

    /// The position of the secret that has made it.
    ///
    /// A form is signed over nothing (BigBlueButton 3.0) or over its sorted parameters (before). The first
    /// leaves its parameters open to whoever has seen one such form, so a `join`, which people see, must
    /// be signed the other way.
    pub(super) fn verify<'s>(
        &self,
        call: Call,
        allowed: &[Algorithm],
        secrets: impl IntoIterator<Item = &'s str>,
    ) -> Option<usize> {
        match self {
            Self::Query(query) => query.verify(call.as_str(), allowed, secrets),
            Self::Form(form) => {
                let sum = form.get("checksum").unwrap_or_default();
                let hash = form.get("checksumHash");
                let secrets: Vec<&str> = secrets.into_iter().collect();
                let [empty, sorted] = bbb::form_queries(form);
                let covered = if call == Call::Join { vec![sorted] } else { vec![empty, sorted] };
                let signer = |query: &Vec<u8>| {
                    let (hash, secrets) = (hash.as_deref(), secrets.iter().copied());
                    bbb::verify(sum.trim(), hash, call.as_str(), query, allowed, secrets)
                };
                covered.iter().find_map(signer)
            }
        }
    }
}
