//! `tenants`: the customers, their secrets, limits, rules and look.

use std::ops::RangeInclusive;

use super::reader::{Item, Names};
use super::{branding, placement, rules};
use crate::bbb::Algorithm;
use crate::model::{
    Limits, MeetingIds, RecordingSettings, Scope, Slug, SubId, Tenant, TenantSecret,
};

/// Longer is for ever.
const MAX_RETENTION_DAYS: u32 = 36_500;
/// The highest sub id that fits the three digits of the URL forms.
const MAX_SUB_ID: u16 = 999;
/// As b3scale has it.
const MAX_ACCOUNT_CHARS: usize = 80;
/// As for one address.
const RATES: RangeInclusive<u32> = 0..=1_000_000;

pub(super) fn read(item: &Item<'_>, groups: &Names, base_domain: Option<&str>) -> Vec<Tenant> {
    let mut shared = Shared::among(groups);
    let tenants = item.list(|item| tenant(item, &mut shared));
    if let Some(base_domain) = base_domain {
        shared.refuse_stolen_domains(base_domain);
    }
    tenants
}

/// What tenants must not have twice.
pub(super) struct Shared<'a, 'n> {
    groups: &'n Names,
    slugs: Names,
    domains: Names,
    default_at: Option<String>,
    plain_at: Option<String>,
    domain_items: Vec<(Option<Slug>, Item<'a>, String)>,
}

impl<'n> Shared<'_, 'n> {
    pub(super) fn among(groups: &'n Names) -> Self {
        Self {
            groups,
            slugs: Names::new("slug"),
            domains: Names::new("domain"),
            default_at: None,
            plain_at: None,
            domain_items: Vec::new(),
        }
    }

    /// A domain of one tenant that is another's name under the base domain would take its requests.
    fn refuse_stolen_domains(&self, base_domain: &str) {
        for (owner, item, domain) in &self.domain_items {
            let label = domain.strip_suffix(base_domain).and_then(|rest| rest.strip_suffix('.'));
            let Some(scope) = label.and_then(Scope::parse) else { continue };
            if owner.as_ref() != Some(&scope.tenant) && self.slugs.contains(scope.tenant.as_str()) {
                item.problem(format_args!(
                    "{domain:?} already leads to the tenant {:?} by its slug and \
                     server.base_domain; choose another domain",
                    scope.tenant
                ));
            }
        }
    }
}

pub(super) fn tenant<'a>(item: &Item<'a>, shared: &mut Shared<'a, '_>) -> Option<Tenant> {
    item.fields(|fields| {
        let slug_item = fields.required("slug", "a short name of its own, such as acme");
        let slug = slug(&slug_item);
        if let Some(slug) = &slug {
            shared.slugs.claim(&slug_item, slug.as_str());
        }
        let name = fields.optional("name").name();
        let is_enabled = fields.optional("enabled").flag().unwrap_or(true);
        let account = account(&fields.optional("account"));
        let default_item = fields.optional("default");
        let is_default = default_item.flag().unwrap_or(false);
        if is_default {
            match &shared.default_at {
                Some(place) => default_item.problem(format_args!(
                    "true is already said at {place}; only one tenant can be the default"
                )),
                None => shared.default_at = Some(default_item.place()),
            }
        }
        let domains = fields.optional("domains").list(|item| {
            let domain = item.host()?;
            shared.domains.claim(item, &domain);
            shared.domain_items.push((slug.clone(), item.clone(), domain.clone()));
            Some(domain)
        });
        let group_item = fields.required("cluster_group", "the cluster group for its meetings");
        let cluster_group = group_item.text("the name of a cluster group");
        if let Some(group) = cluster_group {
            shared.groups.require(&group_item, group);
        }
        let required_tags = fields.optional("required_tags").words();
        let secrets = secrets(&fields.optional("secrets"));
        let checksums = checksums(&fields.optional("checksums"));
        let limits = limits(&fields.optional("limits"), Of::Tenant);
        let rules = rules::read(&fields.optional("params"));
        let ids_item = fields.optional("meeting_ids");
        let meeting_ids =
            ids_item.one_of(&[("scoped", MeetingIds::Scoped), ("plain", MeetingIds::Plain)]);
        if meeting_ids == Some(MeetingIds::Plain) {
            match &shared.plain_at {
                Some(place) => ids_item.problem(format_args!(
                    "plain is already said at {place}; two tenants with plain ids would meet in one \
                     meeting"
                )),
                None => shared.plain_at = Some(ids_item.place()),
            }
        }
        let branding = branding::read(&fields.optional("branding"), slug.as_ref());
        let recording = recording(&fields.optional("recording"));
        let places = placement::of_tenant(&fields.optional("placement"));
        let stats_token = fields.optional("stats_token").secret();
        let slug = slug?;
        Some(Tenant {
            name: name.unwrap_or(slug.as_str()).to_owned(),
            slug,
            is_enabled,
            account,
            is_default,
            domains,
            cluster_group: cluster_group?.to_owned(),
            required_tags,
            secrets,
            checksums,
            limits: limits?,
            rules: rules?,
            meeting_ids: meeting_ids.unwrap_or_default(),
            branding: branding?,
            recording: recording?,
            placement: places?,
            stats_token,
        })
    })
}

