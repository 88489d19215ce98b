//! Files of this machine into a tree, and back.
//!
//! - `walk`: local trees in key order. - `local`: one local file, read with care.
//! - `add`: local trees to edits, their content stored.

mod add;
mod local;
mod walk;

pub use add::{AddItem, AddSummary, Added, add};
pub use walk::Skipped;
