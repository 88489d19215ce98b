//! An entry's bytes and rules. Every rule stands in a `check`, which the decoder calls too: what a writer may
//! encode is exactly what a reader accepts. No field repeats another, so equal entries have equal bytes.

use bytes::Bytes;

use crate::types::{ChunkId, ManifestId, XattrsId};

use super::cursor::{Cursor, Sink};
use super::{
    Content, Entry, EntryBody, ExternalObject, FormatError, MAX_INLINE_BYTES, MAX_INLINE_XATTR_BYTES, Mtime,
    SINGLE_CHUNK_BYTES, XattrList, Xattrs,
};

// The flags byte: bits 0-1 kind, bits 2-4 content (0 unless a file), bits 5-6 extended attributes, bit 7 zero.
const KIND_FILE: u8 = 0;
const KIND_DIRECTORY: u8 = 1;
const KIND_SYMLINK: u8 = 2;
const CONTENT_EMPTY: u8 = 0;
const CONTENT_INLINE: u8 = 1;
const CONTENT_CHUNK: u8 = 2;
const CONTENT_MANIFEST: u8 = 3;
const CONTENT_EXTERNAL: u8 = 4;
const XATTRS_NONE: u8 = 0;
const XATTRS_INLINE: u8 = 1;
const XATTRS_BLOB: u8 = 2;

/// Permission bits that are stored: setuid and setgid give rights, and nothing in a repository may.
const MODE_BITS: u16 = 0o1777;

/// Longest file, as `off_t` has it.
const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// Longest symlink target: Linux's `PATH_MAX` less the closing NUL.
const MAX_TARGET_BYTES: usize = 4095;

fn malformed(rule: impl Into<String>) -> FormatError {
    FormatError::malformed("tree entry", rule)
}

impl Entry {
    /// Checks every rule that an entry can break: what [`super::TreeNode::decode`] refuses, this names beforehand.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] with the rule.
    pub fn check(&self) -> Result<(), FormatError> {
        if self.mode & !MODE_BITS != 0 {
            return Err(malformed(format!("mode {:o} has bits outside 1777", self.mode)));
        }
        if self.mtime.nanos >= 1_000_000_000 {
            return Err(malformed(format!("mtime has {} nanoseconds", self.mtime.nanos)));
        }
        if let Xattrs::Inline(list) = &self.xattrs {
            list.check()?;
            let len = list.encoded_len();
            if list.0.is_empty() || len > MAX_INLINE_XATTR_BYTES {
                return Err(malformed(format!(
                    "{} xattrs in {len} bytes stand in the entry; not none, and at most \
                     {MAX_INLINE_XATTR_BYTES} bytes, can",
                    list.0.len()
                )));
            }
        }
        match &self.body {
            EntryBody::File { size, content } => content.check(*size),
            EntryBody::Directory => Ok(()),
            EntryBody::Symlink { target } => {
                if target.is_empty() || target.len() > MAX_TARGET_BYTES || target.contains(&0) {
                    return Err(malformed("a symlink's target is empty, too long, or holds NUL"));
                }
                Ok(())
            }
        }
    }

    /// Appends the encoding (docs/format.md, "Leaf item", from the flags byte on).
    pub(super) fn write(&self, sink: &mut impl Sink) {
        let (kind, content) = match &self.body {
            EntryBody::File { content, .. } => (KIND_FILE, content.tag()),
            EntryBody::Directory => (KIND_DIRECTORY, 0),
            EntryBody::Symlink { .. } => (KIND_SYMLINK, 0),
        };
        let xattrs = match &self.xattrs {
            Xattrs::None => XATTRS_NONE,
            Xattrs::Inline(_) => XATTRS_INLINE,
            Xattrs::Blob(_) => XATTRS_BLOB,
        };
        sink.byte(kind | content << 2 | xattrs << 5);
        sink.varint(u64::from(self.mode));
        sink.varint(u64::from(self.uid));
        sink.varint(u64::from(self.gid));
        sink.zigzag(self.mtime.seconds);
        sink.varint(u64::from(self.mtime.nanos));
        match &self.body {
            EntryBody::File { size, content } => content.write(*size, sink),
            EntryBody::Directory => {}
            EntryBody::Symlink { target } => sink.sized(target),
        }
        match &self.xattrs {
            Xattrs::None => {}
            Xattrs::Inline(list) => list.write(sink),
            Xattrs::Blob(id) => sink.bytes(id.as_bytes()),
        }
    }

