//! The unit of accounts.

use std::ops::Range;

/// The block of ext4 and xfs, below which no file takes less.
pub(super) const BLOCK_BYTES: u64 = 4096;

/// The blocks that hold `range`.
pub(super) fn blocks(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES)
}

/// How many blocks `range` touches.
pub(super) fn blocks_of(range: &Range<u64>) -> u64 {
    if range.is_empty() { 0 } else { range.end.div_ceil(BLOCK_BYTES) - range.start / BLOCK_BYTES }
}
