//! Measured figures, one line each for `scripts/accept` to collect: `FIGURE|what|value|limit`.

use std::time::Duration;

/// What was measured in one run; figures above their limits fail the test at the end, when all have been printed.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    missed: Vec<String>,
}

impl Figures {
    /// A figure without a limit.
    pub(crate) fn say(&self, what: &str, value: impl std::fmt::Display) {
        println!("FIGURE|{what}|{value}|");
    }

    /// A count that must not be more than `limit`.
    pub(crate) fn at_most(&mut self, what: &str, value: u64, limit: u64, unit: &str) {
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        println!("FIGURE|{what}|{value}{unit}|<= {limit}{unit}");
        self.judge(what, value <= limit);
    }

    /// A time that must be shorter than `limit`.
    pub(crate) fn within(&mut self, what: &str, value: Duration, limit: Duration) {
        println!("FIGURE|{what}|{}|< {}", seconds(value), seconds(limit));
        self.judge(what, value < limit);
    }

    fn judge(&mut self, what: &str, held: bool) {
        if !held {
            self.missed.push(what.to_owned());
        }
    }

    /// Fails when a limit was missed.
    pub(crate) fn end(self) {
        assert!(self.missed.is_empty(), "above their limits: {:?}", self.missed);
    }
}

/// `1.23 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// `12.3 MB`, of a million bytes each.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
