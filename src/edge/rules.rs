//! Third step of the pipeline: the tenant's rules on the parameters of `create` and `join`.

use super::authenticate::Caller;
use crate::bbb::Params;
use crate::model::{RuleList, Rules};

/// Applies the rules of the tenant, then those of the secret, each in the order of the file.
pub(super) fn apply<'r>(
    caller: &Caller<'r>,
    params: &mut Params<'r>,
    of_call: impl Fn(&Rules) -> &RuleList,
) {
    of_call(&caller.tenant.tenant.rules).apply(params);
    if let Some(secret) = caller.secret() {
        of_call(&secret.rules).apply(params);
    }
}
