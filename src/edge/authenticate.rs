//! Second step of the pipeline: whose request it is. An unknown tenant gets the same answer, after the
//! same work, as a wrong checksum.

use super::request::{Request, Signature};
use super::route::Who;
use crate::bbb::{Algorithm, Call, Failure};
use crate::fleet::{Snapshot, TenantEntry, Uses};
use crate::model::{Scope, Secret, SubId, TenantSecret};

/// A caller whose checksum was right.
pub(super) struct Caller<'s> {
    /// The tenant.
    pub(super) tenant: &'s TenantEntry,
    /// Its scope.
    pub(super) scope: Scope,
    /// Which of the tenant's secrets it signed with.
    at: usize,
}

impl<'s> Caller<'s> {
    /// The secret it signed with.
    pub(super) fn secret(&self) -> Option<&'s TenantSecret> {
        self.tenant.tenant.secrets.get(self.at)
    }

    /// What is counted for that secret.
    pub(super) fn uses(&self) -> Option<&'s Uses> {
        self.tenant.uses.get(self.at)
    }
}

/// Finds the tenant and verifies the checksum.
///
/// # Errors
/// `checksumError`, alike for a missing checksum, a wrong one and an unknown tenant.
pub(super) fn authenticate<'s>(
    snapshot: &'s Snapshot,
    who: &Who<'_>,
    call: Call,
    request: &Request<'_>,
) -> Result<Caller<'s>, Failure> {
    let signature = request.signature();
    if !signature.is_signed() {
        return Err(missing(call));
    }
    // Nobody is to learn either that a tenant is there, but switched off.
    let found = find(snapshot, who).filter(|(tenant, _)| tenant.tenant.is_enabled);
    let Some((tenant, at)) = found else {
        // Hash as for a known tenant, so that time tells nothing.
        let nobodys = [Secret::new(NOBODYS_SECRET)];
        std::hint::black_box(verify(&signature, call, &Algorithm::ALL, &nobodys));
        return Err(mismatch(call));
    };
    let secret = &tenant.tenant.secrets[at];
    let Some(value) = verify(&signature, call, &tenant.tenant.checksums, secret.values()) else {
        return Err(mismatch(call));
    };
    tenant.uses[at].count(value);
    let scope = tenant.tenant.scope(secret.sub_id);
    Ok(Caller { tenant, scope, at })
}

/// The recording calls and the webhooks have one text of their own for both cases.
fn missing(call: Call) -> Failure {
    match mismatch(call) {
        generic if generic == Failure::CHECKSUM_MISMATCH => Failure::CHECKSUM_MISSING,
        own => own,
    }
}

fn mismatch(call: Call) -> Failure {
    match call {
        Call::GetRecordings
        | Call::PublishRecordings
        | Call::DeleteRecordings
        | Call::UpdateRecordings
        | Call::GetRecordingTextTracks
        | Call::PutRecordingTextTrack => Failure::RECORDING_CHECKSUM,
        Call::HooksCreate | Call::HooksList | Call::HooksDestroy => Failure::HOOK_CHECKSUM,
        _ => Failure::CHECKSUM_MISMATCH,
    }
}

/// As long as secrets are, and nobody's.
const NOBODYS_SECRET: &str = "0123456789012345678901234567890123456789";

fn verify<'a>(
    signature: &Signature<'_>,
    call: Call,
    allowed: &[Algorithm],
    secrets: impl IntoIterator<Item = &'a Secret>,
) -> Option<usize> {
    signature.verify(call, allowed, secrets.into_iter().map(Secret::expose))
}

/// The tenant, and the position of the secret that is meant.
pub(super) fn find<'s>(snapshot: &'s Snapshot, who: &Who<'_>) -> Option<(&'s TenantEntry, usize)> {
    let (tenant, sub) = match who {
        Who::Scope(text) => {
            let scope = Scope::parse(text)?;
            (snapshot.tenant(scope.tenant.as_str())?, scope.sub)
        }
        // An own domain wins, also below the base domain.
        Who::Host { host, label } => match (snapshot.tenant_of_domain(host), label) {
            (Some(tenant), _) => (tenant, SubId::MAIN),
            (None, Some(label)) => return find(snapshot, &Who::Scope(label)),
            (None, None) => (snapshot.default_tenant()?, SubId::MAIN),
        },
    };
    let at = tenant.tenant.position(sub)?;
    Some((tenant, at))
}
