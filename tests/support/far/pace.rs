//! How fast one body may flow.

use std::time::{Duration, Instant};

/// A time that a body lost (its receiver was slow, a sleep was long) may be made up for, as far as this: a link that was
/// idle does not owe the bytes that it did not carry.
const SLACK: Duration = Duration::from_millis(5);

/// The clock of one body.
#[derive(Debug)]
pub struct Pace {
    rate: Option<u64>,
    /// When everything that was let through so far has arrived at the other end.
    arrived: Option<Instant>,
}

impl Pace {
    /// At most `rate` bytes per second.
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.filter(|rate| *rate > 0), arrived: None }
    }

    /// Whether there is a limit at all.
    pub fn is_limited(&self) -> bool {
        self.rate.is_some()
    }

    /// Waits until `bytes` more may have arrived.
    pub fn wait(&mut self, bytes: u64) {
        let now = Instant::now();
        let due = self.due(bytes, now);
        if let Some(rest) = due.checked_duration_since(now) {
            std::thread::sleep(rest);
        }
    }

    /// When `bytes` more may have arrived, at the earliest.
    pub fn due(&mut self, bytes: u64, now: Instant) -> Instant {
        let Some(rate) = self.rate else { return now };
        let begins = match self.arrived {
            None => now,
            Some(arrived) => now.checked_sub(SLACK).map_or(arrived, |earliest| arrived.max(earliest)),
        };
        let due = begins + Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.arrived = Some(due);
        due
    }
}
