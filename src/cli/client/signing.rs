//! Calls of BigBlueButton's API as a tenant's front end would sign them. Secrets stay here.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use tokio::time::timeout;

use super::Access;
use super::access::reachable;
use super::failure::Failure;
use super::lost::Place;
use super::secrets::first_line;
use super::way::Way;
use crate::bbb::{Algorithm, Answer, Call, Params, signed_query};
use crate::chain::Chain;
use crate::config::Settings;
use crate::model::Scope;

const TIMEOUT: Duration = Duration::from_mins(1);
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// How calls are signed, and where they go.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Means {
    /// The tenant's secret, in the first line of a file, `-` for standard input; without it the one of the
    /// configuration file
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Where front ends reach Portico; without it `server.public_url` of the configuration file, or its first listener
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The hash: sha1, sha256, sha384 or sha512; without it sha256, or the first that the tenant may use
    #[arg(long)]
    checksum: Option<Algorithm>,
}

/// Signs calls for one secret of a tenant.
pub(super) struct Signer {
    /// What stands before the call.
    base: String,
    secret: String,
    algorithm: Algorithm,
}

/// A tenant, or one of its secrets, as on the command line.
pub(super) fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| "write a slug, or slug and sub id as in acme-5".to_owned())
}

impl Signer {
    pub(super) fn new(access: &Access, scope: &Scope, means: &Means) -> Result<Self, Failure> {
        let settings = access.settings()?;
        let mut tenants = settings.iter().flat_map(|settings| &settings.inventory.tenants);
        let tenant = tenants.find(|tenant| tenant.slug == scope.tenant);
        let secret = if let Some(file) = &means.secret_file {
            first_line(file)?
        } else {
            let known = tenant.and_then(|tenant| tenant.secret(scope.sub));
            let known = known.map(|known| known.secret.expose().to_owned());
            known.ok_or_else(|| no_secret(scope, settings.is_some()))?
        };
        let allowed = tenant.map(|tenant| tenant.checksums.as_slice()).unwrap_or_default();
        let usual = Algorithm::Sha256;
        let usual = if allowed.contains(&usual) { Some(&usual) } else { allowed.first() };
        let algorithm = means.checksum.or(usual.copied()).unwrap_or(Algorithm::Sha256);
        let server = server_in(settings.as_ref(), means.server.as_deref())?;
        Ok(Self { base: format!("{server}/bbb/{scope}/bigbluebutton/api"), secret, algorithm })
    }

    /// One of a tenant that may use all hashes, at this [`server()`].
    pub(super) fn of_tenant(server: &str, slug: &str, secret: String) -> Self {
        let base = format!("{server}/bbb/{slug}/bigbluebutton/api");
        Self { base, secret, algorithm: Algorithm::Sha256 }
    }

    /// The URL of a call, with its checksum.
    pub(super) fn link(&self, call: Call, pairs: &[(String, String)]) -> String {
        let mut params = Params::default();
        for (name, value) in pairs {
            params.push(name, value);
        }
        let call = call.as_str();
        let query = signed_query(self.algorithm, call, &params.write(), &self.secret);
        format!("{}/{call}?{query}", self.base)
    }

    /// Makes a call that answers in XML.
    pub(super) async fn call(
        &self,
        call: Call,
        pairs: &[(String, String)],
    ) -> Result<Answer, Failure> {
        let link = self.link(call, pairs);
        // Not the link itself, which is as good as a secret for a while.
        let at = &self.base;
        let place = Place {
            tried: at.clone(),
            listener: "server.listen",
            named_by: "--server URL, or server.public_url of the configuration, says so".to_owned(),
            before: None,
        };
        let lost = |error: &dyn std::fmt::Display| Failure::failed(format_args!("{at}: {error}"));
        let request = Request::get(link).body(Full::<Bytes>::default());
        let request = request.map_err(|error| lost(&error))?;
        let way = Way::network(at.starts_with("https://"))?;
        let exchange = async {
            let answer =
                way.send(request).await.map_err(|error| place.lost(error.as_ref(), false))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| lost(&Chain(error.as_ref())))?.to_bytes();
            Ok::<_, Failure>((head.status, body))
        };
        let exchange = timeout(TIMEOUT, exchange).await;
        let (status, body) = exchange.map_err(|_elapsed| place.silent(TIMEOUT.as_secs()))??;
        let answer = Answer::parse(&body);
        let answer = answer.map_err(|_not_xml| {
            lost(&format_args!("{status}: this is no answer of BigBlueButton's API"))
        })?;
        if answer.is_success() {
            return Ok(answer);
        }
        let key = answer.message_key().unwrap_or_default();
        Err(Failure::failed(format_args!("{key}: {}", answer.message().unwrap_or_default())))
    }
}

