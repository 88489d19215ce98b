//! A pack's index and trailer: which blobs the pack holds, and where its index begins.
//!
//! Blobs lie one behind the other without gaps, so an index that parses accounts for every byte of its pack. The index
//! ends with its own hash and so is checked alone, as the object under `index/`; an entry is no proof that
//! a blob exists, only a place to look.

use crate::types::PackId;

use super::cursor::{Cursor, Sink};
use super::{BlobKind, FormatError, MAX_STORED_BLOB_BYTES};

const WHAT: &str = "pack index";

/// First bytes of a pack; the last one is the version.
pub(super) const PACK_MAGIC: [u8; 8] = *b"ATFSPAK\x01";
const INDEX_MAGIC: [u8; 8] = *b"ATFSIDX\x01";
const END_MAGIC: [u8; 8] = *b"ATFSEND\x01";

/// Bytes before the first blob: magic, pack id, kind.
pub(super) const PACK_HEADER_BYTES: u64 = 8 + 16 + 1;

/// Which folder a pack lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackKind {
    /// `data/`: chunks.
    Data,
    /// `meta/`: tree nodes, manifest nodes, xattr lists.
    Meta,
}

/// One blob in a pack's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackEntry {
    /// What it is.
    pub kind: BlobKind,
    /// Its id's bytes.
    pub hash: [u8; 32],
    /// Offset of its first stored byte.
    pub offset: u64,
    /// Stored length.
    pub stored_len: u32,
    /// Raw length.
    pub raw_len: u32,
}

/// The index of a pack: stands at its end, and as an object of its own under `index/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackIndex {
    /// The pack.
    pub pack: PackId,
    /// Which folder it lives in.
    pub kind: PackKind,
    /// Its blobs in offset order, without gaps.
    pub entries: Vec<PackEntry>,
}

/// The last [`PackIndex::TRAILER_BYTES`] bytes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackTrailer {
    /// Where the index begins, and the last blob ends.
    pub index_offset: u64,
    /// Length of the index.
    pub index_len: u64,
    /// Length of the whole pack.
    pub pack_len: u64,
    /// BLAKE3 of the index.
    pub index_hash: [u8; 32],
}

impl PackKind {
    pub(super) fn tag(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Meta => 1,
        }
    }

    fn of_tag(tag: u8) -> Option<Self> {
        [Self::Data, Self::Meta].into_iter().find(|kind| kind.tag() == tag)
    }

    /// The folder in which blobs of this kind are kept.
    pub fn of_blob(kind: BlobKind) -> Self {
        match kind {
            BlobKind::Chunk => Self::Data,
            BlobKind::TreeNode | BlobKind::ManifestNode | BlobKind::Xattrs => Self::Meta,
        }
    }
}

impl BlobKind {
    fn tag(self) -> u8 {
        match self {
            Self::Chunk => 0,
            Self::TreeNode => 1,
            Self::ManifestNode => 2,
            Self::Xattrs => 3,
        }
    }

    fn of_tag(tag: u8) -> Option<Self> {
        [Self::Chunk, Self::TreeNode, Self::ManifestNode, Self::Xattrs]
            .into_iter()
            .find(|kind| kind.tag() == tag)
    }
}

impl PackIndex {
    /// Bytes at a pack's end that say where its index is.
    pub const TRAILER_BYTES: usize = 64;