    /// Reads what [`Entry::write`] wrote and checks every rule.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        let flags = cursor.u8()?;
        let (kind, content, xattrs) = (flags & 3, flags >> 2 & 7, flags >> 5);
        let mode = cursor.varint_to(u64::from(MODE_BITS), "mode")?;
        let uid = cursor.varint_u32("uid")?;
        let gid = cursor.varint_u32("gid")?;
        let mtime = Mtime { seconds: cursor.zigzag()?, nanos: cursor.varint_u32("nanoseconds")? };
        let body = match (kind, content) {
            (KIND_FILE, _) => {
                let (size, content) = Content::read(content, cursor)?;
                EntryBody::File { size, content }
            }
            (KIND_DIRECTORY, 0) => EntryBody::Directory,
            (KIND_SYMLINK, 0) => {
                let target = cursor.sized(MAX_TARGET_BYTES, "length of a symlink's target")?;
                EntryBody::Symlink { target: Bytes::copy_from_slice(target) }
            }
            _ => return Err(malformed(format!("flags {flags:#04x} are not defined"))),
        };
        let xattrs = match xattrs {
            XATTRS_NONE => Xattrs::None,
            XATTRS_INLINE => Xattrs::Inline(XattrList::read(cursor)?),
            XATTRS_BLOB => Xattrs::Blob(XattrsId::from_bytes(cursor.array()?)),
            _ => return Err(malformed(format!("flags {flags:#04x} are not defined"))),
        };
        let mode = u16::try_from(mode).map_err(|_| malformed("mode"))?;
        let entry = Self { mode, uid, gid, mtime, xattrs, body };
        entry.check()?;
        Ok(entry)
    }
}

impl Content {
    fn tag(&self) -> u8 {
        match self {
            Self::Empty => CONTENT_EMPTY,
            Self::Inline(_) => CONTENT_INLINE,
            Self::Chunk(_) => CONTENT_CHUNK,
            Self::Manifest(_) => CONTENT_MANIFEST,
            Self::External(_) => CONTENT_EXTERNAL,
        }
    }

    /// The size decides the kind, so that equal bytes have one encoding.
    fn check(&self, size: u64) -> Result<(), FormatError> {
        const INLINE: u64 = MAX_INLINE_BYTES as u64;
        let fits = match self {
            Self::Empty => size == 0,
            Self::Inline(bytes) => (1..=INLINE).contains(&size) && bytes.len() as u64 == size,
            Self::Chunk(_) => (INLINE + 1..=SINGLE_CHUNK_BYTES).contains(&size),
            Self::Manifest(_) => (SINGLE_CHUNK_BYTES + 1..=MAX_FILE_BYTES).contains(&size),
            Self::External(object) => {
                object.check()?;
                size <= MAX_FILE_BYTES
            }
        };
        if fits { Ok(()) } else { Err(malformed(format!("content kind {} of {size} bytes", self.tag()))) }
    }

    fn write(&self, size: u64, sink: &mut impl Sink) {
        if *self == Self::Empty {
            return;
        }
        sink.varint(size);
        match self {
            Self::Empty => {}
            Self::Inline(bytes) => sink.bytes(bytes),
            Self::Chunk(id) => sink.bytes(id.as_bytes()),
            Self::Manifest(id) => sink.bytes(id.as_bytes()),
            Self::External(object) => {
                for field in [&object.bucket, &object.key, &object.version, &object.etag] {
                    sink.sized(field.as_bytes());
                }
            }
        }
    }

    fn read(tag: u8, cursor: &mut Cursor<'_>) -> Result<(u64, Self), FormatError> {
        if tag == CONTENT_EMPTY {
            return Ok((0, Self::Empty));
        }
        let size = cursor.varint_to(MAX_FILE_BYTES, "size")?;
        let content = match tag {
            CONTENT_INLINE => {
                let len = usize::try_from(size).ok().filter(|len| *len <= MAX_INLINE_BYTES);
                let len = len.ok_or_else(|| malformed(format!("inline content of {size} bytes")))?;
                Self::Inline(Bytes::copy_from_slice(cursor.take(len)?))
            }
            CONTENT_CHUNK => Self::Chunk(ChunkId::from_bytes(cursor.array()?)),
            CONTENT_MANIFEST => Self::Manifest(ManifestId::from_bytes(cursor.array()?)),
            CONTENT_EXTERNAL => {
                let mut text = |max, name| {
                    let bytes = cursor.sized(max, name)?.to_vec();
                    String::from_utf8(bytes).map_err(|_| malformed(format!("{name} is not UTF-8")))
                };
                Self::External(Box::new(ExternalObject {
                    bucket: text(63, "bucket of an external object")?,
                    key: text(1024, "key of an external object")?,
                    version: text(1024, "version of an external object")?,
                    etag: text(255, "ETag of an external object")?,
                }))
            }
            _ => return Err(malformed(format!("content kind {tag} is not defined"))),
        };
        Ok((size, content))
    }
}

impl ExternalObject {
    /// Version and ETag travel in HTTP headers and queries, so they must be visible ASCII.
    fn check(&self) -> Result<(), FormatError> {
        let visible = |text: &str| text.bytes().all(|b| matches!(b, 0x21..=0x7e) && b != b'"');
        let bucket = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        let rule = if !(3..=63).contains(&self.bucket.len()) || !self.bucket.bytes().all(bucket) {
            "bucket"
        } else if !(1..=1024).contains(&self.key.len()) || self.key.contains('\0') {
            "key"
        } else if self.version.len() > 1024 || !visible(&self.version) {
            "version"
        } else if !(1..=255).contains(&self.etag.len()) || !visible(&self.etag) {
            "ETag"
        } else {
            return Ok(());
        };
        Err(malformed(format!("an external object has a {rule} that no store gives")))
    }
}
