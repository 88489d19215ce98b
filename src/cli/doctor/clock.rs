//! Is the clock plausible? Records and commits carry its time, and S3 refuses requests whose time is far off.

use super::Check;
use crate::store::ClockReading;
use crate::types::Timestamp;

const TOPIC: &str = "clock";

/// S3 refuses a request that is older or newer than this.
const S3_TOLERANCE_SECONDS: i64 = 15 * 60;

/// This version of atfs did not exist before: a clock that shows less was set back.
const BUILT: i64 = 1_795_392_000; // 2026-11-23T00:00:00Z

/// Looks at the clock by itself.
pub(super) fn check(now: Timestamp, checks: &mut Vec<Check>) {
    let shown = super::super::text::time(now);
    checks.push(if now.as_micros() / 1_000_000 < BUILT {
        Check::fail(
            TOPIC,
            "clock",
            format!("it shows {shown}, before this atfs was made"),
            "set it: `timedatectl set-ntp true`",
        )
    } else {
        Check::ok(TOPIC, "clock", shown)
    });
}

/// Compares the clock with a store's.
pub(super) fn against_store(clocks: ClockReading) -> Check {
    let off = clocks.here.saturating_sub(clocks.store);
    let text =
        format!("{} s {} the store's", off.saturating_abs(), if off < 0 { "behind" } else { "ahead of" });
    match off.saturating_abs() {
        0..=5 => Check::ok("store", "skew", "as the store's, within 5 s"),
        6..S3_TOLERANCE_SECONDS => {
            Check::warn("store", "skew", text, "synchronise it: `timedatectl set-ntp true`")
        }
        _ => Check::fail(
            "store",
            "skew",
            format!("{text}; S3 refuses requests more than 15 minutes off"),
            "synchronise it: `timedatectl set-ntp true`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn clocks() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let state = |now| {
            let mut checks = Vec::new();
            check(at(now), &mut checks);
            checks[0].state
        };
        assert_eq!(at("2026-11-23T00:00Z").as_micros() / 1_000_000, BUILT);
        assert_eq!(state("1970-01-01T00:01Z"), State::Fail);
        assert_eq!(state("2027-01-01T00:00Z"), State::Ok);
        let off = |seconds| against_store(ClockReading { here: BUILT + seconds, store: BUILT });
        assert_eq!(off(2).state, State::Ok);
        assert_eq!((off(-60).state, &*off(-60).finding), (State::Warn, "60 s behind the store's"));
        assert_eq!(off(3600).state, State::Fail);
    }
}
