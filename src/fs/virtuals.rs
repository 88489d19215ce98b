//! The `.atfs` directory at the root of what a mount shows: small text files, found by look-up and never listed, so
//! that no copy of the tree holds them. A script writes `open(".../.atfs/commit").read()` into its log.

use std::time::SystemTime;

use crate::format::EntryKind;

use super::attr::{Attr, Owner};
use super::inode::{Ino, Slot, Virtual};

/// The directory's name.
pub(super) const DIRECTORY: &[u8] = b".atfs";

/// The file called `name` in `.atfs`.
pub(super) fn find(name: &[u8]) -> Option<Virtual> {
    Virtual::FILES.iter().find(|(file, _)| file.as_bytes() == name).map(|(_, file)| *file)
}

/// What `stat` shows of `.atfs` or of one of its files, whose text is now `len` bytes long.
pub(super) fn attr(slot: Slot, file: Virtual, len: usize, owner: Owner, mtime: SystemTime) -> Attr {
    let ino = Ino::of_virtual(slot, file);
    let directory = Attr::of_directory(ino, owner, mtime);
    match file {
        Virtual::Directory => Attr { mode: 0o555, ..directory },
        _ => Attr { mode: 0o444, kind: EntryKind::File, size: len as u64, ..directory },
    }
}
