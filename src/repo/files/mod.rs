//! Files of this machine into a tree, and back.
//!
//! - `walk`: local trees in key order. - `local`: one local file, read with care.
//! - `add`: local trees to edits, their content stored. - `export`: a part of a commit to a local directory.
//! - `place`: making things in a directory of this machine without ever following a link in it.

mod add;
mod export;
mod local;
mod place;
mod walk;

pub use add::{AddItem, AddSummary, Added, add};
pub use export::{ExportSummary, Owners, export};
pub use walk::Skipped;
