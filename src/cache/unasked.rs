//! How much is worth bringing beside what is asked for.
//!
//! The neighbours of a small content come with it because they will be read soon. In a cache that is small beside what is
//! read in random order they are evicted before that, and each byte that is read crosses the network many times over. So
//! what came is set against what was read, and against what was evicted without having been read. Where much was evicted
//! in vain and little read, less is brought, in the end nothing; where neither is so, or no longer, more. Either alone means
//! nothing: a first epoch brings what it reads later, and what was prefetched long ago may go unread.
//!
//! What is evicted lies behind what came by the size of the cache, so the two alternate where reads are random: for about a
//! cache's worth of bytes neighbours come in vain, for another none come.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is worth bringing around a content at most, in bytes: two requests of the longest kind.
pub const LONGEST_STRETCH: u64 = 16 << 20;

/// What is brought at least, unless it is nothing.
const SHORTEST: u64 = 1 << 20;

/// The limit is set anew each time that so many bytes came: some of the longest stretches.
const WINDOW: u64 = 64 << 20;

/// Sets the limit.
#[derive(Debug)]
pub(super) struct Unasked(Mutex<State>);

/// Bytes of small contents, since the limit was last set.
#[derive(Debug)]
struct State {
    came: u64,
    read: u64,
    in_vain: u64,
    limit: u64,
}

impl Default for Unasked {
    fn default() -> Self {
        Self(Mutex::new(State { came: 0, read: 0, in_vain: 0, limit: LONGEST_STRETCH }))
    }
}

impl Unasked {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes around a content that are worth bringing.
    pub(super) fn limit(&self) -> u64 {
        self.lock().limit
    }

    /// Notes what a program has read.
    pub(super) fn note_read(&self, bytes: u64) {
        self.lock().read += bytes;
    }

    /// Notes what was evicted and never read, or not kept.
    pub(super) fn note_in_vain(&self, bytes: u64) {
        self.lock().in_vain += bytes;
    }

    /// Notes what came, and sets the limit when it is time.
    pub(super) fn note_came(&self, bytes: u64) {
        let mut state = self.lock();
        state.came += bytes;
        let State { came, read, in_vain, limit } = *state;
        if came < WINDOW {
            return;
        }
        let limit = if in_vain * 4 > came && read * 4 < came {
            Some(limit / 4).filter(|limit| *limit >= SHORTEST).unwrap_or(0)
        } else if in_vain * 8 < came || read * 2 > came {
            (limit * 2).clamp(SHORTEST, LONGEST_STRETCH)
        } else {
            limit
        };
        *state = State { came: 0, read: 0, in_vain: 0, limit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limits, in MiB, after windows of which so much (in percent) was read, and so much evicted in vain.
    fn limits(windows: &[(u64, u64)]) -> Vec<u64> {
        let unasked = Unasked::default();
        let after = |(read, in_vain): &(u64, u64)| {
            unasked.note_read(WINDOW * read / 100);
            unasked.note_in_vain(WINDOW * in_vain / 100);
            unasked.note_came(WINDOW - 1);
            unasked.note_came(1);
            unasked.limit() >> 20
        };
        windows.iter().map(after).collect()
    }

    #[test]
    fn what_comes_in_vain_stops_and_comes_again() {
        assert_eq!(
            limits(&[(1, 0), (1, 10), (500, 90)]),
            [16; 3],
            "a first epoch, a cache with room, a good one"
        );
        assert_eq!(limits(&[(5, 95), (5, 95), (5, 95), (5, 95)]), [4, 1, 0, 0]);
        assert_eq!(limits(&[(5, 95), (30, 60), (30, 60)]), [4, 4, 4], "a third is read");
        assert_eq!(limits(&[(5, 95), (5, 95), (5, 95), (100, 95), (60, 95), (60, 95)]), [4, 1, 0, 1, 2, 4]);
        assert_eq!(
            limits(&[(5, 300), (5, 0), (5, 0), (5, 0)]),
            [4, 8, 16, 16],
            "another program wanted the disk"
        );
    }
}
