//! How a mount's store and cache are doing, as `atfs mounts` and `atfs stats` show it.
//!
//! A store is asked nothing for this: what its last requests met is what is known of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::{Operation, StoreErrorKind, StoreMonitor, StoreStats};
use crate::types::Timestamp;

/// A store, seen from this machine: by all mounts that share its repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoreCondition {
    /// What was asked of it since the repository was opened, by name.
    pub counters: BTreeMap<String, u64>,
    /// What its last request met, unless that went well.
    pub trouble: Option<StoreTrouble>,
}

/// A store that did not do what it was last asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreTrouble {
    /// In a few words.
    pub what: String,
    /// When it was last asked.
    pub when: Timestamp,
    /// When it last did as it was asked.
    pub last_success: Option<Timestamp>,
    /// What came back.
    pub error: String,
}

impl StoreCondition {
    /// How the store of this monitor is now.
    pub(super) fn of(monitor: &StoreMonitor) -> Self {
        let stats = monitor.stats();
        Self { trouble: trouble(&stats), counters: counters(&stats) }
    }
}

fn counters(stats: &StoreStats) -> BTreeMap<String, u64> {
    let all: u64 = stats.requests.iter().map(|(_, count)| count).sum();
    let reads = stats.count(Operation::Get) + stats.count(Operation::GetRange);
    let counters = [
        ("store_requests", all),
        ("store_reads", reads),
        ("store_lists", stats.count(Operation::List)),
        ("store_bytes_received", stats.bytes_received),
        ("store_retries", stats.retries),
        ("store_hedges_sent", stats.hedges_sent),
        ("store_hedges_won", stats.hedges_won),
        ("store_slow_downs", stats.slow_downs),
        ("store_pace", stats.concurrency as u64),
        ("store_pace_limit", stats.most_concurrency as u64),
    ];
    counters.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

fn trouble(stats: &StoreStats) -> Option<StoreTrouble> {
    let last = stats.last_error.as_ref()?;
    if stats.last_success.is_some_and(|success| success > last.when) {
        return None;
    }
    let what = match last.kind {
        StoreErrorKind::Unreachable => "the store cannot be reached",
        StoreErrorKind::Timeout => "the store does not answer",
        StoreErrorKind::Throttled => "the store is busy",
        StoreErrorKind::Denied | StoreErrorKind::Credentials => "the store refuses what it is asked",
        StoreErrorKind::NoBucket => "the store is gone",
        _ => "the store fails",
    };
    Some(StoreTrouble {
        what: what.into(),
        when: last.when,
        last_success: stats.last_success,
        error: last.text.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Trouble;

    fn stats(success: Option<i64>, error: Option<(i64, StoreErrorKind)>) -> StoreStats {
        StoreStats {
            requests: Operation::ALL.map(|operation| (operation, 1)),
            bytes_received: 7,
            bytes_sent: 0,
            retries: 2,
            hedges_sent: 3,
            hedges_won: 1,
            slow_downs: 4,
            concurrency: 32,
            most_concurrency: 64,
            last_success: success.map(Timestamp::from_micros),
            last_error: error.map(|(when, kind)| Trouble {
                when: Timestamp::from_micros(when),
                kind,
                text: "what came back".into(),
            }),
        }
    }

    #[test]
    fn the_last_request_tells() {
        use StoreErrorKind::*;
        assert_eq!(trouble(&stats(None, None)), None);
        assert_eq!(trouble(&stats(Some(10), Some((9, Timeout)))), None);
        for (success, kind, what) in [
            (None, Unreachable, "cannot be reached"),
            (Some(9), Timeout, "does not answer"),
            (Some(10), Throttled, "is busy"),
            (Some(9), Denied, "refuses"),
            (Some(9), Server, "fails"),
        ] {
            let trouble = trouble(&stats(success, Some((10, kind)))).unwrap_or_else(|| panic!("{kind:?}"));
            assert!(trouble.what.contains(what), "{trouble:?}");
            assert_eq!(trouble.last_success, success.map(Timestamp::from_micros));
        }
    }

    #[test]
    fn every_kind_of_request_is_among_all() {
        let counters = counters(&stats(None, None));
        assert_eq!((counters["store_requests"], counters["store_reads"]), (6, 2));
        assert_eq!((counters["store_pace"], counters["store_pace_limit"]), (32, 64));
    }
}
