//! The last pieces that could not be kept on disk, in memory.
//!
//! A piece is read in several requests. When the disk takes nothing (full, read-only, everything pinned), each
//! of them would fetch it again; with these few it is fetched about once. Pieces that are on disk never come here.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::key::EntryKey;

/// Enough for some readers' current pieces of 1 to 4 MiB.
const MAX_BYTES: usize = 32 << 20;

/// They are searched one by one.
const MAX_PIECES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Recent {
    pieces: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    queue: VecDeque<(EntryKey, Range<u64>, Bytes)>,
    bytes: usize,
}

impl Recent {
    /// Keeps a piece, in place of the oldest ones.
    pub(super) fn put(&self, key: EntryKey, range: Range<u64>, bytes: &Bytes) {
        // Copied: it may be a slice of a much longer body, which it would keep alive.
        let bytes = Bytes::copy_from_slice(bytes);
        let mut held = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes += bytes.len();
        held.queue.push_back((key, range, bytes));
        while held.bytes > MAX_BYTES || held.queue.len() > MAX_PIECES {
            let Some((_, _, oldest)) = held.queue.pop_front() else { break };
            held.bytes -= oldest.len();
        }
    }

    /// The bytes of exactly that piece.
    pub(super) fn get(&self, key: &EntryKey, range: &Range<u64>) -> Option<Bytes> {
        let held = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let found = held.queue.iter().find(|(k, r, _)| k == key && r == range);
        found.map(|(_, _, bytes)| bytes.clone())
    }
}
