//! Sizes as people write them: `500GiB`, `1.5T`, `4096`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, shown in binary units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size: write a number and a unit, such as 500GiB, 1.5T or 4096")]
pub struct SizeError(String);

impl FromStr for ByteSize {
    type Err = SizeError;

    /// `K M G T P` and `KiB ... PiB` are powers of 1,024; `kB MB GB TB PB` powers of 1,000; none or `B` is bytes.
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let bad = || SizeError(text.chars().take(40).collect());
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let unit = unit.trim().to_ascii_lowercase();
        let power = |letter: &str| "bkmgtp".find(letter).map(|i| i as i32);
        let factor = match unit.as_str() {
            "" | "b" => 1.0,
            _ => match (unit.strip_suffix("ib"), unit.strip_suffix('b')) {
                (Some(letter), _) if letter.len() == 1 => 1024f64.powi(power(letter).ok_or_else(bad)?),
                (None, Some(letter)) if letter.len() == 1 => 1000f64.powi(power(letter).ok_or_else(bad)?),
                (None, None) if unit.len() == 1 => 1024f64.powi(power(&unit).ok_or_else(bad)?),
                _ => return Err(bad()),
            },
        };
        if !number.contains('.') && factor == 1.0 {
            return number.parse().map(Self).map_err(|_| bad());
        }
        let value = number.parse::<f64>().map_err(|_| bad())? * factor;
        // Above 2^63 a size is a typing error, and the conversion below would saturate silently.
        if value < 9.2e18 { Ok(Self(value as u64)) } else { Err(bad()) }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        if unit == 0 { write!(f, "{} B", self.0) } else { write!(f, "{value:.1} {}", UNITS[unit]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_mean_them() {
        for (text, bytes) in [
            ("4096", 4096),
            ("1k", 1024),
            ("1 KiB", 1024),
            ("1kB", 1000),
            ("1.5G", 3 << 29),
            ("500GiB", 500 << 30),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in ["", "x", "1x", "1kibb", "-1", "1.2.3", "99999P", "k"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        assert_eq!(ByteSize(1536 << 20).to_string(), "1.5 GiB");
    }
}
