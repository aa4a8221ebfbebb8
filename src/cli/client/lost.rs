//! Why there is no answer, and what helps.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::path::Path;

use super::failure::Failure;
use crate::chain::Chain;

/// What may be behind an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Refused,
    NoName,
    Denied,
    Timeout,
    Tls,
    NoHttp,
    Other,
}

impl Why {
    /// Nobody tells it in a type that all of them share: the innermost cause that is known counts.
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut found = Self::Other;
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(why) = Self::of_one(error) {
                found = why;
            }
            // What is wrapped in an error of IO is not its source, but takes its place.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = match wrapped {
                Some(inner) => Some(inner as &(dyn Error + 'static)),
                None => error.source(),
            };
        }
        found
    }

    fn of_one(error: &(dyn Error + 'static)) -> Option<Self> {
        if error.is::<rustls::Error>() {
            return Some(Self::Tls);
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Some(Self::Refused),
                io::ErrorKind::PermissionDenied => Some(Self::Denied),
                io::ErrorKind::TimedOut => Some(Self::Timeout),
                _ => None,
            };
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            // Who speaks first, as SSH does, is known by the text alone.
            let speaks_first = error.to_string().starts_with("received unexpected message");
            let is_other = speaks_first || error.is_parse() || error.is_incomplete_message();
            return is_other.then_some(Self::NoHttp);
        }
        error.to_string().starts_with("dns error").then_some(Self::NoName)
    }

    fn remedy(self, listener: &str, named_by: &str) -> String {
        match self {
            Self::Refused => format!(
                "nobody listens there: is Portico running (`systemctl status portico`), and is this its \
                 `{listener}`? {named_by}"
            ),
            Self::NoName => format!("its name is not known: look for a slip in it. {named_by}"),
            Self::Denied => "we may not: be root, or the user that Portico runs as".to_owned(),
            Self::Timeout => format!(
                "nobody answers there: is the machine up, and does a firewall let us through to \
                 `{listener}`? {named_by}"
            ),
            Self::Tls => format!(
                "TLS does not come about: HTTPS must be spoken there, and the certificate be for this name, be valid today and come from an \
                 authority that this machine trusts (SSL_CERT_FILE names others). {named_by}"
            ),
            Self::NoHttp => format!(
                "something else than Portico's API answers, or HTTPS where we speak HTTP: see `{listener}`. {named_by}"
            ),
            Self::Other => named_by.to_owned(),
        }
    }
}

/// Where we ask, and who says so.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// A URL, or the path of a socket.
    pub(super) tried: String,
    /// The key of the configuration that it is to be.
    pub(super) listener: &'static str,
    /// Where that stands, and how another one is asked.
    pub(super) named_by: String,
    /// What was tried before, to no avail.
    pub(super) before: Option<String>,
}

impl Place {
    /// It did not come to an answer. What is behind `error` may have been done, unless there was no connection.
    pub(super) fn lost(&self, error: &(dyn Error + 'static), is_connected: bool) -> Failure {
        let lines = self.lines(&Chain(error), Why::of(error));
        if is_connected { Failure::unsure(lines) } else { Failure::failed(lines) }
    }

    /// It takes too long.
    pub(super) fn silent(&self, seconds: u64) -> Failure {
        let why = format!("no answer within {seconds} s");
        Failure::unsure(self.lines(&why, Why::Timeout))
    }

    fn lines(&self, why: &dyn Display, kind: Why) -> String {
        let before = self.before.as_ref().map(|before| format!("{before}\n")).unwrap_or_default();
        format!("{before}{}: {why}\n{}", self.tried, kind.remedy(self.listener, &self.named_by))
    }
}

/// Why a socket of this machine is of no use, and what helps.
pub(super) fn of_socket(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "be root, or the user that Portico runs as",
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "nobody listens there: is Portico running (`systemctl status portico`)?"
        }
        _ => "the log of Portico may say more",
    };
    format!("{path}: {error}: {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Outer(&'static str, #[source] io::Error);

    #[test]
    fn the_innermost_cause_says_what_helps() {
        let io = |kind: io::ErrorKind| Outer("client error (Connect)", kind.into());
        for (kind, why) in [
            (io::ErrorKind::ConnectionRefused, Why::Refused),
            (io::ErrorKind::NotFound, Why::Refused),
            (io::ErrorKind::PermissionDenied, Why::Denied),
            (io::ErrorKind::TimedOut, Why::Timeout),
            (io::ErrorKind::BrokenPipe, Why::Other),
        ] {
            assert_eq!(Why::of(&io(kind)), why);
        }
        let resolved = Outer("dns error", io::Error::other("Name or service not known"));
        assert_eq!(Why::of(&resolved), Why::NoName);
        let certificate =
            rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let tls = io::Error::new(io::ErrorKind::InvalidData, certificate);
        let tls = io::Error::other(tls);
        assert_eq!(Why::of(&Outer("client error (Connect)", tls)), Why::Tls);
    }

    #[test]
    fn what_was_tried_is_told_with_what_helps() {
        let place = Place {
            tried: "http://127.0.0.1:1".to_owned(),
            listener: "server.admin",
            named_by: "PORTICO_API says which is asked".to_owned(),
            before: Some("/run/p.sock: Permission denied".to_owned()),
        };
        let error: io::Error = io::ErrorKind::ConnectionRefused.into();
        let told = place.lost(&error, false);
        assert!(!told.is_unsure && place.lost(&error, true).is_unsure);
        let text = format!("{told:?}");
        for part in
            ["/run/p.sock", "http://127.0.0.1:1: connection refused", "systemctl", "PORTICO_API"]
        {
            assert!(text.contains(part), "{text}");
        }
    }
}
