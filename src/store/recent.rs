//! How long requests took lately: the last 512 of them, in logarithmic buckets.
//!
//! What is asked is only ever "past which time is a request unusual", so a bucket's width of a fifth is exact enough, and
//! a sample costs a byte. The window moves by samples and not by time: a quiet hour says nothing about the store.

use std::collections::VecDeque;
use std::time::Duration;

/// So many samples are remembered: a store that changes its ways is understood after a few of them at the 99th
/// percentile (1 % of 512), and one outlier alone does not move it.
const WINDOW: usize = 512;

/// The upper end of the first bucket; nothing that crosses a network is faster.
const SHORTEST: Duration = Duration::from_micros(128);

/// Buckets per doubling: each is 19 % wider than the one before it.
const PER_DOUBLING: f64 = 4.0;

/// Up to 128 us x 2^23.75, half an hour: longer than any request may take.
const BUCKETS: usize = 96;

/// The times of the last requests of one kind.
#[derive(Debug)]
pub(super) struct Recent {
    /// The buckets of the samples in the order in which they came.
    order: VecDeque<u8>,
    counts: [u16; BUCKETS],
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { order: VecDeque::new(), counts: [0; BUCKETS] }
    }

    /// Adds a sample; the oldest goes when there are enough.
    pub(super) fn add(&mut self, time: Duration) {
        if self.order.len() == WINDOW
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts[usize::from(oldest)] -= 1;
        }
        let bucket = bucket(time);
        self.counts[usize::from(bucket)] += 1;
        self.order.push_back(bucket);
    }

    /// How many samples there are, at most 512.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// The time within which `percent` of the samples ended, 1 to 100; at most 19 % too long.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let needed = (self.order.len() * percent).div_ceil(100);
        let mut seen = 0;
        let within = self.counts.iter().position(|count| {
            seen += usize::from(*count);
            seen >= needed
        });
        upper_end(within.unwrap_or(0))
    }
}

fn bucket(time: Duration) -> u8 {
    let doublings = (time.as_secs_f64() / SHORTEST.as_secs_f64()).log2();
    // Zero has no logarithm: it, like all that is not positive, lies in the first bucket.
    (doublings * PER_DOUBLING).ceil().clamp(0.0, (BUCKETS - 1) as f64) as u8
}

fn upper_end(bucket: usize) -> Duration {
    SHORTEST.mul_f64((bucket as f64 / PER_DOUBLING).exp2())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn percentiles_are_at_most_a_fifth_too_long() {
        let mut recent = Recent::new();
        for number in 1..=500 {
            recent.add(millis(number));
        }
        assert_eq!(recent.len(), 500);
        for (percent, exact) in [(1, 5), (50, 250), (95, 475), (99, 495), (100, 500)] {
            let got = recent.percentile(percent);
            assert!(got >= millis(exact) && got <= millis(exact).mul_f64(1.2), "{percent}: {got:?}");
        }
    }

    #[test]
    fn only_the_last_ones_count() {
        let mut recent = Recent::new();
        (0..5000).for_each(|_| recent.add(millis(900)));
        (0..WINDOW).for_each(|_| recent.add(millis(10)));
        assert_eq!(recent.len(), WINDOW);
        assert!(recent.percentile(100) < millis(13));
        // Five of 512 are not yet 1 %, six are.
        (0..5).for_each(|_| recent.add(millis(900)));
        assert!(recent.percentile(99) < millis(13));
        recent.add(millis(900));
        assert!(recent.percentile(99) >= millis(900));
    }

    #[test]
    fn every_time_has_a_bucket() {
        let mut recent = Recent::new();
        assert_eq!(recent.percentile(99), SHORTEST);
        for time in [Duration::ZERO, Duration::from_nanos(1), SHORTEST] {
            recent.add(time);
            assert_eq!(recent.percentile(100), SHORTEST, "{time:?}");
        }
        recent.add(Duration::MAX);
        assert!(recent.percentile(100) > Duration::from_secs(1800));
    }
}
