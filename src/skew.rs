//! Clocks of two machines that differ, in words for the operator.

/// Clocks that differ by more confuse whoever reads the logs of two instances.
const MAX_MS: u64 = 2000;

/// A warning, if another clock has shown a time that is far from what ours showed when it was asked and when
/// its answer came, all in ms since 1970.
pub(crate) fn warning(asked_ms: u64, heard_ms: u64, shown_ms: u64, whose: &str) -> Option<String> {
    let (skew_ms, how) = if shown_ms < asked_ms {
        (asked_ms - shown_ms, "ahead of")
    } else {
        (shown_ms.saturating_sub(heard_ms), "behind")
    };
    (skew_ms > MAX_MS).then(|| {
        let (seconds, tenth) = (skew_ms / 1000, skew_ms % 1000 / 100);
        format!(
            "the clock of this machine is {seconds}.{tenth} s {how} that of {whose}: let NTP set both"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clocks_that_differ_much_are_spoken_of() {
        let now = 1_000_000_000;
        for shown in [now, now - MAX_MS, now + MAX_MS, now + 5_000 + MAX_MS] {
            assert_eq!(warning(now, now + 5_000, shown, "x"), None, "{shown}");
        }
        for (shown, said) in [
            (now - 2_100, "is 2.1 s ahead of that of Redis at h: let NTP set both"),
            (now + 3_600_500, "is 3600.5 s behind that of Redis at h: let NTP set both"),
            (0, "is 1000000.0 s ahead of"),
        ] {
            let warning = warning(now, now, shown, "Redis at h").unwrap();
            assert!(warning.contains(said), "{warning}");
        }
    }
}
