//! What the pieces of a content hash to: the means to tell later whether the disk still has what was written.
//!
//! A content comes in verified, piece by piece, against hashes that the cache does not know. So each piece is hashed once
//! more when it lands, and when the content is complete the sums are written beside it, before it gets its name. They are
//! bound to that name: sums of another content are no sums. They also say in which boot of the machine the content became
//! complete, since in that boot its bytes are what the kernel was given, wherever they lie.
//!
//! ```text
//! "atfsums1" | boot 16 | size 8 | number of pieces 8 | check 16        the head
//! number of pieces times: first byte 8 | behind the last 8 | sum 16    in order
//! check 16
//! ```
//!
//! Numbers are little endian; a sum is the first 16 bytes of BLAKE3, a check that of the content's name and of
//! everything before it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::blocks::BLOCK_BYTES;
use super::key::EntryKey;

const MAGIC: &[u8; 8] = b"atfsums1";
const SUM_BYTES: usize = 16;

/// Bytes of the head.
pub(super) const HEAD_BYTES: usize = 8 + 16 + 8 + 8 + SUM_BYTES;
const PIECE_BYTES: usize = 8 + 8 + SUM_BYTES;

/// The boot of the machine, as sums spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Boot([u8; 16]);

impl Boot {
    /// The boot that the kernel calls `id`.
    pub(super) fn of(id: &str) -> Self {
        Self(sum(&[id.as_bytes()]))
    }
}

/// The sum of one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum([u8; SUM_BYTES]);

impl Sum {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(sum(&[bytes]))
    }

    pub(super) fn of_hasher(hasher: &blake3::Hasher) -> Self {
        Self(truncated(&hasher.finalize()))
    }
}

fn sum(parts: &[&[u8]]) -> [u8; SUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    truncated(&hasher.finalize())
}

