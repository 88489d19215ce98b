//! Whether the cache keeps what it is given, for people: reads go on either way.
//!
//! Only what was tried counts: a disk that is full is found out when something is to be written, and so is that it has room again.

use std::io;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::types::{Clock, SystemClock, Timestamp};

/// How the cache is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheHealth {
    /// What was last to be kept was kept, or nothing was yet.
    #[default]
    Ok,
    /// Nothing can be kept: what is open fills it, or its disk has no more than it must leave free.
    Full {
        /// Since when nothing was kept.
        since: Timestamp,
    },
    /// Its disk takes nothing: it is read-only, has failed, or is gone.
    Failing {
        /// Since when nothing was kept.
        since: Timestamp,
        /// What the disk said last.
        reason: String,
    },
}

impl CacheHealth {
    fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Ok => None,
            Self::Full { since } | Self::Failing { since, .. } => Some(*since),
        }
    }
}

/// What became of the last write.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<CacheHealth>);

impl Watch {
    /// Something was written.
    pub(super) fn kept(&self) {
        self.set(|_| CacheHealth::Ok);
    }

    /// There was no room for it.
    pub(super) fn no_room(&self) {
        self.set(|since| CacheHealth::Full { since });
    }

    /// The disk refused it.
    pub(super) fn failed(&self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.no_room(),
            _ => self.set(|since| CacheHealth::Failing { since, reason: error.to_string() }),
        }
    }

    /// How it is now.
    pub(super) fn look(&self) -> CacheHealth {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, next: impl FnOnce(Timestamp) -> CacheHealth) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *health = next(health.since().unwrap_or_else(|| SystemClock.now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_lasts_from_the_first_refusal_to_the_next_success() {
        let watch = Watch::default();
        assert_eq!(watch.look(), CacheHealth::Ok);
        watch.no_room();
        let CacheHealth::Full { since } = watch.look() else { panic!("{:?}", watch.look()) };
        watch.failed(&io::Error::from_raw_os_error(libc::EROFS));
        let CacheHealth::Failing { since: still, reason } = watch.look() else {
            panic!("{:?}", watch.look())
        };
        assert_eq!(since, still);
        assert!(reason.contains("Read-only"), "{reason}");
        watch.failed(&io::Error::from_raw_os_error(libc::ENOSPC));
        assert_eq!(watch.look(), CacheHealth::Full { since });
        watch.kept();
        assert_eq!(watch.look(), CacheHealth::Ok);
    }
}
