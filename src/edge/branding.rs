//! A tenant's look on its way into `create` and `join`.
//!
//! It comes after the rules, and gives way to whatever the front end or a rule has set. Only slides with
//! `force` go before those of the front end.

use bytes::Bytes;
use http::HeaderValue;
use log::warn;
use pingora_proxy::Session;

use super::ask::MAX_QUERY_BYTES;
use super::authenticate::Caller;
use super::calls::Asked;
use super::upload::Upload;
use super::{Edge, assets, client};
use crate::bbb::{Call, Params, Slides, other_modules, slides_body};
use crate::model::{AssetKind, Branding, Look};

/// Names the slides of a front end that come as a parameter.
const OWN_SLIDES: [&str; 2] = ["preUploadedPresentation", "preUploadedPresentationName"];
const STYLE_URL: &str = "userdata-bbb_custom_style_url";
const XML: HeaderValue = HeaderValue::from_static("application/xml");

/// Scheme and authority of our own URLs, if this call needs any: as configured, else as the caller sees us.
pub(super) fn base(
    edge: &Edge,
    session: &Session,
    caller: &Caller<'_>,
    call: Call,
) -> Option<String> {
    let Branding { logo, slide, css, .. } = &caller.tenant.tenant.branding;
    let is_ours = |look: &Option<Look>| matches!(look, Some(Look::File(_)));
    let is_needed = match call {
        Call::Create => is_ours(logo) || is_ours(slide),
        Call::Join => is_ours(css),
        _ => false,
    };
    if !is_needed {
        return None;
    }
    if let Some(url) = &edge.settings.public_url {
        return Some(url.as_str().trim_end_matches('/').to_owned());
    }
    client::origin(session, &edge.settings.trusted_proxies)
}

/// The logo of a new meeting; with `force`, slides that come as a parameter give way.
pub(super) fn dress_create(asked: &Asked<'_>, params: &mut Params<'_>) {
    set_unless_present(asked, params, "logo", AssetKind::Logo);
    if is_forced(asked) {
        params.remove_all(&OWN_SLIDES);
    }
}

/// The style sheet of the client.
pub(super) fn dress_join(asked: &Asked<'_>, params: &mut Params<'_>) {
    set_unless_present(asked, params, STYLE_URL, AssetKind::Css);
}

/// Whether slides of the front end are not to be seen.
pub(super) fn is_forced(asked: &Asked<'_>) -> bool {
    let branding = &asked.caller.tenant.tenant.branding;
    branding.force && matches!(branding.slide, Some(Look::Url(_) | Look::File(_)))
}

/// The tenant's slides as the body of a create with these parameters, unless the front end's own go first.
pub(super) fn slides(asked: &Asked<'_>, params: &Params<'_>) -> Option<Upload> {
    let tenant = &asked.caller.tenant.tenant;
    let look = tenant.branding.slide.as_ref()?;
    let has_own = asked.upload.is_some() || !params.is_blank(OWN_SLIDES[0]);
    if has_own && !is_forced(asked) {
        return None;
    }
    // With slides in the body, all parameters are in the request line, which nodes bound.
    if params.write().len() > MAX_QUERY_BYTES {
        warn!("tenant {}: a create has too many parameters to bring slides, too", tenant.slug);
        return None;
    }
    // What else the front end has sent along stays, where it is all here.
    let others = asked.upload.as_ref().map(|own| own.whole().map(|own| other_modules(&own)));
    if others == Some(None) {
        warn!(
            "tenant {}: a body of slides is too long to keep what else is in it beside the forced ones",
            tenant.slug
        );
    }
    let others = others.flatten().unwrap_or_default();
    let body = match look {
        Look::File(asset) => match asset.inline_slides() {
            Some(body) if others.is_empty() => body,
            Some(_) => slides_body(&asset.name(), Slides::Inline(asset.bytes()), others).into(),
            None => by_url(&asset.name(), &url(asked, AssetKind::Slide)?, others),
        },
        Look::Url(url) => by_url(&name_in(url, tenant.slug.as_str()), url, others),
        Look::Lost(_) => return None,
    };
    Some(Upload::ours(XML, body))
}

fn by_url(name: &str, url: &str, others: Vec<crate::bbb::Element>) -> Bytes {
    slides_body(name, Slides::Url(url), others).into()
}

/// The file name at the end of a URL. Nodes take the type from it.
fn name_in(url: &str, slug: &str) -> String {
    let parsed = url::Url::parse(url).ok();
    let last = parsed.as_ref().and_then(|url| url.path_segments()?.next_back());
    match last {
        Some(name) if name.contains('.') => name.to_owned(),
        _ => format!("{slug}.pdf"),
    }
}

fn set_unless_present(asked: &Asked<'_>, params: &mut Params<'_>, name: &str, kind: AssetKind) {
    let tenant = &asked.caller.tenant.tenant;
    let Some(look) = tenant.branding.get(kind) else { return };
    if params.contains(name) {
        return;
    }
    match (look, &asked.look_base) {
        (Look::Url(url), _) => params.push(name, url),
        (Look::File(_), Some(base)) => {
            params.push_pieces(name, &assets::url(base, tenant.slug.as_str(), kind));
        }
        (Look::File(_), None) | (Look::Lost(_), _) => {}
    }
}

/// Where this part of the caller's look is to be fetched.
fn url(asked: &Asked<'_>, kind: AssetKind) -> Option<String> {
    let tenant = &asked.caller.tenant.tenant;
    match tenant.branding.get(kind)? {
        Look::Url(url) => Some(url.clone()),
        Look::Lost(_) => None,
        Look::File(_) => {
            let base = asked.look_base.as_ref()?;
            Some(assets::url(base, tenant.slug.as_str(), kind).concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slides_at_a_url_have_a_name_with_a_type() {
        for (url, name) in [
            ("https://x.test/a/b.pdf", "b.pdf"),
            ("https://x.test/a/b.pptx?v=1#p", "b.pptx"),
            ("https://x.test/a/", "acme.pdf"),
            ("https://x.test", "acme.pdf"),
        ] {
            assert_eq!(name_in(url, "acme"), name, "{url}");
        }
    }
}
