//! What a plain file of the upper cannot say by itself: the extended attribute `user.atfs`.
//!
//! JSON, so that a person with `getfattr` can read it. It is written as a whole, so it is there or it is not. A record that cannot
//! be read is an error of that path alone.

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};
use xattr::FileExt;

use crate::format::{EntryKind, LeafItem, TreeKey, TreeNode};
use crate::repo::Placed;
use crate::types::{NodeId, RepoPath};

use super::disk::Disk;

/// The attribute's name.
pub(super) const NAME: &str = "user.atfs";

/// Version of what is written.
const VERSION: u8 = 1;

/// What a file or directory of the upper is, and what of the view below it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: at most `0o7777`.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// What it shows of what lies below; `None` nothing.
    pub(super) origin: Option<Origin>,
    /// Whose `user.*` attributes hold.
    pub(super) xattrs: Holder,
}

/// Whose extended attributes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// Those on the file in the upper.
    Own,
    /// Those of the origin.
    Origin,
}

/// What of the view below shows through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A directory: merged with the one of the same path.
    Here,
    /// A directory: merged with the one at this path; a file: up to [`Visible`], the one at this path.
    At(RepoPath, Visible),
    /// A file: up to [`Visible`], an entry of a commit.
    Entry(Box<Placed>, Visible),
}

/// How much of an origin shows through, where nothing local does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Visible {
    /// Length in bytes; never more than the size of the file.
    pub(super) len: u64,
    /// The number of its log of local ranges ([`super::ranges`]), if there is one.
    pub(super) ranges: Option<u64>,
}

impl Origin {
    /// How much of a file's origin shows; nothing of a directory's.
    pub(super) fn visible(&self) -> Visible {
        match self {
            Self::Here => Visible::default(),
            Self::At(_, visible) | Self::Entry(_, visible) => *visible,
        }
    }

    /// The same of which this much shows.
    pub(super) fn showing(self, visible: Visible) -> Self {
        match self {
            Self::Here => Self::Here,
            Self::At(path, _) => Self::At(path, visible),
            Self::Entry(placed, _) => Self::Entry(placed, visible),
        }
    }
}

/// As it is written. Short names: on ext4 what is short needs no block of its own.
#[derive(Serialize, Deserialize)]
struct Written {
    v: u8,
    k: Kind,
    m: u16,
    u: u32,
    g: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    o: Option<WrittenOrigin>,
    /// The origin's attributes hold.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    x: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    File,
    Dir,
    Link,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenOrigin {
    Here,
    At {
        /// Escaped: paths are bytes.
        path: String,
        #[serde(default)]
        len: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ranges: Option<u64>,
    },
    Entry {
        /// The hash and the encoding of a leaf with this entry alone, as hexadecimal digits.
        id: String,
        leaf: String,
        len: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ranges: Option<u64>,
    },
}

impl Record {
    /// Something new, which stands for nothing.
    pub(super) fn new(kind: EntryKind, mode: u16, (uid, gid): (u32, u32)) -> Self {
        Self { kind, mode: mode & 0o7777, uid, gid, origin: None, xattrs: Holder::Own }
    }

    /// The record of a file or directory that is open.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for one that has none, or one that means nothing.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let text = file.get_xattr(NAME)?.ok_or_else(|| bad("it has no attribute user.atfs"))?;
        Self::decode(&text).ok_or_else(|| bad("its attribute user.atfs means nothing"))
    }

