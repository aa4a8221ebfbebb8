//! The settings of a frontend, and what they are of a tenant.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::super::api::problem::Problem;
use super::super::api::tags::each_once;
use super::body::{Fields, Given};
use super::wrong;
use crate::model::{AssetKind, Look, Rule, RuleList, RuleMode, Tenant};

/// A list of features of which nodes take the union: b3scale's defaults add to what a front end says.
const UNITED: &str = "disabledFeatures";

type Texts = BTreeMap<String, String>;

/// What b3scale knows of a tenant beside its key and secret.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Settings {
    required_tags: Option<Vec<String>>,
    default_presentation: Option<Presentation>,
    attendees_limit: Option<AttendeesLimit>,
    create_default_params: Texts,
    create_override_params: Texts,
    join_default_params: Texts,
    join_override_params: Texts,
    /// There is nothing here that could be set.
    recordings: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Presentation {
    url: String,
    force: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct AttendeesLimit {
    limit: i64,
}

impl Settings {
    /// What of a tenant's settings can be told so. What cannot stays out, and stays as it is.
    pub(super) fn of(tenant: &Tenant) -> Self {
        let slide = match tenant.branding.get(AssetKind::Slide) {
            Some(Look::Url(url)) => Some(url.clone()),
            Some(Look::File(_) | Look::Lost(_)) | None => None,
        };
        let limits = &tenant.limits;
        let is_limited = limits.attendees > 0 && limits.limit_joins;
        let [create_default_params, create_override_params] = texts_of(&tenant.rules.create);
        let [join_default_params, join_override_params] = texts_of(&tenant.rules.join);
        Self {
            required_tags: Some(tenant.required_tags.clone()).filter(|tags| !tags.is_empty()),
            default_presentation: slide
                .map(|url| Presentation { url, force: tenant.branding.force }),
            attendees_limit: is_limited
                .then_some(AttendeesLimit { limit: limits.attendees.into() }),
            create_default_params,
            create_override_params,
            join_default_params,
            join_override_params,
            recordings: None,
        }
    }

    /// Takes over what a body says, as b3scale does: maps are merged, a list takes the place of the one before,
    /// and `null` empties.
    pub(super) fn merge(&mut self, body: &Fields<'_>) -> Result<(), Problem> {
        match body.texts("required_tags")? {
            Given::Absent => {}
            Given::Null => self.required_tags = None,
            Given::Is(tags) => self.required_tags = Some(tags).filter(|tags| !tags.is_empty()),
        }
        match body.object("default_presentation")? {
            Given::Absent => {}
            Given::Null => self.default_presentation = None,
            Given::Is(fields) => {
                let before = self.default_presentation.take();
                let mut next = before.unwrap_or(Presentation { url: String::new(), force: false });
                if let Some(url) = fields.text("url")?.value() {
                    url.trim().clone_into(&mut next.url);
                }
                if let Some(force) = fields.flag("force")?.value() {
                    next.force = force;
                }
                self.default_presentation = Some(next).filter(|next| !next.url.is_empty());
            }
        }
        match body.object("attendees_limit")? {
            Given::Absent => {}
            Given::Null => self.attendees_limit = None,
            Given::Is(fields) => {
                if let Some(limit) = fields.integer("limit")?.value() {
                    // 0 is b3scale's word for none.
                    self.attendees_limit = (limit != 0).then_some(AttendeesLimit { limit });
                }
            }
        }
        for (name, texts) in [
            ("create_default_params", &mut self.create_default_params),
            ("create_override_params", &mut self.create_override_params),
            ("join_default_params", &mut self.join_default_params),
            ("join_override_params", &mut self.join_override_params),
        ] {
            match body.map(name)? {
                Given::Absent => {}
                Given::Null => texts.clear(),
                Given::Is(more) => {
                    texts.extend(more);
                    // They are not kept there, so an empty value is how one takes a parameter back.
                    texts.retain(|_, value| !value.is_empty());
                }
            }
        }
        if let Given::Is(fields) = body.object("recordings")?
            && fields.text("visibility_override")?.value().is_some()
        {
            let detail = "recordings are published by nodes and front ends; there is no override";
            return Err(wrong("settings.recordings.visibility_override", detail));
        }
        Ok(())
    }

    /// Default parameters and overrides of a call.
    fn pairs(&self, call: Call) -> [Texts; 2] {
        match call {
            Call::Create => {
                [self.create_default_params.clone(), self.create_override_params.clone()]
            }
            Call::Join => [self.join_default_params.clone(), self.join_override_params.clone()],
        }
    }

    /// Whether they say otherwise what an operator limits a tenant to: also by a rule that b3scale does not know,
    /// which a default or an override of its parameter would undo.
    pub(super) fn differs_in_policy(&self, other: &Self, tenant: &Tenant) -> bool {
        let undoes = |call, rules: &RuleList| {
            let limited = |name: &String| {
                rules.iter().any(|rule| rule.name == *name && kind_of(rule).is_none())
            };
            let (now, then) = (self.pairs(call), other.pairs(call));
            now.iter().zip(&then).any(|(now, then)| {
                now.iter().any(|(name, value)| then.get(name) != Some(value) && limited(name))
            })
        };
        self.required_tags != other.required_tags
            || self.attendees_limit != other.attendees_limit
            || undoes(Call::Create, &tenant.rules.create)
            || undoes(Call::Join, &tenant.rules.join)
    }

    /// Writes into a tenant's document what differs from `before`.
    pub(super) fn write(&self, before: &Self, tenant: &Tenant, document: &mut Value) {
        if self.required_tags != before.required_tags {
            let tags = self.required_tags.as_deref().unwrap_or_default();
            document["required_tags"] = json!(each_once(tags));
        }
        if self.attendees_limit != before.attendees_limit {
            let limit = self.attendees_limit.as_ref().map_or(0, |limit| limit.limit);
            document["limits"]["attendees"] = json!(limit);
            document["limits"]["limit_joins"] = json!(limit != 0);
        }
        if self.default_presentation != before.default_presentation {
            let url = self.default_presentation.as_ref().map(|slides| slides.url.clone());
            let force = self.default_presentation.as_ref().is_some_and(|slides| slides.force);
            if let Some(branding) = document["branding"].as_object_mut() {
                match url {
                    Some(url) => branding.insert("slide".to_owned(), url.into()),
                    None => branding.remove("slide"),
                };
                branding.insert("force".to_owned(), force.into());
            }
        }
        for (call, name, rules) in [
            (Call::Create, "create", &tenant.rules.create),
            (Call::Join, "join", &tenant.rules.join),
        ] {
            let (now, then) = (self.pairs(call), before.pairs(call));
            if now != then {
                document["params"][name] = json!(rules_of(&now, rules));
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Call {
    Create,
    Join,
}

/// Whether a rule is what b3scale calls a default parameter (0) or an override (1).
fn kind_of(rule: &Rule) -> Option<(usize, &str)> {
    let (kind, value) = match &rule.mode {
        RuleMode::Set(value) if rule.name != UNITED => (0, value),
        RuleMode::Append(value) if rule.name == UNITED => (0, value),
        RuleMode::Override(value) => (1, value),
        _ => return None,
    };
    (!value.is_empty()).then_some((kind, value))
}

fn texts_of(rules: &RuleList) -> [Texts; 2] {
    let mut texts = [Texts::new(), Texts::new()];
    for rule in rules.iter() {
        let Some((kind, value)) = kind_of(rule) else { continue };
        let (name, value) = (rule.name.clone(), value.to_owned());
        if kind == 0 {
            // The first that fills in a parameter is the last that finds it absent.
            texts[0].entry(name).or_insert(value);
        } else {
            texts[1].insert(name, value);
        }
    }
    texts
}

/// Overrides come before defaults, as b3scale applies them, and both after rules that it does not know.
fn rules_of([defaults, overrides]: &[Texts; 2], before: &RuleList) -> Vec<Value> {
    let others = before.iter().filter(|rule| kind_of(rule).is_none()).map(|rule| {
        let (mode, value) = match &rule.mode {
            RuleMode::Block => ("block", None),
            RuleMode::Set(value) => ("set", Some(value.clone())),
            RuleMode::Override(value) => ("override", Some(value.clone())),
            RuleMode::Max(most) => ("max", Some(most.to_string())),
            RuleMode::Append(value) => ("append", Some(value.clone())),
        };
        let mut rule = json!({"name": rule.name, "mode": mode});
        if let Some(value) = value {
            rule["value"] = value.into();
        }
        rule
    });
    let overrides = overrides
        .iter()
        .map(|(name, value)| json!({"name": name, "mode": "override", "value": value}));
    let defaults = defaults.iter().map(|(name, value)| {
        let mode = if name == UNITED { "append" } else { "set" };
        json!({"name": name, "mode": mode, "value": value})
    });
    others.chain(overrides).chain(defaults).collect()
}
