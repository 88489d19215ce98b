//! The items of tree nodes: keys that share their beginnings, entries, children, and the blobs that entries name.

use crate::types::{Location, NodeId};

use super::cursor::{Counter, Cursor, Sink};
use super::{
    ChildItem, Content, Counts, Entry, EntryBody, EntryHints, FormatError, LeafItem, MAX_ENTRIES,
    MAX_TREE_NODE_ITEM_BYTES, TreeKey, Xattrs,
};

/// Longest encoded key: the longest path has 4,095 bytes, its key one more.
const MAX_KEY_BYTES: usize = 4096;

/// Which blob of an entry.
#[derive(Clone, Copy)]
pub(super) enum NamedBlob {
    Content,
    Xattrs,
}

impl EntryHints {
    pub(super) fn of(&self, blob: NamedBlob) -> Option<Location> {
        match blob {
            NamedBlob::Content => self.content,
            NamedBlob::Xattrs => self.xattrs,
        }
    }

    pub(super) fn of_mut(&mut self, blob: NamedBlob) -> &mut Option<Location> {
        match blob {
            NamedBlob::Content => &mut self.content,
            NamedBlob::Xattrs => &mut self.xattrs,
        }
    }
}

impl Entry {
    /// The blobs that the entry names, in the order of their hints.
    pub(super) fn named_blobs(&self, each: &mut impl FnMut(NamedBlob)) {
        if let EntryBody::File { content: Content::Chunk(_) | Content::Manifest(_), .. } = self.body {
            each(NamedBlob::Content);
        }
        if let Xattrs::Blob(_) = self.xattrs {
            each(NamedBlob::Xattrs);
        }
    }
}

impl LeafItem {
    /// Checks every rule that one item can break; [`super::TreeNode::encode`] relies on it.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] with the rule.
    pub fn check(&self) -> Result<(), FormatError> {
        if self.key.is_reserved() {
            return Err(FormatError::malformed("tree entry", "`.atfs` at the root is kept for mounts"));
        }
        self.entry.check()
    }

    /// What this entry adds to its node's counts.
    pub fn counts(&self) -> Counts {
        match self.entry.body {
            EntryBody::File { size, .. } => Counts { entries: 1, files: 1, bytes: size },
            EntryBody::Directory | EntryBody::Symlink { .. } => Counts { entries: 1, files: 0, bytes: 0 },
        }
    }

    /// Length of the item's hashed encoding with its key written in full: what the cut rule counts. Below 11 KiB.
    pub fn cut_size(&self) -> usize {
        let mut count = Counter::default();
        self.write(b"", &mut count);
        count.0
    }

    pub(super) fn write(&self, previous: &[u8], sink: &mut impl Sink) {
        write_key(previous, self.key.as_bytes(), sink);
        self.entry.write(sink);
    }

    pub(super) fn read(keys: &mut KeyReader, cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        let key = keys.read(cursor)?;
        let before = cursor.remaining();
        let entry = Entry::read(cursor)?;
        keys.count(before - cursor.remaining(), cursor)?;
        let item = Self { key, entry, hints: EntryHints::default() };
        item.check()?;
        Ok(item)
    }
}

impl ChildItem {
    /// Length of the item's hashed encoding with its key written in full: what the cut rule counts. Below 4.2 KiB.
    pub fn cut_size(&self) -> usize {
        let mut count = Counter::default();
        self.write(b"", &mut count);
        count.0
    }

    pub(super) fn write(&self, previous: &[u8], sink: &mut impl Sink) {
        write_key(previous, self.last_key.as_bytes(), sink);
        sink.bytes(self.id.as_bytes());
        for number in [self.counts.entries, self.counts.files, self.counts.bytes] {
            sink.varint(number);
        }
    }

    pub(super) fn read(keys: &mut KeyReader, cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        let last_key = keys.read(cursor)?;
        let before = cursor.remaining();
        let id = NodeId::from_bytes(cursor.array()?);
        let counts = Counts {
            entries: cursor.varint_to(MAX_ENTRIES, "number of entries")?,
            files: cursor.varint()?,
            bytes: cursor.varint()?,
        };
        keys.count(before - cursor.remaining(), cursor)?;
        let sane =
            counts.entries >= 1 && counts.files <= counts.entries && (counts.files > 0 || counts.bytes == 0);
        if !sane {
            return Err(cursor.malformed(format!("{counts:?} cannot be of a child")));
        }
        Ok(Self { last_key, id, counts, hint: None })
    }
}

fn write_key(previous: &[u8], key: &[u8], sink: &mut impl Sink) {
    let shared = previous.iter().zip(key).take_while(|(a, b)| a == b).count();
    sink.varint(shared as u64);
    sink.sized(&key[shared..]);
}

/// Restores prefix-compressed keys, which must ascend, and counts the full length of the items so far.
#[derive(Default)]
pub(super) struct KeyReader {
    previous: Vec<u8>,
    full_len: usize,
}

impl KeyReader {
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<TreeKey, FormatError> {
        let shared = cursor.varint_to(self.previous.len() as u64, "shared length of a key")?;
        let shared = usize::try_from(shared).map_err(|_| cursor.malformed("shared length"))?;
        let suffix = cursor.sized(MAX_KEY_BYTES, "length of a key")?;
        // The first byte that is not shared must be greater than the one it replaces: equal, and the prefix would
        // not be the longest; less (or none), and the keys would not ascend.
        let ascends = match (suffix.first(), self.previous.get(shared)) {
            (Some(new), Some(old)) => new > old,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if !ascends {
            return Err(cursor.malformed("keys do not ascend, or share more than is said"));
        }
        let mut full = Counter::default();
        self.previous.truncate(shared);
        self.previous.extend_from_slice(suffix);
        write_key(b"", &self.previous, &mut full);
        self.count(full.0, cursor)?;
        TreeKey::from_bytes(self.previous.clone())
    }

    fn count(&mut self, len: usize, cursor: &Cursor<'_>) -> Result<(), FormatError> {
        self.full_len += len;
        if self.full_len > MAX_TREE_NODE_ITEM_BYTES {
            return Err(cursor.malformed("its items are longer than 128 KiB"));
        }
        Ok(())
    }
}