    /// Writes it onto an open file or directory, in place of the one before.
    pub(super) fn write(&self, disk: &Disk, file: &File) -> io::Result<()> {
        disk.set_xattr(file, NAME.as_ref(), &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let o = self.origin.as_ref().map(|origin| match origin {
            Origin::Here => WrittenOrigin::Here,
            Origin::At(path, visible) => WrittenOrigin::At {
                path: path.as_bytes().escape_ascii().to_string(),
                len: visible.len,
                ranges: visible.ranges,
            },
            Origin::Entry(placed, visible) => {
                let Placed { entry, hints } = (**placed).clone();
                let (id, leaf) = TreeNode::Leaf(vec![LeafItem { key: any_key(), entry, hints }]).encode();
                let (id, leaf) = (id.to_hex(), hex(&leaf));
                WrittenOrigin::Entry { id, leaf, len: visible.len, ranges: visible.ranges }
            }
        });
        let k = match self.kind {
            EntryKind::File => Kind::File,
            EntryKind::Directory => Kind::Dir,
            EntryKind::Symlink => Kind::Link,
        };
        let x = self.xattrs == Holder::Origin;
        let Self { mode: m, uid: u, gid: g, .. } = *self;
        serde_json::to_vec(&Written { v: VERSION, k, m, u, g, o, x }).unwrap_or_default()
    }

    fn decode(text: &[u8]) -> Option<Self> {
        let Written { v: VERSION, k, m, u, g, o, x } = serde_json::from_slice(text).ok()? else {
            return None;
        };
        let kind = match k {
            Kind::File => EntryKind::File,
            Kind::Dir => EntryKind::Directory,
            Kind::Link => EntryKind::Symlink,
        };
        let origin = match o {
            None => None,
            Some(WrittenOrigin::Here) => Some(Origin::Here),
            Some(WrittenOrigin::At { path, len, ranges }) => {
                Some(Origin::At(RepoPath::new(unescape(&path)?).ok()?, Visible { len, ranges }))
            }
            Some(WrittenOrigin::Entry { id, leaf, len, ranges }) => {
                let node = TreeNode::decode(id.parse::<NodeId>().ok()?, &unhex(&leaf)?).ok()?;
                let TreeNode::Leaf(items) = node else { return None };
                let item = items.into_iter().next()?;
                Some(Origin::Entry(Box::new(item.into()), Visible { len, ranges }))
            }
        };
        let xattrs = if x { Holder::Origin } else { Holder::Own };
        Some(Self { kind, mode: m & 0o7777, uid: u, gid: g, origin, xattrs })
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// An entry of an origin is kept without its key; a leaf needs one.
fn any_key() -> TreeKey {
    TreeKey::from_bytes(b"\0e".to_vec()).expect("a key of one short name")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<_> = text.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2).map(|d| (d[0] << 4 | d[1]) as u8).collect())
}

/// The bytes that [`slice::escape_ascii`] wrote so.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'\\' => match rest.next()? {
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => unhex(std::str::from_utf8(&[rest.next()?, rest.next()?]).ok()?)?[0],
                other => other,
            },
            byte => byte,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Content, Entry, EntryBody, EntryHints, Mtime, Xattrs};
    use crate::types::{ChunkId, Location, PackId};
    use proptest::prelude::*;

    fn entry() -> Placed {
        let body = EntryBody::File { size: 5000, content: Content::Chunk(ChunkId::of(b"x")) };
        let mtime = Mtime { seconds: -3, nanos: 7 };
        let entry = Entry { mode: 0o640, uid: 3, gid: 4, mtime, xattrs: Xattrs::None, body };
        let content = Some(Location { pack: PackId::from_bytes([9; 16]), offset: 77, len: 5001 });
        Placed { entry, hints: EntryHints { content, xattrs: None } }
    }

    fn origins() -> impl Strategy<Value = Option<Origin>> {
        let visible = (any::<u64>(), proptest::option::of(any::<u64>()))
            .prop_map(|(len, ranges)| Visible { len, ranges });
        let path = proptest::collection::vec(any::<u8>(), 0..40)
            .prop_filter_map("no path", |bytes| RepoPath::new(bytes).ok());
        prop_oneof![
            Just(None),
            Just(Some(Origin::Here)),
            (path, visible.clone()).prop_map(|(path, visible)| Some(Origin::At(path, visible))),
            visible.prop_map(|visible| Some(Origin::Entry(Box::new(entry()), visible))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            kind in prop_oneof![Just(EntryKind::File), Just(EntryKind::Directory), Just(EntryKind::Symlink)],
            (mode, owner) in (0u16..0o10000, any::<(u32, u32)>()),
            origin in origins(),
            own in any::<bool>(),
        ) {
            let xattrs = if own { Holder::Own } else { Holder::Origin };
            let record = Record { origin, xattrs, ..Record::new(kind, mode, owner) };
            prop_assert_eq!(Record::decode(&record.encode()), Some(record));
        }

        #[test]
        fn no_text_is_a_panic(text in "\\PC*", at in 0usize..200, byte in any::<u8>()) {
            let _ = Record::decode(text.as_bytes());
            let origin = Some(Origin::Entry(Box::new(entry()), Visible::default()));
            let mut damaged = Record { origin, ..Record::new(EntryKind::File, 0, (0, 0)) }.encode();
            let len = damaged.len();
            damaged[at % len] = byte;
            let _ = Record::decode(&damaged);
        }
    }

    #[test]
    fn a_new_file_needs_no_block_for_its_record() {
        let record = Record::new(EntryKind::File, 0o644, (1000, 1000));
        assert_eq!(
            String::from_utf8_lossy(&record.encode()),
            r#"{"v":1,"k":"file","m":420,"u":1000,"g":1000}"#
        );
    }
}
