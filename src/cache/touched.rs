//! How large a slab is, and which parts of it are in use.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How much of a pack one slab stands for. Smaller ones are more files and more entries (at 8 MiB a disk of 1 TB has
/// 125,000 of them), larger ones are evicted in coarser steps.
pub(super) const SLAB_BYTES: u64 = 8 << 20;

/// The longest blob that a slab takes: what overhangs belongs to the slab that it begins in.
pub(super) const LONGEST: u64 = 2 << 20;

/// Parts of a slab whose use is remembered, one bit each: 64 of 160 KiB cover the slab and what overhangs.
pub(super) const PARTS: u64 = 64;

/// Length of a part in bytes.
pub(super) const PART_BYTES: u64 = (SLAB_BYTES + LONGEST) / PARTS;

/// Which parts of a slab were read since it was filled, or since it was last spared.
#[derive(Debug, Default)]
pub(super) struct Touched {
    parts: AtomicU64,
    /// What is not touched may have been read before.
    forgetful: AtomicBool,
}

impl Touched {
    /// Of a slab that another process has filled and read.
    pub(super) fn of_old() -> Self {
        Self { forgetful: AtomicBool::new(true), ..Self::default() }
    }

    /// Whether what is not touched was never read.
    pub(super) fn remembers_all(&self) -> bool {
        !self.forgetful.load(Ordering::Relaxed)
    }

    /// Notes that bytes of the slab were read.
    pub(super) fn note(&self, range: &Range<u64>) {
        let (first, last) = (range.start / PART_BYTES, (range.end - 1) / PART_BYTES);
        let bits = (first..=last.min(PARTS - 1)).fold(0, |bits, part| bits | 1 << part);
        if self.parts.load(Ordering::Relaxed) & bits != bits {
            self.parts.fetch_or(bits, Ordering::Relaxed);
        }
    }

    /// Whether nothing was read.
    pub(super) fn is_cold(&self) -> bool {
        self.parts.load(Ordering::Relaxed) == 0
    }

    /// The parts that were read, and forgets them.
    pub(super) fn take(&self) -> u64 {
        self.forgetful.store(true, Ordering::Relaxed);
        self.parts.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_noted_by_part_and_the_overhang_counts() {
        let touched = Touched::default();
        assert!(touched.remembers_all());
        touched.note(&(0..1));
        touched.note(&(SLAB_BYTES + LONGEST - 1..SLAB_BYTES + LONGEST));
        touched.note(&(PART_BYTES - 1..PART_BYTES + 1));
        assert_eq!(touched.take(), 1 << 63 | 0b11);
        assert_eq!(touched.take(), 0);
        assert!(!touched.remembers_all() && !Touched::of_old().remembers_all());
    }
}
