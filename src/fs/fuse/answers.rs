//! Our values as fuser's.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use fuser::{Errno, FileAttr, FileType, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyXattr};

use crate::format::EntryKind;
use crate::fs::attr::Attr;
use crate::fs::error::FsError;
use crate::fs::node::{Lifetime, Listed, Room};

use super::Inner;

/// "For ever" for the kernel: ten years.
pub(super) const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Block size that `stat` and `statfs` show, in bytes.
pub(super) const BLOCK: u32 = 4096;

/// The two kinds of listing.
pub(super) trait ListReply: Send + 'static {
    fn push(&mut self, listed: &Listed<'_>) -> Room;
    fn done(self);
    fn fail(self, errno: Errno);
}

impl ListReply for ReplyDirectory {
    fn push(&mut self, listed: &Listed<'_>) -> Room {
        let kind = file_type(listed.attr.kind);
        room(self.add(INodeNo(listed.attr.ino.raw()), listed.next, kind, OsStr::from_bytes(listed.name)))
    }

    fn done(self) {
        self.ok();
    }

    fn fail(self, errno: Errno) {
        self.error(errno);
    }
}

impl ListReply for ReplyDirectoryPlus {
    fn push(&mut self, listed: &Listed<'_>) -> Room {
        let (ttl, name) = (ttl(listed.lifetime), OsStr::from_bytes(listed.name));
        let attr = file_attr(&listed.attr);
        room(self.add(attr.ino, listed.next, name, &ttl, &attr, Generation(0)))
    }

    fn done(self) {
        self.ok();
    }

    fn fail(self, errno: Errno) {
        self.error(errno);
    }
}

fn room(full: bool) -> Room {
    if full { Room::Full } else { Room::Left }
}

/// How long the kernel may believe it.
pub(super) fn ttl(lifetime: Lifetime) -> Duration {
    match lifetime {
        Lifetime::Forever => FOREVER,
        Lifetime::For(time) => time,
        Lifetime::None => Duration::ZERO,
    }
}

fn file_type(kind: EntryKind) -> FileType {
    match kind {
        EntryKind::File => FileType::RegularFile,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink => FileType::Symlink,
    }
}

/// What `stat` shows.
pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.raw()),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: attr.mtime,
        mtime: attr.mtime,
        ctime: attr.mtime,
        crtime: attr.mtime,
        kind: file_type(attr.kind),
        perm: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// An answer that says "there is no such name" and may be kept: an entry with inode number 0.
pub(super) fn absence() -> FileAttr {
    let epoch = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
        crtime: epoch,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// Answers with the value of an attribute, or with its length when that is asked.
pub(super) fn reply_xattr(inner: &Inner, value: Result<Vec<u8>, FsError>, size: u32, reply: ReplyXattr) {
    match value {
        Err(error) => reply.error(inner.errno(&error)),
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() <= size as usize => reply.data(&value),
        Ok(_) => reply.error(inner.errno(&FsError::BufferTooSmall)),
    }
}
