//! What a request goes to: the address on the wire, and the part of it that may be shown.

use http::Uri;
use url::{Position, Url};

use super::Error;

/// An address with its query, and the same without query and user for messages.
pub(super) struct Target<'a> {
    url: &'a Url,
    path: &'a str,
    call: &'a str,
    uri: Uri,
}

impl<'a> Target<'a> {
    /// A call of the API at `base`. The query stays as it is: it has been signed.
    pub(super) fn api(base: &'a Url, call: &'a str, query: &str) -> Result<Self, Error> {
        Self::new(base, base.path().trim_end_matches('/'), call, query)
    }

    /// A whole address.
    pub(super) fn of(url: &'a Url) -> Result<Self, Error> {
        Self::new(url, url.path(), "", url.query().unwrap_or_default())
    }

    fn new(url: &'a Url, path: &'a str, call: &'a str, query: &str) -> Result<Self, Error> {
        let mut line = String::with_capacity(path.len() + call.len() + query.len() + 2);
        line.push_str(path);
        if !call.is_empty() || path.is_empty() {
            line.push('/');
            line.push_str(call);
        }
        if !query.is_empty() {
            line.push('?');
            line.push_str(query);
        }
        let target = Self { url, path, call, uri: Uri::default() };
        // A fragment would be cut off without a word, and the checksum would be wrong.
        if query.contains('#') {
            return Err(target.cannot_be_asked());
        }
        match Uri::try_from(line) {
            Ok(uri) => Ok(Self { uri, ..target }),
            Err(_invalid) => Err(target.cannot_be_asked()),
        }
    }

    /// Path and query, as the request line has them.
    pub(super) fn uri(&self) -> Uri {
        self.uri.clone()
    }

    /// What connections are kept under: everything before the path. Not to be shown: there may be a
    /// password in it.
    pub(super) fn origin(&self) -> &'a str {
        &self.url[..Position::BeforePath]
    }

    /// Host and port as the `Host` header has them: without the port that goes without saying.
    pub(super) fn authority(&self) -> &'a str {
        &self.url[Position::BeforeHost..Position::AfterPort]
    }

    /// What to connect to.
    pub(super) fn address(&self) -> Result<Uri, Error> {
        let built = Uri::builder()
            .scheme(self.url.scheme())
            .authority(self.authority())
            .path_and_query("/")
            .build();
        built.map_err(|_invalid| self.cannot_be_asked())
    }

    /// Scheme, host, port and path.
    pub(super) fn shown(&self) -> String {
        let slash = if self.call.is_empty() { "" } else { "/" };
        let (scheme, authority) = (self.url.scheme(), self.authority());
        format!("{scheme}://{authority}{}{slash}{}", self.path, self.call)
    }

    pub(super) fn cannot_be_asked(&self) -> Error {
        Error::Request { target: self.shown() }
    }
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
        assert_eq!(target.uri().to_string(), format!("/bigbluebutton/api/create?{query}"));
        assert_eq!(target.shown(), "https://n.example/bigbluebutton/api/create");
    }

    #[test]
    fn the_root_call_has_no_slash_and_no_question_mark() {
        let base = url("http://n:8090/bigbluebutton/api/");
        let target = Target::api(&base, "", "").unwrap();
        assert_eq!(target.uri().to_string(), "/bigbluebutton/api");
        assert_eq!(target.shown(), "http://n:8090/bigbluebutton/api");
    }

    #[test]
    fn a_request_line_always_has_a_path() {
        for (base, call, query, line) in [
            ("http://n", "", "", "/"),
            ("http://n/", "", "a=b", "/?a=b"),
            ("http://n/", "join", "a=b", "/join?a=b"),
            ("http://n//x//", "join", "", "//x/join"),
        ] {
            let base = url(base);
            assert_eq!(Target::api(&base, call, query).unwrap().uri().to_string(), line);
        }
    }

    #[test]
    fn host_and_address_leave_out_the_user_and_the_port_of_the_scheme() {
        for (text, authority, address) in [
            ("http://n.example:80/api", "n.example", "http://n.example/"),
            ("http://n.example:443/api", "n.example:443", "http://n.example:443/"),
            ("https://u:p@n.example:443/api", "n.example", "https://n.example/"),
            ("https://n.example:80", "n.example:80", "https://n.example:80/"),
            ("http://[::1]/api", "[::1]", "http://[::1]/"),
            ("https://[2001:db8::1]:8443/api", "[2001:db8::1]:8443", "https://[2001:db8::1]:8443/"),
        ] {
            let base = url(text);
            let target = Target::api(&base, "join", "").unwrap();
            assert_eq!(target.authority(), authority);
            assert_eq!(target.address().unwrap().to_string(), address);
        }
    }

    #[test]
    fn neither_user_nor_query_of_an_address_is_shown() {
        let url = url("https://u:p@n.example/load?token=t#f");
        let target = Target::of(&url).unwrap();
        assert_eq!(target.shown(), "https://n.example/load");
        assert_eq!(target.uri().to_string(), "/load?token=t");
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
