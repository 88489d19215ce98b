//! Which requests a fault strikes.

use std::time::Duration;

use crate::store::Operation;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// 500; the request has no effect.
    Server,
    /// 500; a write has taken effect all the same.
    ServerAfterSuccess,
    /// 503, slow down; no effect.
    Throttled,
    /// The same, with the wish to be left alone for so long.
    ThrottledFor(Duration),
    /// 409, concurrent conditional writes; no effect.
    Conflict,
    /// 403; no effect.
    Denied,
    /// No connection; no effect.
    Unreachable,
    /// A write takes effect, and the caller gets a timeout.
    LostAnswer,
    /// `put_new` takes effect, and the caller hears that the object existed already: what a hidden retry makes of its own
    /// success. Other requests pass.
    ExistsAfterSuccess,
    /// The caller gets a timeout, and a write takes effect within this time afterwards.
    LateArrival(Duration),
    /// The body of an answer, or of a request, ends early, and that is noticed.
    CutBody,
    /// One bit of the body that a read returns is wrong, and that is not noticed. Other requests pass.
    FlippedBit,
    /// This long before the request takes effect.
    SlowFirstByte(Duration),
    /// This long between its effect and the end of its answer.
    SlowBody(Duration),
    /// Both, each up to this long by chance: what mixes the order of concurrent requests.
    Jitter(Duration),
    /// `put_new` overwrites. Other requests pass.
    IgnoredCondition,
    /// `put_new` looks whether the object exists, and writes this much later whatever has happened since. Other requests
    /// pass.
    RacyCondition(Duration),
}

/// Which of the requests that a rule is about are struck.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// Every one.
    Always,
    /// The first so many.
    First(u64),
    /// This one, counted from 1.
    Nth(u64),
    /// Each with this probability, 0 to 1.
    Probability(f64),
    /// Those that come while so many others are under way that were not struck (slow ones count as under way).
    Above(usize),
}

impl When {
    /// Whether it strikes the request number `met` (from 1) of its rule, which comes while `running` others are under
    /// way; `chance` gives a number from 0 to 1.
    pub(super) fn strikes(&self, met: u64, running: usize, chance: impl FnOnce() -> f64) -> bool {
        match self {
            Self::Always => true,
            Self::First(count) => met <= *count,
            Self::Nth(number) => met == *number,
            Self::Probability(probability) => chance() < *probability,
            Self::Above(most) => running >= *most,
        }
    }
}

/// A fault and the requests it strikes.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultRule {
    /// Of these kinds; empty: of any.
    pub operations: Vec<Operation>,
    /// Of keys (or listings of prefixes) that begin with this.
    pub prefix: String,
    /// Which of them.
    pub when: When,
    /// What happens to them.
    pub fault: Fault,
}

impl FaultRule {
    /// `fault` strikes those requests that `when` says.
    pub fn new(when: When, fault: Fault) -> Self {
        Self { operations: Vec::new(), prefix: String::new(), when, fault }
    }

    /// Every request.
    pub fn always(fault: Fault) -> Self {
        Self::new(When::Always, fault)
    }

    /// The first `count` requests.
    pub fn first(count: u64, fault: Fault) -> Self {
        Self::new(When::First(count), fault)
    }

    /// The request `number`, counted from 1.
    pub fn nth(number: u64, fault: Fault) -> Self {
        Self::new(When::Nth(number), fault)
    }

    /// Each request with `probability`, 0 to 1.
    pub fn sometimes(probability: f64, fault: Fault) -> Self {
        Self::new(When::Probability(probability), fault)
    }

    /// Only requests of this kind (called again: of that kind too).
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Only keys that begin with `prefix`.
    #[must_use]
    pub fn under(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    pub(super) fn applies(&self, operation: Operation, key: &str) -> bool {
        (self.operations.is_empty() || self.operations.contains(&operation)) && key.starts_with(&self.prefix)
    }
}
