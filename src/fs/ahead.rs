//! Reading ahead: what to fetch before it is asked for.
//!
//! Two reads that follow each other make a stream; then what comes next is fetched while the last bytes are being used, in
//! windows that double up to [`MAX_WINDOW`]. A read elsewhere ends the stream, so that random reads fetch
//! nothing that nobody asked for. The kernel's own read-ahead sends reads that overtake each other, so "follows" has
//! some tolerance.

use std::ops::{Range, RangeInclusive};
use std::sync::{Mutex, PoisonError};

/// First window in bytes: two chunks.
const FIRST_WINDOW: u64 = 2 << 20;

/// Longest window in bytes: at least half of it is under way at any time, in requests of [`RUN_BYTES`] each. So many fill
/// the network of a large machine at 90 MB/s per request.
const MAX_WINDOW: u64 = 64 << 20;

/// Longest request for a part of a long file, in bytes: it takes 47 ms at 90 MB/s, twice the wait for its first byte.
pub(super) const LONGEST_RUN: u64 = 4 << 20;

/// Bytes of a request for a part of a window: a quarter of what is fetched, so that the first of it comes soon, within
/// limits.
const RUN_BYTES: RangeInclusive<u64> = 1 << 20..=LONGEST_RUN;

/// How far a read may be off and still belong to the stream: two of the kernel's read-ahead requests.
const TOLERANCE: u64 = 2 << 20;

/// The stream of one open file.
#[derive(Debug, Default)]
pub(super) struct Ahead(Mutex<Stream>);

#[derive(Debug, Default)]
struct Stream {
    /// Behind the furthest byte that was read.
    next: u64,
    /// Behind the furthest byte that was fetched ahead.
    fetched: u64,
    /// 0: no stream yet.
    window: u64,
}

impl Ahead {
    /// Takes note of a read of `range` in a file of `size` bytes. Returns what to fetch now.
    pub(super) fn read(&self, range: Range<u64>, size: u64) -> Option<Range<u64>> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let follows = range.start.abs_diff(stream.next) <= TOLERANCE && stream.next > 0;
        if !follows {
            *stream = Stream { next: range.end, fetched: range.end, window: 0 };
            return None;
        }
        stream.next = stream.next.max(range.end);
        stream.fetched = stream.fetched.max(stream.next);
        // Half a window is still ahead: that is enough for now.
        if stream.window > 0 && stream.fetched - stream.next > stream.window / 2 {
            return None;
        }
        stream.window = (stream.window * 2).clamp(FIRST_WINDOW, MAX_WINDOW);
        let wanted = stream.fetched..(stream.next + stream.window).min(size);
        if wanted.is_empty() {
            return None;
        }
        stream.fetched = wanted.end;
        Some(wanted)
    }

    /// Takes note that `rest`, the end of what [`Ahead::read`] returned, is not being fetched: the next read may ask for it.
    pub(super) fn give_back(&self, rest: Range<u64>) {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stream.fetched == rest.end {
            stream.fetched = rest.start;
        }
    }
}

/// How long the requests for `wanted` are to be, in bytes.
pub(super) fn run_bytes(wanted: &Range<u64>) -> u64 {
    ((wanted.end - wanted.start) / 4).clamp(*RUN_BYTES.start(), *RUN_BYTES.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_stream_is_fetched_once_from_end_to_end() {
        let (ahead, size) = (Ahead::default(), 200 * MIB + 77);
        let mut fetched: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        while at < size {
            let end = (at + MIB / 2).min(size);
            if let Some(range) = ahead.read(at..end, size) {
                assert!(range.end - range.start <= MAX_WINDOW);
                assert!(range.start >= fetched.last().map_or(0, |last| last.end), "nothing twice");
                fetched.push(range);
            }
            at = end;
        }
        assert_eq!(fetched.last().map(|last| last.end), Some(size));
        assert!(fetched.len() < 40, "windows grow: {}", fetched.len());
    }

    #[test]
    fn reads_that_overtake_each_other_are_a_stream() {
        let (ahead, size) = (Ahead::default(), 100 * MIB);
        assert_eq!(ahead.read(0..MIB, size), None, "one read is no stream");
        assert!(ahead.read(2 * MIB..3 * MIB, size).is_some());
        ahead.read(MIB..2 * MIB, size);
        let reached = (3..40).filter_map(|i| ahead.read(i * MIB..(i + 1) * MIB, size)).last().map(|r| r.end);
        assert!(reached > Some(40 * MIB));
    }

    #[test]
    fn what_is_not_fetched_is_asked_for_again() {
        let (ahead, size) = (Ahead::default(), 100 * MIB);
        ahead.read(0..MIB, size);
        let wanted = ahead.read(MIB..2 * MIB, size).expect("a stream");
        ahead.give_back(wanted.clone());
        let again = ahead.read(2 * MIB..2 * MIB + 1, size).expect("once more");
        assert_eq!((again.start, again.start < wanted.end), (2 * MIB + 1, true));
    }

    #[test]
    fn random_reads_fetch_nothing() {
        let (ahead, size) = (Ahead::default(), 1000 * MIB);
        for i in 1..200u64 {
            let at = i.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (size - MIB);
            // Two reads in a row may lie close together by chance; never three of these.
            if let Some(range) = ahead.read(at..at + 4096, size) {
                assert!(range.end - range.start <= FIRST_WINDOW);
            }
        }
    }
}