fn account(item: &Item<'_>) -> Option<String> {
    let allowed = format!("1 to {MAX_ACCOUNT_CHARS} printable characters");
    item.parse(allowed, |text| {
        let fits = (1..=MAX_ACCOUNT_CHARS).contains(&text.chars().count());
        (fits && text.trim() == text && !text.contains(char::is_control)).then(|| text.to_owned())
    })
}

fn slug(item: &Item<'_>) -> Option<Slug> {
    let text = item.text("a short name such as acme")?;
    match text.parse() {
        Ok(slug) => Some(slug),
        Err(reason) => {
            item.problem(format_args!("{text:?} {reason}"));
            None
        }
    }
}

fn secrets(item: &Item<'_>) -> Vec<TenantSecret> {
    let mut sub_ids = Names::new("sub_id");
    let secrets = item.list(|item| {
        item.fields(|fields| {
            let sub_item = fields.required("sub_id", "0 for the main secret, 1 to 999 for others");
            let sub_id = sub_item.whole(0..=MAX_SUB_ID).and_then(SubId::new);
            if let Some(sub_id) = sub_id {
                sub_ids.claim(&sub_item, &sub_id.to_string());
            }
            let secret = fields.required_secret("secret");
            let secret2 = fields.optional("secret2").secret_unless_empty();
            let limits = limits(&fields.optional("limits"), Of::Secret);
            let rules = rules::read(&fields.optional("params"));
            Some(TenantSecret {
                sub_id: sub_id?,
                secret: secret?,
                secret2,
                limits: limits?,
                rules: rules?,
            })
        })
    });
    let readable = item.is_absent() || item.is_list();
    if readable && !sub_ids.contains(&SubId::MAIN.to_string()) {
        item.problem(format_args!(
            "the main secret is missing: add {{ sub_id: 0, secret: … }}, the secret being {}",
            item.secret_forms()
        ));
    }
    secrets
}

fn checksums(item: &Item<'_>) -> Vec<Algorithm> {
    if item.is_absent() {
        return Algorithm::ALL.to_vec();
    }
    let mut names = Names::new("checksum");
    let checksums = item.list(|item| {
        let algorithm = item.algorithm()?;
        names.claim(item, algorithm.as_str());
        Some(algorithm)
    });
    if item.is_list() && checksums.is_empty() {
        item.problem("allows no checksum, so nobody could call; leave it out to allow all four");
    }
    checksums
}

/// Whose limits they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Tenant,
    Secret,
}

fn limits(item: &Item<'_>, of: Of) -> Option<Limits> {
    item.fields(|fields| {
        let meetings = fields.optional("meetings").whole(0..=u32::MAX);
        let attendees_item = fields.optional("attendees");
        let attendees = attendees_item.whole(0..=u32::MAX);
        let joins_item = fields.optional("limit_joins");
        let limit_joins = joins_item.flag().unwrap_or(false);
        if limit_joins && (attendees_item.is_absent() || attendees == Some(0)) {
            joins_item.problem("true has no effect without a number of attendees beside it");
        }
        let requests_per_second = match of {
            Of::Tenant => fields.optional("requests_per_second").whole(RATES),
            Of::Secret => None,
        };
        Some(Limits {
            meetings: meetings.unwrap_or_default(),
            attendees: attendees.unwrap_or_default(),
            limit_joins,
            requests_per_second: requests_per_second.unwrap_or_default(),
        })
    })
}

fn recording(item: &Item<'_>) -> Option<RecordingSettings> {
    let default = RecordingSettings::default();
    item.fields(|fields| {
        let enabled = fields.optional("enabled").flag();
        let retention_days = fields.optional("retention_days").whole(0..=MAX_RETENTION_DAYS);
        Some(RecordingSettings {
            enabled: enabled.unwrap_or(default.enabled),
            retention_days: retention_days.unwrap_or(default.retention_days),
        })
    })
}