fn no_secret(scope: &Scope, has_file: bool) -> Failure {
    let where_it_is_not = if has_file { "not in the configuration file" } else { "not known" };
    Failure::wrong(format_args!(
        "the secret of tenant {scope} is {where_it_is_not}, and the API takes secrets and never gives them: say \
         --secret-file FILE"
    ))
}

/// Where front ends reach Portico, as it was said or as the configuration file says.
pub(super) fn server(access: &Access, said: Option<&str>) -> Result<String, Failure> {
    server_in(access.settings()?.as_ref(), said)
}

fn server_in(settings: Option<&Settings>, said: Option<&str>) -> Result<String, Failure> {
    let server = said.map(str::to_owned).or_else(|| settings.and_then(server_of));
    let server =
        server.ok_or_else(|| Failure::wrong("where is Portico? Say --server URL, or -c FILE"))?;
    let server = server.trim_end_matches('/');
    if !server.starts_with("http://") && !server.starts_with("https://") {
        return Err(Failure::wrong(format_args!("--server is no URL of http or https: {server}")));
    }
    Ok(server.to_owned())
}

fn server_of(settings: &Settings) -> Option<String> {
    if let Some(url) = &settings.server.public_url {
        return Some(url.as_str().to_owned());
    }
    let listen = settings.server.listen.first()?;
    let scheme = if listen.tls.is_some() { "https" } else { "http" };
    Some(format!("{scheme}://{}", reachable(listen.address)))
}

/// `record=true`: a parameter of a call, whatever it looks like.
pub(super) fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as record=true")?;
    if name.is_empty() {
        return Err("a parameter needs a name".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Those that are not named get these values, before the others.
pub(super) fn with_defaults(
    pairs: &[(String, String)],
    defaults: &[(&str, &str)],
) -> Vec<(String, String)> {
    let is_named = |name: &str| pairs.iter().any(|(known, _)| known == name);
    let defaults = defaults.iter().filter(|(name, _)| !is_named(name));
    let defaults = defaults.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    defaults.chain(pairs.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_signed_as_a_front_end_signs_it() {
        let signer = Signer {
            base: "https://bbb.example/bbb/acme-5/bigbluebutton/api".to_owned(),
            secret: "639259d4-9dd8-4b25-bf01-95f9567eaf4b".to_owned(),
            algorithm: Algorithm::Sha1,
        };
        // The example of BigBlueButton's documentation.
        let pairs = [
            ("name", "Test Meeting"),
            ("meetingID", "abc123"),
            ("attendeePW", "111222"),
            ("moderatorPW", "333444"),
        ];
        let pairs: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(
            signer.link(Call::Create, &pairs),
            "https://bbb.example/bbb/acme-5/bigbluebutton/api/create?name=Test+Meeting&meetingID=abc123\
             &attendeePW=111222&moderatorPW=333444&checksum=1fcbb0c4fc1f039f73aa6d697d2db9ba7f803f17"
        );
    }

    #[test]
    fn what_is_named_is_not_put_in() {
        let pairs = [parameter("name=a=b").unwrap(), parameter("record=").unwrap()];
        let all = with_defaults(&pairs, &[("name", "x"), ("role", "y")]);
        let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(all, [("role", "y"), ("name", "a=b"), ("record", "")]);
        assert!(parameter("name").is_err() && parameter("=a").is_err());
    }
}
