//! Which requests go wrong, and how.

use super::Settings;

/// Whether the store is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Off {
    /// It is on.
    #[default]
    No,
    /// Every connection is closed, unanswered.
    Refuse,
    /// Requests are taken and not answered.
    Hang,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// `503 SlowDown`, without the server having seen it.
    Refuse,
    /// The answer breaks off in the middle of its body.
    Cut,
}

impl Fault {
    /// What happens to the request with this number. The numbers decide, not a clock, so that a run can be repeated; they
    /// are mixed, so that a client which alternates between two kinds of request does not see only one of them fail.
    pub fn of(number: u64, settings: &Settings) -> Self {
        let chance = mixed(number) as f64 / u64::MAX as f64;
        if chance < settings.refuse {
            Self::Refuse
        } else if chance < settings.refuse + settings.cut {
            Self::Cut
        } else {
            Self::None
        }
    }
}

/// SplitMix64.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
