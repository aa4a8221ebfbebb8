//! What a request goes to: the address on the wire, and the part of it that may be shown.

use http::Uri;
use url::{Position, Url};

use super::Error;

/// An address with its query, and the same without query and user for messages.
pub(super) struct Target {
    uri: Uri,
    shown: String,
}

impl Target {
    /// A call of the API at `base`. The query stays as it is: it has been signed.
    pub(super) fn api(base: &Url, call: &str, query: &str) -> Result<Self, Error> {
        let mut shown = shown(base);
        shown.truncate(shown.trim_end_matches('/').len());
        if !call.is_empty() {
            shown.push('/');
            shown.push_str(call);
        }
        Self::new(shown, query)
    }

    /// A whole address.
    pub(super) fn of(url: &Url) -> Result<Self, Error> {
        Self::new(shown(url), url.query().unwrap_or_default())
    }

    fn new(shown: String, query: &str) -> Result<Self, Error> {
        let uri = match query {
            "" => Uri::try_from(&shown),
            // A fragment would be cut off without a word, and the checksum would be wrong.
            query if query.contains('#') => return Err(Error::Request { target: shown }),
            query => Uri::try_from(format!("{shown}?{query}")),
        };
        match uri {
            Ok(uri) => Ok(Self { uri, shown }),
            Err(_invalid) => Err(Error::Request { target: shown }),
        }
    }

    pub(super) fn uri(&self) -> Uri {
        self.uri.clone()
    }

    pub(super) fn shown(&self) -> String {
        self.shown.clone()
    }
}

/// Scheme, host, port and path.
fn shown(url: &Url) -> String {
    format!("{}://{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPath])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_query_goes_out_byte_for_byte() {
        let base = url("https://n.example/bigbluebutton/api");
        let query = "name=a+b%20c%2B&x=%zz&&=&ü=ö|{}&checksum=0";
        let target = Target::api(&base, "create", query).unwrap();
        assert_eq!(target.uri().query(), Some(query));
        assert_eq!(target.uri().path(), "/bigbluebutton/api/create");
        assert_eq!(target.shown(), "https://n.example/bigbluebutton/api/create");
    }

    #[test]
    fn the_root_call_has_no_slash_and_no_question_mark() {
        let target = Target::api(&url("http://n:8090/bigbluebutton/api/"), "", "").unwrap();
        assert_eq!(target.uri().to_string(), "http://n:8090/bigbluebutton/api");
    }

    #[test]
    fn neither_user_nor_query_of_an_address_is_shown() {
        let target = Target::of(&url("https://u:p@n.example/load?token=t#f")).unwrap();
        assert_eq!(target.shown(), "https://n.example/load");
        assert_eq!(target.uri().to_string(), "https://n.example/load?token=t");
    }

    #[test]
    fn what_no_request_line_can_carry_is_refused() {
        let base = url("http://n/api");
        let long = "x".repeat(70_000);
        for query in ["a=b c", "a=b#c", "a=\n", "a=\r\nHost: x", long.as_str()] {
            let error = Target::api(&base, "join", query).err().unwrap();
            assert!(matches!(error, Error::Request { .. }) && error.before_request());
        }
    }
}