    /// Decodes the object under `index/`.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (body, said) = bytes.split_last_chunk::<32>().ok_or(FormatError::Truncated { what: WHAT })?;
        let actual = blake3::hash(body);
        let said = blake3::Hash::from_bytes(*said);
        if actual != said {
            return Err(FormatError::wrong_hash(WHAT, said, actual));
        }
        let mut cursor = Cursor::new(WHAT, body);
        check_magic(&mut cursor, WHAT, INDEX_MAGIC)?;
        let pack = PackId::from_bytes(cursor.array()?);
        let tag = cursor.u8()?;
        let kind = PackKind::of_tag(tag).ok_or_else(|| cursor.malformed(format!("pack kind {tag}")))?;
        let count = cursor.u32()?;
        let mut index = Self { pack, kind, entries: Vec::new() };
        for _ in 0..count {
            let entry = index.read_entry(&mut cursor)?;
            index.entries.push(entry);
        }
        cursor.finish()?;
        Ok(index)
    }

    /// Decodes the index of a whole pack, from its trailer. The blobs are not looked at.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn of_pack(pack: &[u8]) -> Result<Self, FormatError> {
        let trailer = pack.last_chunk().ok_or(FormatError::Truncated { what: "pack" })?;
        let trailer = PackTrailer::decode(trailer)?;
        let bad = |rule: &str| Err(FormatError::malformed("pack", rule));
        if trailer.pack_len != pack.len() as u64 {
            return bad("its length is not the one that its trailer says");
        }
        let start = usize::try_from(trailer.index_offset).ok();
        let bytes = start.and_then(|start| pack.get(start..pack.len() - Self::TRAILER_BYTES));
        let Some(bytes) = bytes else { return bad("its index lies outside") };
        let index = trailer.decode_index(bytes)?;
        let mut header = Cursor::new("pack", pack);
        check_magic(&mut header, "pack", PACK_MAGIC)?;
        if header.array()? != *index.pack.as_bytes() || header.u8()? != index.kind.tag() {
            return bad("its header and its index name different packs");
        }
        Ok(index)
    }

    /// Encodes the index as it stands in both places.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(61 + 49 * self.entries.len());
        bytes.bytes(&INDEX_MAGIC);
        bytes.bytes(self.pack.as_bytes());
        bytes.byte(self.kind.tag());
        bytes.bytes(&u32::try_from(self.entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        for entry in &self.entries {
            bytes.byte(entry.kind.tag());
            bytes.bytes(&entry.hash);
            bytes.bytes(&entry.offset.to_le_bytes());
            bytes.bytes(&entry.stored_len.to_le_bytes());
            bytes.bytes(&entry.raw_len.to_le_bytes());
        }
        let hash = blake3::hash(&bytes);
        bytes.bytes(hash.as_bytes());
        bytes
    }

    /// Where the last blob ends and the index begins.
    pub(super) fn blobs_end(&self) -> u64 {
        self.entries.last().map_or(PACK_HEADER_BYTES, |e| e.offset.saturating_add(u64::from(e.stored_len)))
    }

    fn read_entry(&self, cursor: &mut Cursor<'_>) -> Result<PackEntry, FormatError> {
        let tag = cursor.u8()?;
        let kind = BlobKind::of_tag(tag).filter(|kind| PackKind::of_blob(*kind) == self.kind);
        let kind =
            kind.ok_or_else(|| cursor.malformed(format!("blob kind {tag} in a {:?} pack", self.kind)))?;
        let entry = PackEntry {
            kind,
            hash: cursor.array()?,
            offset: cursor.u64()?,
            stored_len: cursor.u32()?,
            raw_len: cursor.u32()?,
        };
        if entry.offset != self.blobs_end() {
            return Err(cursor.malformed(format!("a gap or an overlap at offset {}", entry.offset)));
        }
        let fits = (1..=MAX_STORED_BLOB_BYTES).contains(&entry.stored_len)
            && entry.raw_len as usize <= kind.max_raw_bytes();
        if !fits {
            return Err(cursor.malformed(format!("a blob of {} ({}) bytes", entry.stored_len, entry.raw_len)));
        }
        Ok(entry)
    }
}

impl PackTrailer {
    /// The trailer of a pack whose blobs are followed by `index`.
    pub(super) fn of(index_offset: u64, index: &[u8]) -> Self {
        let index_len = index.len() as u64;
        Self {
            index_offset,
            index_len,
            pack_len: index_offset + index_len + PackIndex::TRAILER_BYTES as u64,
            index_hash: *blake3::hash(index).as_bytes(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PackIndex::TRAILER_BYTES);
        for number in [self.index_offset, self.index_len, self.pack_len] {
            bytes.bytes(&number.to_le_bytes());
        }
        bytes.bytes(&self.index_hash);
        bytes.bytes(&END_MAGIC);
        bytes
    }

    /// Decodes the last bytes of a pack.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(bytes: &[u8; PackIndex::TRAILER_BYTES]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new("pack trailer", bytes);
        let trailer = Self {
            index_offset: cursor.u64()?,
            index_len: cursor.u64()?,
            pack_len: cursor.u64()?,
            index_hash: cursor.array()?,
        };
        check_magic(&mut cursor, "pack trailer", END_MAGIC)?;
        let end = trailer.index_offset.checked_add(trailer.index_len);
        if end.and_then(|end| end.checked_add(PackIndex::TRAILER_BYTES as u64)) != Some(trailer.pack_len) {
            return Err(cursor.malformed("index and trailer do not end where the pack does"));
        }
        Ok(trailer)
    }

    /// Decodes the index that this trailer describes, from exactly its bytes.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode_index(&self, bytes: &[u8]) -> Result<PackIndex, FormatError> {
        let actual = blake3::hash(bytes);
        let said = blake3::Hash::from_bytes(self.index_hash);
        if actual != said {
            return Err(FormatError::wrong_hash(WHAT, said, actual));
        }
        let index = PackIndex::decode(bytes)?;
        if index.blobs_end() != self.index_offset {
            return Err(FormatError::malformed(WHAT, "its blobs do not end where it begins"));
        }
        Ok(index)
    }
}

fn check_magic(cursor: &mut Cursor<'_>, what: &'static str, magic: [u8; 8]) -> Result<(), FormatError> {
    let found: [u8; 8] = cursor.array()?;
    if found[..7] != magic[..7] || found[7] == 0 {
        return Err(cursor.malformed(format!("begins with \"{}\"", found.escape_ascii())));
    }
    if found[7] != magic[7] {
        return Err(FormatError::Newer { what, found: found[7].into(), supported: magic[7].into() });
    }
    Ok(())
}
