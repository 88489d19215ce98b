//! Trouble with the cache's disk: said once a minute, however many reads meet it, and never an error of a
//! read.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::stats::Counters;

const QUIET: Duration = Duration::from_secs(60);

/// What the cache's disk refuses to do, for the log.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    unsaid: u64,
}

impl Trouble {
    /// Notes that `action` on `what` failed; the caller goes on without the disk.
    pub(super) fn report(
        &self,
        counters: &Counters,
        action: &str,
        what: impl fmt::Display,
        error: &io::Error,
    ) {
        Counters::add(&counters.disk_errors, 1);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.last.is_some_and(|last| last.elapsed() < QUIET) {
            said.unsaid += 1;
            return;
        }
        let before = match std::mem::take(&mut said.unsaid) {
            0 => String::new(),
            n => format!(" ({n} more like it since the last such message)"),
        };
        said.last = Some(Instant::now());
        drop(said);
        tracing::warn!(
            "the cache disk fails: cannot {action} {what}: {error}; reads go to the repository{before}"
        );
    }
}
