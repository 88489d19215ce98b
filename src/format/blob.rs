//! Blobs as they are stored: one frame byte (encoding), then the payload.
//!
//! Encoding 0: the raw bytes. Encoding 1: the raw length as a varint, then one zstd frame. Compression is no part of any
//! identity: ids are hashes of raw bytes, so another level, or another version of zstd, changes no id. The raw
//! length stands in front so that a reader knows how much memory a blob asks for before it decompresses anything.

use std::cell::RefCell;
use std::io;

use bytes::Bytes;

use super::cursor::{Cursor, Sink};
use super::{FormatError, MAX_CHUNK_BYTES, MAX_NODE_BYTES};

const WHAT: &str = "stored blob";

const RAW: u8 = 0;
const ZSTD: u8 = 1;

/// zstd's own default: on tree nodes and CSV higher levels gain a few per cent and cost several times the work.
const LEVEL: i32 = 3;

/// The probe: this much of a chunk, compressed at the fastest level, tells whether the rest is worth the work.
const PROBE_BYTES: usize = 64 << 10;
const PROBE_PIECES: usize = 4;
const PROBE_LEVEL: i32 = 1;

/// What a blob is; part of the pack's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobKind {
    /// A chunk of file content.
    Chunk,
    /// A tree node.
    TreeNode,
    /// A manifest node.
    ManifestNode,
    /// A list of extended attributes.
    Xattrs,
}

/// Whether a blob is compressed when it is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As it is.
    Never,
    /// zstd if it makes the blob at least a tenth smaller (chunks are probed first), else as it is.
    IfItPays,
}

/// A blob ready to be put into a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlob {
    /// What it is.
    pub kind: BlobKind,
    /// Its id's bytes.
    pub hash: [u8; 32],
    /// Raw length in bytes.
    pub raw_len: u32,
    /// Frame byte and payload.
    pub stored: Bytes,
}

impl BlobKind {
    /// The longest raw blob of this kind.
    pub fn max_raw_bytes(self) -> usize {
        match self {
            Self::Chunk => MAX_CHUNK_BYTES as usize,
            Self::TreeNode | Self::ManifestNode | Self::Xattrs => MAX_NODE_BYTES,
        }
    }
}

impl StoredBlob {
    /// Frames (and perhaps compresses) raw bytes, at most [`BlobKind::max_raw_bytes`].
    pub fn pack(kind: BlobKind, hash: [u8; 32], raw: &[u8], compression: Compression) -> Self {
        let compressed = match compression {
            Compression::Never => None,
            Compression::IfItPays => compress_if_it_pays(raw),
        };
        let stored = compressed.unwrap_or_else(|| [&[RAW], raw].concat());
        let raw_len = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        Self { kind, hash, raw_len, stored: stored.into() }
    }

    /// The raw bytes of stored ones. Not yet verified: the caller checks the hash (by `TreeNode::decode` and so on).
    ///
    /// # Errors
    /// [`FormatError`] when the frame is unknown, the payload does not decompress or exceeds `max_raw` bytes.
    pub fn unpack(stored: &[u8], max_raw: usize) -> Result<Bytes, FormatError> {
        Self::unpack_with(stored, max_raw, Bytes::copy_from_slice)
    }

    /// As [`StoredBlob::unpack`], without a copy where the blob was stored as it is: the raw bytes then keep all of `stored`
    /// alive.
    ///
    /// # Errors
    /// As [`StoredBlob::unpack`].
    pub fn unpack_shared(stored: &Bytes, max_raw: usize) -> Result<Bytes, FormatError> {
        Self::unpack_with(stored, max_raw, |raw| stored.slice_ref(raw))
    }

    fn unpack_with(
        stored: &[u8],
        max_raw: usize,
        as_it_is: impl FnOnce(&[u8]) -> Bytes,
    ) -> Result<Bytes, FormatError> {
        let mut cursor = Cursor::new(WHAT, stored);
        match cursor.u8()? {
            RAW if cursor.remaining() > max_raw => {
                Err(cursor.malformed(format!("{} raw bytes, at most {max_raw} expected", cursor.remaining())))
            }
            RAW => Ok(as_it_is(cursor.take(cursor.remaining())?)),
            ZSTD => {
                let len = cursor.varint_to(max_raw as u64, "raw length")?;
                let len = usize::try_from(len).map_err(|_| cursor.malformed("raw length"))?;
                let payload = cursor.take(cursor.remaining())?;
                let mut raw = vec![0; len];
                let written = zstd::bulk::decompress_to_buffer(payload, &mut raw)
                    .map_err(|error| cursor.malformed(format!("it does not decompress: {error}")))?;
                if written != len {
                    return Err(cursor.malformed(format!("{written} raw bytes where {len} were announced")));
                }
                Ok(raw.into())
            }
            encoding => Err(cursor.malformed(format!("encoding {encoding} is not known"))),
        }
    }
}

