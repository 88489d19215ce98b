//! How far ahead a scan fetches.
//!
//! A leaf that is asked for alone is fetched alone. When the next one missing is the one right behind what was fetched
//! last, somebody is scanning, and the window grows: 1, 4, 16, 64 leaves in one request, some 25,000 entries. Nothing
//! runs in the background: the request that has to be made anyway brings more. Several scans at once are
//! told apart by where each one stands.

use std::sync::{Mutex, PoisonError};

/// Scans that are followed at once.
const HEADS: usize = 8;

/// Longest window in leaves: about 1 MiB stored, 7 MiB decoded.
const MAX_WINDOW: usize = 64;

const GROWTH: usize = 4;

/// Where each scan stands.
#[derive(Debug, Default)]
pub(super) struct Scans {
    /// Most recent first.
    heads: Mutex<Vec<Head>>,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    /// Rank behind what was fetched last.
    next: u64,
    window: usize,
}

impl Scans {
    /// How many leaves to fetch, beginning with the missing one that holds `rank` as its first.
    pub(super) fn window(&self, rank: u64) -> usize {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        match heads.iter().position(|head| head.next == rank) {
            Some(at) => (heads.remove(at).window * GROWTH).min(MAX_WINDOW),
            None => 1,
        }
    }

    /// Takes note that `window` leaves were asked for, the last of which ends before the rank `next`.
    pub(super) fn fetched(&self, window: usize, next: u64) {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.truncate(HEADS - 1);
        heads.insert(0, Head { next, window: window.min(MAX_WINDOW) });
    }

    /// Most leaves of one request.
    pub(super) fn limit() -> usize {
        MAX_WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_grows_and_a_jump_does_not() {
        let scans = Scans::default();
        let mut next = 0;
        let mut windows = Vec::new();
        for _ in 0..5 {
            let window = scans.window(next);
            windows.push(window);
            next += 100 * window as u64;
            scans.fetched(window, next);
            assert_eq!(scans.window(7), 1, "elsewhere");
        }
        assert_eq!(windows, [1, 4, 16, 64, 64]);
    }

    #[test]
    fn several_scans_are_told_apart() {
        let scans = Scans::default();
        for round in 0..3u64 {
            for scan in 0..HEADS as u64 {
                let rank = scan * 1_000_000 + round * 100;
                assert_eq!(scans.window(rank), GROWTH.pow(round as u32).min(MAX_WINDOW));
                scans.fetched(GROWTH.pow(round as u32), rank + 100);
            }
        }
    }
}
