//! Files to chunks to packs, and back.
//!
//! - `read`: bytes of a file, every chunk verified.

mod read;

pub(super) use read::read;