/// Frame byte, raw length and zstd frame, or `None` when it does not pay (or zstd fails).
fn compress_if_it_pays(raw: &[u8]) -> Option<Vec<u8>> {
    let pays = |stored: usize, raw: usize| stored < raw - raw / 10;
    if raw.len() > PROBE_BYTES {
        let probe = sample(raw);
        if !pays(compress(&probe, PROBE_LEVEL).ok()?.len(), probe.len()) {
            return None;
        }
    }
    let compressed = compress(raw, LEVEL).ok()?;
    let mut stored = Vec::with_capacity(compressed.len() + 8);
    stored.byte(ZSTD);
    stored.varint(raw.len() as u64);
    stored.bytes(&compressed);
    pays(stored.len(), raw.len()).then_some(stored)
}

/// Pieces from beginning to end: a header of another kind than the rest does not decide alone.
fn sample(raw: &[u8]) -> Vec<u8> {
    let piece = PROBE_BYTES / PROBE_PIECES;
    let stride = (raw.len() - piece) / (PROBE_PIECES - 1);
    (0..PROBE_PIECES).flat_map(|i| &raw[i * stride..][..piece]).copied().collect()
}

/// A compression context has megabytes; one per thread and level is kept.
fn compress(raw: &[u8], level: i32) -> io::Result<Vec<u8>> {
    thread_local! {
        static COMPRESSORS: RefCell<Vec<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(Vec::new()) };
    }
    COMPRESSORS.with_borrow_mut(|compressors| {
        if let Some((_, compressor)) = compressors.iter_mut().find(|(l, _)| *l == level) {
            return compressor.compress(raw);
        }
        let mut compressor = zstd::bulk::Compressor::new(level)?;
        let compressed = compressor.compress(raw);
        compressors.push((level, compressor));
        compressed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(raw: &[u8]) -> Bytes {
        StoredBlob::pack(BlobKind::Chunk, [0; 32], raw, Compression::IfItPays).stored
    }

    /// Bytes that do not compress.
    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn frames_give_back_what_went_in() {
        let text = b"2026-11-23,17.5,ok\n".repeat(60_000);
        let mixed = [noise(1 << 20), text.clone()].concat();
        for raw in [&b""[..], b"x", &text, &noise(100), &noise(1 << 20), &mixed] {
            let stored = pack(raw);
            assert_eq!(StoredBlob::unpack(&stored, raw.len()).expect("unpacks"), raw);
            assert!(stored.len() <= raw.len() + 1);
            if let Some(less) = raw.len().checked_sub(1) {
                assert!(StoredBlob::unpack(&stored, less).is_err(), "more than was allowed");
            }
            let never = StoredBlob::pack(BlobKind::Chunk, [0; 32], raw, Compression::Never).stored;
            assert_eq!(never[1..], *raw);
        }
        assert_eq!(pack(&text)[0], ZSTD);
        assert!(pack(&text).len() < text.len() / 20);
        assert_eq!(pack(&noise(1 << 20))[0], RAW);
    }

    #[test]
    fn hostile_frames_are_refused_without_memory() {
        let bomb = pack(&vec![0; 4 << 20]);
        assert!(bomb.len() < 2000);
        assert!(StoredBlob::unpack(&bomb, 1 << 20).is_err());
        // A frame that announces less than it holds, or more.
        let (head, payload) = bomb.split_at(5);
        assert_eq!(head[0], ZSTD);
        for announced in [4 << 20, (4 << 20) - 1, (4 << 20) + 1, 0, 1u64 << 62] {
            let mut frame = vec![ZSTD];
            frame.varint(announced);
            frame.bytes(payload);
            assert_eq!(StoredBlob::unpack(&frame, 8 << 20).is_ok(), announced == 4 << 20);
        }
        for bad in [&b""[..], &[2, 0], &[ZSTD], &[ZSTD, 5], &[ZSTD, 5, 1, 2, 3]] {
            assert!(StoredBlob::unpack(bad, 100).is_err(), "{bad:?}");
        }
    }
}