fn truncated(hash: &blake3::Hash) -> [u8; SUM_BYTES] {
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The sums of pieces of one content: by first byte and the byte behind the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sums(BTreeMap<(u64, u64), Sum>);

impl Sums {
    pub(super) fn note(&mut self, piece: &Range<u64>, sum: Sum) {
        self.0.insert((piece.start, piece.end), sum);
    }

    /// Takes out the pieces that hold bytes of `range`, in order.
    pub(super) fn take_overlapping(&mut self, range: &Range<u64>) -> Vec<(Range<u64>, Sum)> {
        // Pieces of one content do not overlap, save where two readers cut it differently: so a piece that begins long
        // before `range` may be passed over, which costs a fetch.
        let first = self.0.range(..=(range.start, u64::MAX)).next_back().map_or(range.start, |(at, _)| at.0);
        let found: Vec<_> = self
            .0
            .range((first, 0)..(range.end, 0))
            .filter(|((_, end), _)| *end > range.start)
            .map(|(&(start, end), &sum)| (start..end, sum))
            .collect();
        for (piece, _) in &found {
            self.0.remove(&(piece.start, piece.end));
        }
        found
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = (Range<u64>, Sum)> {
        self.0.iter().map(|(&(start, end), &sum)| (start..end, sum))
    }

    /// Whether every byte of a content of `size` bytes is in a piece.
    fn cover(&self, size: u64) -> bool {
        let reach =
            self.0.keys().try_fold(0, |reach, &(start, end)| (start <= reach).then(|| end.max(reach)));
        reach == Some(size)
    }

    /// What they take on disk, in blocks.
    pub(super) fn blocks(&self) -> u64 {
        file_blocks((HEAD_BYTES + self.0.len() * PIECE_BYTES + SUM_BYTES) as u64)
    }

    /// The file of the sums of `key`, which became complete in `boot`.
    pub(super) fn encode(&self, key: &EntryKey, boot: Boot) -> Vec<u8> {
        let name = key.to_string();
        let mut out = Vec::with_capacity(HEAD_BYTES + self.0.len() * PIECE_BYTES + SUM_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&boot.0);
        out.extend_from_slice(&key.size.to_le_bytes());
        out.extend_from_slice(&(self.0.len() as u64).to_le_bytes());
        out.extend_from_slice(&sum(&[name.as_bytes(), &out]));
        for ((start, end), piece) in &self.0 {
            out.extend_from_slice(&start.to_le_bytes());
            out.extend_from_slice(&end.to_le_bytes());
            out.extend_from_slice(&piece.0);
        }
        out.extend_from_slice(&sum(&[name.as_bytes(), &out]));
        out
    }

    /// The sums in a file that [`Sums::encode`] made for `key`; `None` for anything else.
    pub(super) fn decode(key: &EntryKey, file: &[u8]) -> Option<Self> {
        boot_of(key, file)?;
        let (rest, check) = file.split_last_chunk::<SUM_BYTES>()?;
        if sum(&[key.to_string().as_bytes(), rest]) != *check {
            return None;
        }
        let mut sums = Self::default();
        let pieces = rest.get(HEAD_BYTES..)?.chunks_exact(PIECE_BYTES);
        if !pieces.remainder().is_empty() {
            return None;
        }
        for piece in pieces {
            let (start, end) = (number(piece, 0)?, number(piece, 8)?);
            if start >= end || end > key.size {
                return None;
            }
            sums.note(&(start..end), Sum(*piece.get(16..)?.first_chunk()?));
        }
        sums.cover(key.size).then_some(sums)
    }
}

/// The boot in which a content became complete, by the head of its sums; `None` when that is no head of `key`'s.
pub(super) fn boot_of(key: &EntryKey, head: &[u8]) -> Option<Boot> {
    let head = head.first_chunk::<HEAD_BYTES>()?;
    let (rest, check) = head.split_last_chunk::<SUM_BYTES>()?;
    let sound = rest.starts_with(MAGIC)
        && number(rest, 24)? == key.size
        && sum(&[key.to_string().as_bytes(), rest]) == *check;
    sound.then(|| rest.get(8..)?.first_chunk().copied().map(Boot)).flatten()
}

/// The blocks of a file of sums that is so long.
pub(super) fn file_blocks(len: u64) -> u64 {
    len.div_ceil(BLOCK_BYTES)
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cache::ContentKey;

    fn key(n: u8) -> EntryKey {
        EntryKey { content: ContentKey::shared([n; 32]), size: 2500 }
    }

    fn sums() -> Sums {
        let mut sums = Sums::default();
        for start in [1000, 0, 2000] {
            sums.note(&(start..(start + 1000).min(2500)), Sum::of(&start.to_le_bytes()));
        }
        sums
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_no_other_is() {
        let boot = Boot::of("a");
        let file = sums().encode(&key(1), boot);
        assert_eq!(Sums::decode(&key(1), &file), Some(sums()));
        assert_eq!(boot_of(&key(1), &file[..HEAD_BYTES]), Some(boot));
        assert_eq!(file_blocks(file.len() as u64), sums().blocks());
        assert_eq!(Sums::decode(&key(2), &file), None, "another content's");
        assert_eq!(boot_of(&key(2), &file), None);
        for len in 0..file.len() {
            assert_eq!(Sums::decode(&key(1), &file[..len]), None, "cut at {len}");
        }
        for at in 0..file.len() {
            let mut flipped = file.clone();
            flipped[at] ^= 1;
            assert_eq!(Sums::decode(&key(1), &flipped), None, "flipped at {at}");
        }
        assert_eq!(Sums::decode(&key(1), &vec![0; file.len()]), None, "zeros");
    }

    #[test]
    fn sums_that_leave_a_byte_out_are_none() {
        let mut short = sums();
        assert_eq!(short.take_overlapping(&(1000..1001)).len(), 1);
        assert_eq!(Sums::decode(&key(1), &short.encode(&key(1), Boot::of("a"))), None);
        let mut long = sums();
        long.note(&(2000..2600), Sum::of(b""));
        assert_eq!(Sums::decode(&key(1), &long.encode(&key(1), Boot::of("a"))), None);
        let mut twice = sums();
        twice.note(&(500..1500), Sum::of(b""));
        assert_eq!(Sums::decode(&key(1), &twice.encode(&key(1), Boot::of("a"))), Some(twice));
    }

    #[test]
    fn pieces_are_found_by_any_of_their_bytes_and_once() {
        let mut sums = sums();
        let mut starts = |range: Range<u64>| {
            sums.take_overlapping(&range).into_iter().map(|(piece, _)| piece.start).collect::<Vec<_>>()
        };
        assert_eq!(starts(999..1001), [0, 1000]);
        assert_eq!(starts(0..2500), [2000]);
        assert!(sums.take_overlapping(&(0..2500)).is_empty());
    }
}
