//! The pages that people see when a join cannot go through. They come back by themselves.

use http::StatusCode;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::reply::{HTML, Reply};
use crate::bbb::Failure;

/// Seconds until a page tries again: soon enough for people, and seldom enough for a full lecture hall.
const RETRY_SECONDS: u32 = 5;

pub(super) const STYLE: &str = "body{font:17px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;\
place-items:center;background:#f3f5f8;color:#1c2733}main{max-width:30rem;margin:1rem;padding:2rem 2.5rem;\
background:#fff;border-radius:12px;box-shadow:0 2px 14px #0b1f3a1f}h1{font-size:1.3rem;margin:0 0 .6rem}\
p{margin:.5rem 0}.who{color:#5b6b7c;font-size:.9rem}a{color:#0b57a4}\
@media(prefers-color-scheme:dark){body{background:#10161d;color:#e6ebf1}main{background:#1a232d}\
.who{color:#9fb0c1}a{color:#7db8f0}}";

/// The meeting is unknown: most likely nobody has started it yet.
pub(super) fn not_started(tenant: &str) -> Reply {
    retrying(
        StatusCode::NOT_FOUND,
        tenant,
        "This meeting has not started yet",
        "As soon as it starts, this page will take you there.",
    )
}

/// The node of the meeting cannot be reached.
pub(super) fn node_away(tenant: &str) -> Reply {
    retrying(
        StatusCode::SERVICE_UNAVAILABLE,
        tenant,
        "The server of this meeting cannot be reached at the moment",
        "This page tries again by itself. You do not have to do anything.",
    )
}

/// A failure that trying again does not mend.
pub(super) fn failure(tenant: &str, failure: &Failure) -> Reply {
    let body =
        page(tenant, "You cannot join this meeting", &html! { p { (failure.message) } }, None);
    Reply::new(StatusCode::OK, HTML, body.into_string())
}

fn retrying(status: StatusCode, tenant: &str, title: &str, text: &str) -> Reply {
    let content = html! {
        p { (text) }
        p role="status" { "Next try in " (RETRY_SECONDS) " seconds. " a href="" { "Try now" } }
    };
    let body = page(tenant, title, &content, Some(RETRY_SECONDS));
    let mut reply = Reply::new(status, HTML, body.into_string());
    reply.retry_after = Some(RETRY_SECONDS);
    reply
}

fn page(tenant: &str, title: &str, content: &Markup, refresh: Option<u32>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                @if let Some(seconds) = refresh {
                    // Without an address it loads the same one again.
                    meta http-equiv="refresh" content=(seconds);
                }
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    (content)
                    p.who { (tenant) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_its_tenant_and_escapes_it() {
        let reply = node_away("<Acme> & Co");
        let body = String::from_utf8(reply.body.to_vec()).expect("UTF-8");
        assert!(body.contains("&lt;Acme&gt; &amp; Co"), "{body}");
        assert!(body.contains("http-equiv=\"refresh\" content=\"5\""), "{body}");
        assert_eq!((reply.status.as_u16(), reply.retry_after), (503, Some(5)));
    }
}
