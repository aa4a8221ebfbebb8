//! `hooks/create`, `hooks/list`, `hooks/destroy`: the calls of bbb-webhooks, answered from our own table.
//!
//! Every node has one hook, which is ours; what it tells is given to the hooks of whoever owns the
//! meeting. So a front end's hook is told of its meetings whichever node they run on.

use log::warn;

use super::{Asked, Decision};
use crate::bbb::{Child, Element, Failure};
use crate::chain::Chain;
use crate::edge::Edge;
use crate::edge::refusal::{Fault, Refusal};
use crate::edge::reply::Reply;
use crate::fleet::{Wish, now_ms};
use crate::model::{Callback, CallbackKind, CallbackToken, Hook, MeetingKey, NodeName};
use crate::store::{self, Adding};

/// There are some forty events.
const MAX_EVENTS: usize = 100;

/// Keeps a hook. It is on the disk when its number is told.
pub(super) async fn create(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    let url =
        text(asked, "callbackURL").ok_or_else(|| Refusal::client(Failure::MISSING_CALLBACK_URL))?;
    if edge.settings.callbacks.public_url().is_none() {
        warn!("a webhook is refused: nodes cannot reach us, server.public_url is not set");
        return Err(Refusal { failure: Failure::CREATE_HOOK_ERROR, fault: Fault::Portico });
    }
    if let Err(forbidden) = edge.settings.callbacks.reach().read(&url) {
        warn!("tenant {}: a webhook is refused: {forbidden}", asked.caller.scope);
        return Err(Refusal::client(Failure::CREATE_HOOK_ERROR));
    }
    let events: Vec<String> = text(asked, "eventID")
        .unwrap_or_default()
        .split(',')
        .map(|event| event.trim().to_ascii_lowercase())
        .filter(|event| !event.is_empty())
        .collect();
    if events.len() > MAX_EVENTS {
        return Err(Refusal::client(Failure::CREATE_HOOK_ERROR));
    }
    let hook = Hook {
        id: 0,
        scope: asked.caller.scope.clone(),
        token: CallbackToken::new(rand::random()),
        callback_url: url,
        meeting_id: text(asked, "meetingID"),
        events,
        raw: text(asked, "getRaw").is_some_and(|raw| raw == "true"),
        created_at_ms: now_ms(),
    };
    let wished = loop {
        match edge.fleet.hooks.wish(hook.clone()) {
            Wish::New(wished) => match add(edge, wished.hook()).await? {
                Adding::Kept => break wished,
                Adding::Known(hook) => {
                    drop(wished);
                    edge.fleet.hooks.enter((*hook).clone());
                    return Ok(respond(&known(&hook)));
                }
                Adding::Taken(last_id) => edge.fleet.hooks.skip(last_id),
            },
            Wish::Known(hook) => return Ok(respond(&known(&hook))),
            // No number is told before it is saved. An error says that it is, or will not be.
            Wish::Saving(mut done) => while done.changed().await.is_ok() {},
            Wish::TooMany => return Err(Refusal::client(Failure::CREATE_HOOK_ERROR)),
        }
    };
    let hook = wished.hook();
    let mut response = success();
    response.push_text("hookID", &hook.id.to_string());
    describe(&mut response, hook);
    edge.fleet.tell_hook(hook);
    wished.enter();
    Ok(respond(&response))
}

/// Saves a hook, unless another instance has its number, or the same hook.
async fn add(edge: &Edge, hook: &Hook) -> Result<Adding, Refusal> {
    let added = async {
        edge.store.put_callbacks(&[callback(hook)]).await?;
        let added = edge.store.add_hook(hook).await?;
        if let Adding::Known(_) = added {
            edge.store.remove_callbacks(std::slice::from_ref(&hook.token)).await?;
        }
        Ok::<_, store::Error>(added)
    };
    added.await.map_err(|error| {
        warn!("a webhook is refused because it cannot be saved: {}", Chain(&error));
        Refusal { failure: Failure::CREATE_HOOK_ERROR, fault: Fault::Portico }
    })
}

