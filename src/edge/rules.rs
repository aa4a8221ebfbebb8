//! Third step of the pipeline: the tenant's rules on the parameters of `create` and `join`.

use super::authenticate::Caller;
use crate::bbb::Params;
use crate::model::{Rule, RuleMode, Rules};

/// Applies the rules of the tenant, then those of the secret, each in the order of the file.
pub(super) fn apply(
    caller: &Caller<'_>,
    params: &mut Params<'_>,
    of_call: impl Fn(&Rules) -> &[Rule],
) {
    let tenants = of_call(&caller.tenant.tenant.rules);
    let secrets = caller.secret().map_or(&[][..], |secret| of_call(&secret.rules));
    for rule in tenants.iter().chain(secrets) {
        apply_one(rule, params);
    }
}

fn apply_one(rule: &Rule, params: &mut Params<'_>) {
    let name = rule.name.as_str();
    match &rule.mode {
        RuleMode::Block => {
            params.remove(name);
        }
        RuleMode::Set(value) => params.set_if_missing(name, value),
        RuleMode::Override(value) => params.set(name, value),
        RuleMode::Max(cap) => {
            let asked = params.get(name).and_then(|value| value.trim().parse::<u64>().ok());
            // 0 is BigBlueButton's word for "no limit".
            if !asked.is_some_and(|asked| asked > 0 && asked <= *cap) {
                params.set(name, &cap.to_string());
            }
        }
        RuleMode::Append(value) => {
            let list = params.get(name).unwrap_or_default().into_owned();
            let mut items: Vec<&str> = Vec::new();
            for item in list.split(',').chain(value.split(',')).map(str::trim) {
                if !item.is_empty() && !items.contains(&item) {
                    items.push(item);
                }
            }
            params.set(name, &items.join(","));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_does_what_it_says() {
        let rule = |mode| Rule { name: "p".into(), mode };
        for (mode, query, after) in [
            (RuleMode::Block, "a=1&p=2&p=3", "a=1"),
            (RuleMode::Set("x".into()), "a=1", "a=1&p=x"),
            (RuleMode::Set("x".into()), "p=1", "p=1"),
            (RuleMode::Override("x".into()), "p=1&a=2&p=3", "p=x&a=2"),
            (RuleMode::Max(10), "p=5", "p=5"),
            (RuleMode::Max(10), "p=50", "p=10"),
            (RuleMode::Max(10), "p=0", "p=10"),
            (RuleMode::Max(10), "p=many", "p=10"),
            (RuleMode::Max(10), "", "p=10"),
            (RuleMode::Append("b,c".into()), "p=a,b", "p=a%2Cb%2Cc"),
            (RuleMode::Append("b".into()), "", "p=b"),
            // As sets: nothing twice, in the order of who named it first.
            (
                RuleMode::Append("chat, polls,chat".into()),
                "p=polls,,polls&a=1",
                "p=polls%2Cchat&a=1",
            ),
            (RuleMode::Append("b".into()), "p=", "p=b"),
        ] {
            let mut params = Params::parse(query.as_bytes());
            apply_one(&rule(mode), &mut params);
            assert_eq!(String::from_utf8_lossy(&params.write()), after, "{query}");
        }
    }
}
