//! Changes made into commits on a branch that may have moved meanwhile.

mod judge;
mod merge_entry;
