//! Instants and the clock. The engine asks a [`Clock`], so that a simulated run has its own time.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};

/// Why a text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: write 2026-11-23T10:00:00Z, or 2026-11-23T10:00 for UTC")]
pub struct TimeError(String);

/// An instant in UTC with microseconds: what commits and records store. Text form RFC 3339, always with six
/// fractional digits and `Z`, so that equal instants have one spelling and texts sort as instants do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z: four-digit years only, so that texts sort.
const MICROS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_207_199_999_999;

impl Timestamp {
    /// Microseconds since 1970; clamped to years 1 to 9999.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(*MICROS.start(), *MICROS.end()))
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn as_micros(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = jiff::Timestamp::from_microsecond(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{instant:.6}")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    /// RFC 3339, or a civil date and time (seconds, or the whole time, may be missing) taken as UTC.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let bad = || TimeError(text.chars().take(60).collect());
        let micros = match text.parse::<jiff::Timestamp>() {
            Ok(instant) => instant.as_microsecond(),
            Err(_) => {
                let civil: jiff::civil::DateTime = text.parse().map_err(|_| bad())?;
                jiff::tz::TimeZone::UTC.to_timestamp(civil).map_err(|_| bad())?.as_microsecond()
            }
        };
        if MICROS.contains(&micros) { Ok(Self(micros)) } else { Err(bad()) }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let instant: Self = text.parse().map_err(serde::de::Error::custom)?;
        // One spelling only: a record that is re-encoded must give the same bytes.
        if instant.to_string() == text {
            Ok(instant)
        } else {
            Err(serde::de::Error::custom(format!("time {text:?} is not in its canonical form {instant}")))
        }
    }
}

/// Where the engine learns the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now, by this machine's clock, which may be wrong or set back.
    fn now(&self) -> Timestamp;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
    }
}

/// A clock that stands where it is put: for tests and the simulator.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `at`.
    pub fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.0))
    }

    /// Puts the clock to `at`, forward or back.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.0, Ordering::SeqCst);
    }

    /// Moves the clock on by `micros`.
    pub fn advance_micros(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_that_sorts() {
        let t: Timestamp = "2026-11-23T10:00".parse().expect("civil");
        assert_eq!(t.to_string(), "2026-11-23T10:00:00.000000Z");
        assert_eq!("2026-11-23T11:00:00+01:00".parse(), Ok(t));
        assert!(Timestamp::from_micros(i64::MIN) < Timestamp::from_micros(i64::MAX));
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string().len(), t.to_string().len());
        assert_eq!(Timestamp::from_micros(i64::MIN).to_string().len(), t.to_string().len());
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert!(serde_json::from_str::<Timestamp>("\"2026-11-23T10:00:00Z\"").is_err());
    }
}
