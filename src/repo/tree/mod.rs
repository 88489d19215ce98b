//! The one sorted map of a commit.
//!
//! Must always be true: equal entries have the same root, whatever the history; and no read trusts a node before it
//! was checked against its hash and against what its parent says of it.
//!
//! - `read`: look-ups by key and rank, ranges, in O(log n) nodes. - `scan`: how far ahead leaves are fetched.

mod read;
#[cfg(test)]
mod read_tests;
#[cfg(test)]
pub(in crate::repo) mod reference;
mod scan;

pub(super) use read::Tree;
