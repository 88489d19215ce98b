//! The one sorted map of a commit.
//!
//! Must always be true: equal entries have the same root, whatever the history; and no read trusts a node before it
//! was checked against its hash and against what its parent says of it.
//!
//! - `read`: look-ups by key and rank, ranges, in O(log n) nodes.
//! - `scan`: how far ahead leaves are fetched.
//! - `edit`: a batch of edits laid over a tree; `level` cuts, `nodes` writes, `upcoming` looks ahead.
//! - `diff`: two trees side by side, stepping over what is equal.

#[cfg(test)]
mod damage_tests;
mod diff;
#[cfg(test)]
mod diff_tests;
mod edit;
#[cfg(test)]
mod edit_tests;
mod level;
mod nodes;
mod read;
#[cfg(test)]
mod read_tests;
#[cfg(test)]
pub(in crate::repo) mod reference;
mod scan;
mod upcoming;

pub use diff::{Difference, Differences};
pub(super) use edit::edit;
pub(super) use nodes::BuiltTree;
pub(super) use read::Tree;
