//! Why stored bytes are not what they should be.

/// Bytes that break a rule of `docs/format.md`. The caller adds which object they came from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes end too early.
    #[error("{what} is cut short")]
    Truncated {
        /// Which structure.
        what: &'static str,
    },
    /// A rule of the format is broken.
    #[error("{what} is malformed: {rule}")]
    Malformed {
        /// Which structure.
        what: &'static str,
        /// The rule, with the offending value.
        rule: String,
    },
    /// The content does not have the hash it is stored under.
    #[error("{what} {expected} has other content: its bytes hash to {actual}")]
    WrongHash {
        /// Which structure.
        what: &'static str,
        /// The hash asked for, in hex.
        expected: String,
        /// The hash found, in hex.
        actual: String,
    },
    /// Written by a newer version of atfs.
    #[error("{what} has format version {found}; this atfs reads up to {supported}")]
    Newer {
        /// Which structure.
        what: &'static str,
        /// The version found.
        found: u64,
        /// The newest version that this code reads.
        supported: u32,
    },
}

impl FormatError {
    /// A broken rule of `what`.
    pub fn malformed(what: &'static str, rule: impl Into<String>) -> Self {
        Self::Malformed { what, rule: rule.into() }
    }

    /// `what` was asked for by the hash `expected` and hashes to `actual`.
    pub fn wrong_hash(what: &'static str, expected: impl ToString, actual: impl ToString) -> Self {
        Self::WrongHash { what, expected: expected.to_string(), actual: actual.to_string() }
    }
}
