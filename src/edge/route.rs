//! First step of the pipeline: which call is meant, and who is meant by host and path. Pure.

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route<'a> {
    /// How the tenant is named.
    pub(super) who: Who<'a>,
    /// The name of the call, as signed: `create`, `hooks/create`; empty for the version.
    pub(super) call: &'a str,
}

/// How a request names its tenant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Who<'a> {
    /// By `slug` or `slug-sub` in the path.
    Scope(&'a str),
    /// By a host: a tenant's own domain, or what stands before the base domain, or any other for the
    /// default tenant.
    Host {
        host: &'a str,
        /// What stands before the base domain.
        label: Option<&'a str>,
    },
}

/// Reads host (lower-case, without port) and path. `None` is a path outside the API.
pub(super) fn route<'a>(
    host: &'a str,
    path: &'a str,
    base_domain: Option<&str>,
) -> Option<Route<'a>> {
    if let Some(rest) = path.strip_prefix("/b3lb/t/") {
        let (scope, rest) = split(rest)?;
        return Some(Route { who: Who::Scope(scope), call: api_call(rest, "/bbb/api")? });
    }
    if let Some(rest) = path.strip_prefix("/bbb/") {
        let (scope, rest) = split(rest)?;
        let call = api_call(rest, "/bigbluebutton/api").unwrap_or_else(|| trim(rest));
        return Some(Route { who: Who::Scope(scope), call });
    }
    let call = match path {
        "/bigbluebutton" | "/bigbluebutton/" => "",
        _ => api_call(path, "/bigbluebutton/api")?,
    };
    Some(Route { who: by_host(host, base_domain), call })
}

/// Whom a host names, where the path does not.
pub(super) fn by_host<'a>(host: &'a str, base_domain: Option<&str>) -> Who<'a> {
    let label = base_domain
        .and_then(|base| host.strip_suffix(base)?.strip_suffix('.'))
        .filter(|label| !label.is_empty());
    Who::Host { host, label }
}

/// The call behind a prefix; front ends are configured with and without a slash at its end.
fn api_call<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    match path.strip_prefix(prefix)? {
        "" => Some(""),
        rest if rest.starts_with('/') => Some(trim(rest)),
        _ => None,
    }
}

/// First path segment, and what follows it with its slash; `None` if nobody can be called so, in whatever
/// case.
fn split(path: &str) -> Option<(&str, &str)> {
    let (scope, rest) = path.find('/').map_or((path, ""), |at| path.split_at(at));
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (!scope.is_empty() && scope.bytes().all(is_word)).then_some((scope, rest))
}

fn trim(path: &str) -> &str {
    path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_tenancy_is_understood() {
        use Who::Scope;
        let below = |host, label| Who::Host { host, label: Some(label) };
        let other = |host| Who::Host { host, label: None };
        for (host, path, who, call) in [
            (
                "acme.bbb.example.org",
                "/bigbluebutton/api/create",
                below("acme.bbb.example.org", "acme"),
                "create",
            ),
            (
                "acme-005.bbb.example.org",
                "/bigbluebutton/api/join",
                below("acme-005.bbb.example.org", "acme-005"),
                "join",
            ),
            ("any", "/b3lb/t/acme/bbb/api/create", Scope("acme"), "create"),
            ("any", "/b3lb/t/acme-7/bbb/api/", Scope("acme-7"), ""),
            ("any", "/bbb/acme/create", Scope("acme"), "create"),
            ("any", "/bbb/acme", Scope("acme"), ""),
            ("any", "/bbb/acme-12/bigbluebutton/api/getMeetings", Scope("acme-12"), "getMeetings"),
            ("meet.acme.example", "/bigbluebutton/api/end", other("meet.acme.example"), "end"),
            ("bbb.example.org", "/bigbluebutton/api", other("bbb.example.org"), ""),
            ("h", "/bigbluebutton/", other("h"), ""),
            ("h", "/bigbluebutton/api/", other("h"), ""),
            ("h", "/bigbluebutton/api//create", other("h"), "create"),
            ("h", "/bigbluebutton/api/hooks/create", other("h"), "hooks/create"),
            // Path forms win over the host.
            ("other.bbb.example.org", "/bbb/acme/create", Scope("acme"), "create"),
        ] {
            let route = route(host, path, Some("bbb.example.org"));
            assert_eq!(route, Some(Route { who, call }), "{host}{path}");
        }
    }

    #[test]
    fn other_paths_lead_nowhere() {
        for path in [
            "/",
            "",
            "/b3lb/t/acme",
            "/b3lb/t/acme/bbb/apix/create",
            "/bigbluebutton/apix",
            "/x",
            "/bbb/",
            "/bbb//create",
            "/bbb/../metrics",
            "/bbb/..%2f..%2fmetrics",
            "/b3lb/t/%61cme/bbb/api/create",
        ] {
            assert_eq!(route("h", path, None), None, "{path}");
        }
    }
}
