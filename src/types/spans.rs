//! Which bytes (or blocks) of a file are there: a set of ranges, merged where they touch.
//!
//! Ranges of bytes, not numbers of pieces: what is on disk can be answered without knowing how the file is
//! cut, so a cached range is read without fetching a manifest, and a sequential fill is one range however
//! long the file.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint, non-empty ranges that do not touch each other: start to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans(BTreeMap<u64, u64>);

impl Spans {
    /// The set that holds `range` alone.
    pub fn of(range: Range<u64>) -> Self {
        let mut spans = Self::default();
        spans.insert(range);
        spans
    }

    /// Adds `range`.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        // Every span that overlaps or touches begins at or before our end and ends at or behind our start.
        while let Some((&s, &e)) = self.0.range(..=end).next_back()
            && e >= start
        {
            self.0.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        self.0.insert(start, end);
    }

    /// How far the bytes from `offset` on are there: the end of its span; `None` when `offset` itself is not.
    pub fn reach(&self, offset: u64) -> Option<u64> {
        self.0.range(..=offset).next_back().map(|(_, &end)| end).filter(|&end| end > offset)
    }

    /// Whether every byte of `range` is there; an empty range is.
    pub fn covers(&self, range: &Range<u64>) -> bool {
        range.is_empty() || self.reach(range.start).is_some_and(|end| end >= range.end)
    }

    /// Takes `range` out.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&start, &end)) = self.0.range(..range.end).next_back()
            && end > range.start
        {
            self.0.remove(&start);
            if end > range.end {
                self.0.insert(range.end, end);
            }
            if start < range.start {
                self.0.insert(start, range.start);
            }
        }
    }

    /// They, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(&start, &end)| start..end)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// Behind the last one; 0 when there are none.
    pub fn end(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(_, &end)| end)
    }

    /// What of `range` is not there, in order.
    pub fn gaps(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let mut at = range.start;
        std::iter::from_fn(move || {
            let start = self.first_gap(at, range.end)?;
            let next = self.0.range(start..).next().map_or(range.end, |(&start, _)| start.min(range.end));
            at = next;
            Some(start..next)
        })
    }

    /// How many of `range` are not there.
    pub fn missing(&self, range: &Range<u64>) -> u64 {
        self.gaps(range.clone()).map(|gap| gap.end - gap.start).sum()
    }

    /// How many both hold.
    pub fn common(&self, other: &Self) -> u64 {
        other.0.iter().map(|(&start, &end)| end - start - self.missing(&(start..end))).sum()
    }

    /// The first missing byte at or behind `offset`, unless it is at or behind `end`.
    pub fn first_gap(&self, offset: u64, end: u64) -> Option<u64> {
        let gap = self.reach(offset).unwrap_or(offset);
        (gap < end).then_some(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn spans_are_a_set_of_bytes(
            changes in prop::collection::vec((0..64u64, 0..20u64, prop::bool::weighted(0.8)), 0..20)
        ) {
            let mut spans = Spans::default();
            let mut model = [false; 90];
            for (start, len, there) in changes {
                let range = start..start + len;
                model[start as usize..range.end as usize].fill(there);
                if there { spans.insert(range) } else { spans.remove(range) }
            }
            let count = |end: u64| model[end as usize..].iter().take_while(|&&there| there).count() as u64;
            for start in 0..80u64 {
                let reach = start + count(start);
                prop_assert_eq!(spans.reach(start), (reach > start).then_some(reach));
                prop_assert_eq!(spans.first_gap(start, 85), (reach < 85).then_some(reach));
                for end in start..85 {
                    prop_assert_eq!(spans.covers(&(start..end)), reach >= end);
                    let missing = model[start as usize..end as usize].iter().filter(|there| !**there).count();
                    prop_assert_eq!(spans.missing(&(start..end)), missing as u64);
                    prop_assert_eq!(spans.common(&Spans::of(start..end)), end - start - missing as u64);
                }
            }
            // Merged where they touch: as few ranges as there are runs.
            let runs = (0..90).filter(|&i| model[i] && (i == 0 || !model[i - 1])).count();
            prop_assert_eq!(spans.0.len(), runs);
            prop_assert_eq!(spans.count(), model.iter().filter(|there| **there).count() as u64);
            prop_assert_eq!(spans.end(), model.iter().rposition(|there| *there).map_or(0, |last| last as u64 + 1));
        }
    }
}
