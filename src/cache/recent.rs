//! The last pieces that could not be kept on disk, in memory.
//!
//! A piece is read in several requests. When the disk takes nothing (full, read-only, everything pinned),
//! each of them would fetch it again; with these few it is fetched about once. When room has been freed
//! since, the piece is offered to the disk again at its next use.

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
    queue: VecDeque<Piece>,
    bytes: usize,
}

#[derive(Debug)]
struct Piece {
    key: EntryKey,
    range: Range<u64>,
    bytes: Bytes,
    /// How often room had been freed when the disk did not take it.
    freed: u64,
}

/// What is known of a piece that was asked for.
pub(super) enum Found {
    /// In memory, and there is no more room on disk than there was.
    Held(Bytes),
    /// It was in memory; now the caller has it and offers it to the disk again.
    Taken(Bytes),
}

impl Recent {
    /// Keeps a piece, in place of the oldest ones. `freed` counts how often room was freed.
    pub(super) fn put(&self, key: EntryKey, range: Range<u64>, bytes: &Bytes, freed: u64) {
        // Copied: it may be a slice of a much longer body, which it would keep alive.
        let bytes = Bytes::copy_from_slice(bytes);
        let mut held = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes += bytes.len();
        held.queue.push_back(Piece { key, range, bytes, freed });
        while held.bytes > MAX_BYTES || held.queue.len() > MAX_PIECES {
            let Some(oldest) = held.queue.pop_front() else { break };
            held.bytes -= oldest.bytes.len();
        }
    }

    /// The bytes of exactly that piece; `freed` as above, now.
    pub(super) fn find(&self, key: &EntryKey, range: &Range<u64>, freed: u64) -> Option<Found> {
        let mut held = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let at = held.queue.iter().position(|piece| piece.key == *key && piece.range == *range)?;
        if held.queue[at].freed == freed {
            return Some(Found::Held(held.queue[at].bytes.clone()));
        }
        let piece = held.queue.remove(at)?;
        held.bytes -= piece.bytes.len();
        Some(Found::Taken(piece.bytes))
    }
}
