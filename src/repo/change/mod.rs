//! Changes made into commits on a branch that may have moved meanwhile.
//!
//! Must always be true: a commit that was reported is on its branch and holds exactly the edits asked for on top of what
//! others had committed before it; where the two contradict, nothing is written and every path is named.
//!
//! - `commit`: [`Change`], the loop from edits to a moved branch.
//! - `judge`, `merge_entry`: which edits survive what others did, and which contradict it.
//! - `align`: long files that are equal although their ids are not.
//! - `recheck`: what happens when a collector began meanwhile.
//! - `whole`: no entry without its directory.
//! - `paths`: edits that remove and rename.

mod align;
mod commit;
mod judge;
mod merge_entry;
mod on_tree;
mod paths;
mod recheck;
mod whole;

pub use commit::{Change, Committed, EmptyCommit, NewCommit};
pub use paths::{Directories, remove, rename};
pub use recheck::Referenced;
