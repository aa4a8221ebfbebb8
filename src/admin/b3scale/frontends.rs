//! Frontends: tenants, by their main secret.

use std::collections::HashMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::super::api::documents::{self, Secrets};
use super::super::api::problem::Problem;
use super::super::api::{edits, objects};
use super::body::{Fields, Given};
use super::settings::Settings;
use super::{Annex, Answer, NEVER, Right, Visitor, filter, id_of, not_found, ok, wrong};
use crate::model::{Inventory, Kind, Object, ObjectName, SubId, Tenant};

/// A tenant as b3scale knows it.
#[derive(Debug, Clone, PartialEq)]
struct Frontend {
    key: String,
    secret: String,
    is_active: bool,
    /// `account_ref`.
    account: Option<String>,
    settings: Settings,
}

impl Frontend {
    fn of(tenant: &Tenant) -> Self {
        let secret = tenant.secret(SubId::MAIN).map(|main| main.secret.expose());
        Self {
            key: tenant.slug.as_str().to_owned(),
            secret: secret.unwrap_or_default().to_owned(),
            is_active: tenant.is_enabled,
            account: tenant.account.clone(),
            settings: Settings::of(tenant),
        }
    }

    fn merge(&mut self, body: &Fields<'_>) -> Result<(), Problem> {
        if let Some(bbb) = body.object("bbb")?.value() {
            if let Some(key) = bbb.text("key")?.value() {
                key.trim().clone_into(&mut self.key);
            }
            if let Some(secret) = bbb.text("secret")?.value() {
                secret.trim().clone_into(&mut self.secret);
            }
        }
        if let Some(settings) = body.object("settings")?.value() {
            self.settings.merge(&settings)?;
        }
        if let Some(is_active) = body.flag("active")?.value() {
            self.is_active = is_active;
        }
        match body.text("account_ref")? {
            Given::Absent => {}
            Given::Null => self.account = None,
            Given::Is(account) => {
                self.account = Some(account.to_owned()).filter(|it| !it.is_empty());
            }
        }
        let missing = [("bbb.key", &self.key), ("bbb.secret", &self.secret)];
        let missing: Vec<_> = missing
            .into_iter()
            .filter(|(_, value)| value.is_empty())
            .map(|(field, _)| (field.to_owned(), "this field is required".to_owned()))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(Problem::fields(missing)) }
    }

    /// The tenant that this makes of the one before.
    fn apply(&self, before: &Tenant) -> Result<Object, Problem> {
        let now = Self::of(before);
        let object = Object::Tenant(Box::new(before.clone()));
        if *self == now {
            return Ok(object);
        }
        let mut document = documents::write(&object, Secrets::Shown);
        document["slug"] = json!(self.key);
        document["enabled"] = json!(self.is_active);
        document["account"] = json!(self.account);
        let secrets = document["secrets"].as_array_mut();
        for secret in secrets.into_iter().flatten().filter(|secret| secret["sub_id"] == 0) {
            secret["secret"] = json!(self.secret);
        }
        self.settings.write(&now.settings, before, &mut document);
        objects::read(Kind::Tenant, &document, Some(&object))
            .map_err(|problem| problem.renamed(|field| field_of(field, &document)))
    }
}

/// What b3scale calls a field of a tenant.
fn field_of(field: &str, document: &Value) -> String {
    if let Some((call, rest)) =
        field.strip_prefix("params.").and_then(|field| field.split_once('['))
        && let Some(at) = rest.split(']').next().and_then(|at| at.parse::<usize>().ok())
    {
        let rule = &document["params"][call][at];
        let kind = if rule["mode"] == "override" { "override" } else { "default" };
        let name = rule["name"].as_str().unwrap_or_default();
        return format!("settings.{call}_{kind}_params.{name}");
    }
    let known = [
        ("slug", "bbb.key"),
        ("enabled", "active"),
        ("account", "account_ref"),
        ("secrets", "bbb.secret"),
        ("required_tags", "settings.required_tags"),
        ("branding.slide", "settings.default_presentation.url"),
        ("limits", "settings.attendees_limit.limit"),
    ];
    let known = known.into_iter().find(|(ours, _)| field.starts_with(ours));
    known.map_or(field, |(_, theirs)| theirs).to_owned()
}

/// The cluster group of tenants that come this way: b3scale has none.
fn group_of(inventory: &Inventory) -> Result<String, Problem> {
    let groups = &inventory.groups;
    let default = groups.iter().find(|group| group.name == "default");
    let only = groups.first().filter(|_| groups.len() == 1);
    default.or(only).map(|group| group.name.clone()).ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "a frontend needs a cluster group: name one of them `default`, or add the tenant through \
             Portico's own API",
        )
    })
}

fn name_of(tenant: &Tenant) -> ObjectName {
    ObjectName::new(Kind::Tenant, tenant.slug.as_str())
}

fn view(tenant: &Tenant) -> Value {
    let Frontend { key, secret, is_active, account, settings } = Frontend::of(tenant);
    json!({
        "id": id_of(&name_of(tenant)),
        "active": is_active,
        "bbb": {"key": key, "secret": secret},
        "settings": settings,
        "account_ref": account,
        "created_at": NEVER,
        "updated_at": NEVER,
    })
}

fn view_of(object: &Object) -> Result<Value, Problem> {
    match object {
        Object::Tenant(tenant) => Ok(view(tenant)),
        _ => Err(not_found()),
    }
}

impl Visitor {
    /// Whether it may know of a tenant: everybody's, or that of its own account.
    fn sees(&self, tenant: &Tenant) -> bool {
        let account = tenant.account.as_deref();
        let is_own = self.is(Right::User) && account == Some(self.subject.as_str());
        self.is(Right::Admin) || is_own
    }
}

