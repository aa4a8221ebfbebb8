//! What kind of server Redis is: whether it can be used, and what an operator should know about it.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use redis::cmd;

use super::ask;
use super::target::Target;
use super::trouble::Trouble;

/// The first version that can trim a stream by age.
pub(super) const OLDEST: (u32, u32) = (6, 2);

/// Looks at a server; warnings for the operator.
pub(super) async fn look(
    target: &Target,
    connection: &mut MultiplexedConnection,
) -> Result<Vec<String>, Trouble> {
    let text: String = ask(target, cmd("INFO").query_async(connection)).await?;
    judge(target, &text)
}

fn judge(target: &Target, info: &str) -> Result<Vec<String>, Trouble> {
    let fields: HashMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let field = |name| fields.get(name).copied().unwrap_or_default();
    let place = &target.place;
    let version = field("redis_version");
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
    if (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) < OLDEST {
        let found: String = version.chars().take(20).collect();
        return Err(Trouble::TooOld { place: place.clone(), found });
    }
    if field("role") == "slave" {
        return Err(Trouble::ReadOnly { place: place.clone() });
    }
    if field("redis_mode") == "cluster" {
        return Err(Trouble::Cluster { place: place.clone() });
    }
    let (limit, policy) = (field("maxmemory"), field("maxmemory_policy"));
    if !matches!(limit, "" | "0") && policy != "noeviction" {
        let policy: String = policy.chars().take(20).collect();
        return Ok(vec![format!(
            "Redis at {place} may forget what instances tell each other: it has `maxmemory` with \
             `maxmemory-policy {policy}`; set `maxmemory-policy noeviction`, or name a server of its own in \
             `redis.url`"
        )]);
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    fn judged(info: &str) -> String {
        let target = Target::parse(&Secret::new("redis://h/0")).unwrap();
        match judge(&target, info) {
            Ok(warnings) => warnings.join("\n"),
            Err(trouble) => trouble.to_string(),
        }
    }

    #[test]
    fn what_cannot_be_used_is_said_with_the_remedy() {
        let well =
            "redis_version:6.2.0\r\nrole:master\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n";
        assert_eq!(judged(well), "");
        let old = judged("redis_version:6.0.16\r\nrole:master\r\n");
        assert!(old.contains("version 6.0.16") && old.contains("6.2: upgrade"), "{old}");
        let nothing = judged("nothing");
        assert!(nothing.contains("`redis.url`"), "{nothing}");
        let replica = judged("redis_version:7.2.0\r\nrole:slave\r\n");
        assert!(replica.contains("name the primary in `redis.url`"), "{replica}");
        let sharded = judged("redis_version:7.2.0\r\nredis_mode:cluster\r\nrole:master\r\n");
        assert!(sharded.contains("cluster mode"), "{sharded}");
        let evicting = judged(
            "redis_version:7.2.0\r\nrole:master\r\nmaxmemory:1048576\r\nmaxmemory_policy:allkeys-lru\r\n",
        );
        assert!(evicting.contains("`maxmemory-policy noeviction`"), "{evicting}");
    }
}