/// Learns what other instances have made of the tenant's hooks, if the store can be asked.
async fn follow_others(edge: &Edge, asked: &Asked<'_>) {
    if !edge.has_others() {
        return;
    }
    let tenant = &asked.caller.scope.tenant;
    let since = *edge.fleet.hooks.changes().borrow();
    if let Some(Ok(hooks)) = edge.patience.wait(edge.store.find_hooks(Some(tenant))).await {
        edge.fleet.hooks.follow(Some(tenant), hooks, since);
    }
}

/// The hooks that the caller may see.
pub(super) async fn list(edge: &Edge, asked: &Asked<'_>) -> Decision {
    follow_others(edge, asked).await;
    let mut hooks = Element::new("hooks");
    let meeting_id = text(asked, "meetingID");
    for hook in edge.fleet.hooks.list(&asked.caller.scope, meeting_id.as_deref()) {
        let mut element = Element::new("hook");
        element.push_text("hookID", &hook.id.to_string());
        element.push(cdata("callbackURL", &hook.callback_url));
        if let Some(id) = &hook.meeting_id {
            element.push(cdata("meetingID", id));
        }
        if !hook.events.is_empty() {
            element.push_text("eventID", &hook.events.join(","));
        }
        describe(&mut element, &hook);
        hooks.push(element);
    }
    let mut response = success();
    response.push(hooks);
    respond(&response)
}

/// Takes a hook out. One of somebody else is as unknown as none.
pub(super) async fn destroy(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    let id = text(asked, "hookID").ok_or_else(|| Refusal::client(Failure::MISSING_HOOK_ID))?;
    let remove = || edge.fleet.hooks.remove(&asked.caller.scope, id.parse().ok()?);
    let mut removed = remove();
    if removed.is_none() {
        follow_others(edge, asked).await;
        removed = remove();
    }
    let hook = removed.ok_or_else(|| Refusal::client(Failure::MISSING_HOOK))?;
    let removed = async {
        edge.store.remove_hook(hook.id).await?;
        edge.store.remove_callbacks(std::slice::from_ref(&hook.token)).await
    };
    if let Err(error) = removed.await {
        warn!("a webhook that was removed comes back with a restart: {}", Chain(&error));
        edge.fleet.hooks.enter(hook);
        return Err(Refusal { failure: Failure::DESTROY_HOOK_ERROR, fault: Fault::Portico });
    }
    edge.fleet.tell_hook_removed(hook.id);
    let mut response = success();
    response.push_text("removed", "true");
    Ok(respond(&response))
}

/// What its deliveries belong to.
fn callback(hook: &Hook) -> Callback {
    Callback {
        token: hook.token.clone(),
        kind: CallbackKind::Hook,
        key: MeetingKey {
            scope: hook.scope.clone(),
            id: hook.meeting_id.clone().unwrap_or_default(),
        },
        node: NodeName::new(""),
        node_meeting_id: String::new(),
        internal_id: None,
        target: Some(hook.callback_url.clone()),
        created_at_ms: hook.created_at_ms,
    }
}

fn text(asked: &Asked<'_>, name: &str) -> Option<String> {
    let value = asked.params.get(name)?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn known(hook: &Hook) -> Element {
    let mut response = success();
    response.push_text("hookID", &hook.id.to_string());
    response.push_text("messageKey", "duplicateWarning");
    response.push_text("message", "There is already a hook for this callback URL.");
    response
}

fn describe(element: &mut Element, hook: &Hook) {
    element.push_text("permanentHook", "false");
    element.push_text("rawData", if hook.raw { "true" } else { "false" });
}

fn success() -> Element {
    let mut response = Element::new("response");
    response.push_text("returncode", "SUCCESS");
    response
}

fn cdata(name: &str, text: &str) -> Element {
    let mut element = Element::new(name);
    element.children.push(Child::CData(text.to_owned()));
    element
}

fn respond(response: &Element) -> Decision {
    Decision::Respond(Reply::xml(response.to_vec()))
}