impl Annex {
    /// The tenant of an id; for an account, only one of its own.
    fn tenant(&self, visitor: &Visitor, id: &str) -> Result<Tenant, Problem> {
        let in_force = self.desk.keeper.in_force();
        let mut tenants = in_force.inventory.tenants.iter();
        let is_it = |tenant: &&Tenant| id_of(&name_of(tenant)) == id;
        let found = tenants.find(is_it).filter(|tenant| visitor.sees(tenant));
        found.cloned().ok_or_else(not_found)
    }

    pub(super) fn list_frontends(
        &self,
        visitor: &Visitor,
        query: &HashMap<String, String>,
    ) -> Answer {
        visitor.may(&[Right::Admin, Right::User])?;
        let account = filter(query, "account_ref");
        let (key, part) = (filter(query, "key"), filter(query, "key__like"));
        let is_wanted = |tenant: &&Tenant| {
            let slug = tenant.slug.as_str();
            visitor.sees(tenant)
                && account.is_none_or(|account| tenant.account.as_deref() == Some(account))
                && key.is_none_or(|key| slug == key)
                && part.is_none_or(|part| slug.contains(part))
        };
        let in_force = self.desk.keeper.in_force();
        let tenants = in_force.inventory.tenants.iter().filter(is_wanted);
        Ok(ok(tenants.map(view).collect()))
    }

    pub(super) fn get_frontend(&self, visitor: &Visitor, id: &str) -> Answer {
        visitor.may(&[Right::Admin, Right::User])?;
        Ok(ok(view(&self.tenant(visitor, id)?)))
    }

    pub(super) async fn add_frontend(
        &self,
        visitor: &Visitor,
        body: impl AsyncFnOnce() -> Result<Value, Problem>,
    ) -> Answer {
        visitor.may(&[Right::Admin])?;
        let body = body().await?;
        let fields = Fields::of(&body)?;
        let bbb = fields.object("bbb")?.value();
        let text = |name| -> Result<String, Problem> {
            let text = bbb.as_ref().map_or(Ok(Given::Absent), |bbb| bbb.text(name))?;
            Ok(text.value().unwrap_or_default().trim().to_owned())
        };
        let [key, secret] = [text("key")?, text("secret")?];
        let required = |value: &str| if value.is_empty() { "this field is required" } else { "" };
        let missing = [("bbb.key", required(&key)), ("bbb.secret", required(&secret))];
        let missing = missing.into_iter().filter(|(_, detail)| !detail.is_empty());
        let missing: Vec<_> =
            missing.map(|(field, detail)| (field.to_owned(), detail.to_owned())).collect();
        if !missing.is_empty() {
            return Err(Problem::fields(missing));
        }
        let group = group_of(&self.desk.keeper.in_force().inventory)?;
        let document = json!({
            "slug": key, "cluster_group": group, "secrets": [{"sub_id": 0, "secret": secret}],
        });
        let bare = objects::read(Kind::Tenant, &document, None)
            .map_err(|problem| problem.renamed(|field| field_of(field, &document)))?;
        let Object::Tenant(bare) = bare else { return Err(not_found()) };
        let mut frontend = Frontend::of(&bare);
        frontend.merge(&fields)?;
        // Tools send the state that an object has before anybody gave it one.
        frontend.is_active = true;
        let tenant = frontend.apply(&bare)?;
        let added = edits::add(&self.desk, &visitor.who, &tenant).await;
        added.map_err(|problem| problem.into_field("bbb.key"))?;
        Ok(ok(view_of(&tenant)?))
    }

    pub(super) async fn change_frontend(
        &self,
        visitor: &Visitor,
        id: &str,
        body: impl AsyncFnOnce() -> Result<Value, Problem>,
    ) -> Answer {
        visitor.may(&[Right::Admin, Right::User])?;
        let tenant = self.tenant(visitor, id)?;
        let body = body().await?;
        let fields = Fields::of(&body)?;
        let edit = |before: &Object| {
            let Object::Tenant(before) = before else { return Err(not_found()) };
            let mut frontend = Frontend::of(before);
            frontend.merge(&fields)?;
            if !visitor.is(Right::Admin) {
                frontend.account.clone_from(&before.account);
                let is_lifted = frontend.is_active != before.is_enabled
                    || frontend.settings.differs_in_policy(&Settings::of(before), before);
                if is_lifted {
                    // An account must not switch itself on again, or lift what it was limited to.
                    visitor.may(&[Right::Admin])?;
                }
            }
            if frontend.key != before.slug.as_str() {
                let detail = "cannot be changed: add another frontend and delete this one";
                return Err(wrong("bbb.key", detail));
            }
            frontend.apply(before)
        };
        let before = Object::Tenant(Box::new(tenant.clone()));
        // Tools send the whole back, of tenants of the file as well.
        if edit(&before)? == before {
            return Ok(ok(view(&tenant)));
        }
        let name = name_of(&tenant);
        let (after, _) = edits::change(&self.desk, &visitor.who, &name, edit, None).await?;
        Ok(ok(view_of(&after)?))
    }

    pub(super) async fn remove_frontend(&self, visitor: &Visitor, id: &str) -> Answer {
        visitor.may(&[Right::Admin])?;
        let name = name_of(&self.tenant(visitor, id)?);
        let gone = edits::remove(&self.desk, &visitor.who, &name, |_| Ok(())).await?;
        let mut view = view_of(&gone)?;
        view["active"] = json!(false);
        Ok(ok(view))
    }
}
