//! How long an answer is waited for: a few times as long as answers usually take.
//!
//! A fixed limit is either too long for a reader who waits for a connection that died, or too short for a poor link. So
//! the limit follows what the store has shown, and errs on the long side: a wait that ended in vain makes the next one
//! twice as long until a body has come in full, so a link that has become slow is given the time it needs after a
//! few attempts; and no limit is ever longer than the fixed one of [`super::S3Timeouts`].
//!
//! A body is held to the same: it may stand still as long as an answer may take. Bytes that come buy time, at the least
//! rate that is put up with, so a body that creeps ends as surely as one that stands still, and one that moves is never
//! cut off, however large it is.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::store::recent::Recent;

/// Below so many samples nothing is usual yet.
const ENOUGH: usize = 20;

/// The limit until then: longer than the stores known to us take after a failover of one machine, shorter than a person
/// waits for a first `ls`.
const UNKNOWN: Duration = Duration::from_secs(10);

/// A limit is so many times the 99th percentile: far out in the tail, where a new request is the better bet.
const TIMES_P99: u32 = 4;

/// No limit is shorter: two lost SYNs (1 s + 2 s) are TCP's to repair, and a machine under load may take a second off.
const FLOOR: Duration = Duration::from_secs(3);

/// Three doublings reach the fixed limit from the floor.
const MOST_DOUBLINGS: u32 = 3;

/// What the answers of one store have taught.
#[derive(Debug)]
pub(super) struct Patience {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    answers: Recent,
    doublings: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { answers: Recent::new(), doublings: 0 }) }
    }

    /// How long to wait, at most `most`.
    pub(super) fn limit(&self, most: Duration) -> Duration {
        let state = self.state();
        let usual = if state.answers.len() < ENOUGH {
            UNKNOWN
        } else {
            (state.answers.percentile(99) * TIMES_P99).max(FLOOR)
        };
        (usual * (1 << state.doublings)).min(most)
    }

    /// An answer began after `time`.
    pub(super) fn answered(&self, time: Duration) {
        self.state().answers.add(time);
    }

    /// A body has come in full: the limits were long enough.
    pub(super) fn complete(&self) {
        self.state().doublings = 0;
    }

    /// A wait of `limit` was in vain. It counts as an answer that took so long: it may have been on its way.
    pub(super) fn in_vain(&self, limit: Duration) {
        let mut state = self.state();
        state.answers.add(limit);
        state.doublings = (state.doublings + 1).min(MOST_DOUBLINGS);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(25);

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn follows_what_the_store_has_shown() {
        let patience = Patience::new();
        assert_eq!(patience.limit(MOST), UNKNOWN);
        assert_eq!(patience.limit(seconds(1)), seconds(1));
        (0..ENOUGH).for_each(|_| patience.answered(Duration::from_millis(20)));
        assert_eq!(patience.limit(MOST), FLOOR);
        (0..ENOUGH).for_each(|_| patience.answered(seconds(2)));
        assert!(patience.limit(MOST) >= seconds(8) && patience.limit(MOST) < seconds(10));
    }

    /// A link that becomes slow under a fast store: each request takes 5 s from now on.
    #[test]
    fn a_link_that_becomes_slow_is_given_the_time_it_needs() {
        let patience = Patience::new();
        for _ in 0..512 {
            patience.answered(Duration::from_millis(20));
            patience.complete();
        }
        let (mut in_vain, mut most_in_a_row) = (0, 0);
        for _ in 0..100 {
            let mut row = 0;
            while patience.limit(MOST) < seconds(5) {
                patience.in_vain(patience.limit(MOST));
                row += 1;
            }
            patience.answered(seconds(5));
            patience.complete();
            in_vain += row;
            most_in_a_row = most_in_a_row.max(row);
        }
        assert_eq!(most_in_a_row, 1, "3 s, then 6 s");
        assert!((1..=6).contains(&in_vain), "{in_vain} of 100 requests were cut off");
    }

    #[test]
    fn waits_in_vain_reach_the_fixed_limit() {
        let patience = Patience::new();
        (0..512).for_each(|_| patience.answered(Duration::from_millis(20)));
        (0..4).for_each(|_| patience.in_vain(patience.limit(MOST)));
        assert!(patience.limit(MOST) >= seconds(24));
        (0..100).for_each(|_| patience.in_vain(patience.limit(MOST)));
        assert_eq!(patience.limit(MOST), MOST);
    }
}
