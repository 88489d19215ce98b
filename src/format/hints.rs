//! Hints: where the blobs that a node names lie. They follow the hashed body and are not part of any identity.
//!
//! Encoding: a table of packs (count, 16 bytes each), then per named blob, in the order of the items: 0 for "not
//! known", or 1 + index into the table, then the offset as a zigzag difference to the end of the previous hint of the
//! same pack (blobs written one behind the other cost one byte), then the stored length.
//!
//! No hash covers hints, so damage in them cannot be told from age. Both are harmless: bytes fetched through a
//! hint are verified against the blob's own hash. Hints that do not parse to their exact end are dropped as a
//! whole, and the node is used without them.

use std::collections::HashMap;

use crate::types::{Location, PackId};

use super::cursor::{Cursor, Sink};
use super::{FormatError, MAX_STORED_BLOB_BYTES};

/// Appends the hints of a node's blobs.
pub(super) fn write(hints: &[Option<Location>], sink: &mut Vec<u8>) {
    let mut packs = Vec::new();
    let mut index = HashMap::new();
    for location in hints.iter().flatten() {
        index.entry(location.pack).or_insert_with(|| {
            packs.push(location.pack);
            packs.len() - 1
        });
    }
    sink.varint(packs.len() as u64);
    for pack in &packs {
        sink.bytes(pack.as_bytes());
    }
    let mut ends = vec![0u64; packs.len()];
    for hint in hints {
        let Some(location) = hint else {
            sink.varint(0);
            continue;
        };
        let at = index[&location.pack];
        sink.varint(at as u64 + 1);
        // Modulo 2^64, as the reader adds.
        sink.zigzag(location.offset.wrapping_sub(ends[at]).cast_signed());
        sink.varint(u64::from(location.len));
        ends[at] = location.offset.wrapping_add(u64::from(location.len));
    }
}

/// Reads the hints of `blobs` blobs; all `None` when they are damaged.
pub(super) fn read(bytes: &[u8], blobs: usize) -> Vec<Option<Location>> {
    parse(bytes, blobs).unwrap_or_else(|_| vec![None; blobs])
}

fn parse(bytes: &[u8], blobs: usize) -> Result<Vec<Option<Location>>, FormatError> {
    let mut cursor = Cursor::new("node hints", bytes);
    let count = cursor.varint_to(cursor.remaining() as u64 / PackId::LEN as u64, "number of packs")?;
    let mut packs = Vec::new();
    for _ in 0..count {
        packs.push((PackId::from_bytes(cursor.array()?), 0u64));
    }
    let mut hints = Vec::with_capacity(blobs);
    for _ in 0..blobs {
        let Some(at) = cursor.varint_to(count, "index of a pack")?.checked_sub(1) else {
            hints.push(None);
            continue;
        };
        let (pack, end) = usize::try_from(at)
            .ok()
            .and_then(|at| packs.get_mut(at))
            .ok_or_else(|| cursor.malformed("index"))?;
        let offset = end.wrapping_add(cursor.zigzag()?.cast_unsigned());
        let len = cursor.varint_u32("stored length")?;
        let location = Location { pack: *pack, offset, len };
        *end = check(&location)?;
        hints.push(Some(location));
    }
    cursor.finish()?;
    Ok(hints)
}

/// Checks a location's bounds and returns its end.
pub(super) fn check(location: &Location) -> Result<u64, FormatError> {
    let bad = || FormatError::malformed("location", format!("{} bytes at {}", location.len, location.offset));
    if location.len == 0 || location.len > MAX_STORED_BLOB_BYTES {
        return Err(bad());
    }
    location.end().ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pack: u8, offset: u64, len: u32) -> Option<Location> {
        Some(Location { pack: PackId::from_bytes([pack; 16]), offset, len })
    }

    #[test]
    fn blobs_in_a_row_cost_three_bytes_each() {
        let hints =
            [at(1, 25, 100), at(1, 125, 100), None, at(2, u64::MAX - 9, 9), at(1, 225, 7), at(1, 0, 1)];
        let mut bytes = Vec::new();
        write(&hints, &mut bytes);
        assert_eq!(read(&bytes, hints.len()), hints);
        assert_eq!(bytes[1 + 32..][..6], [1, 50, 100, 1, 0, 100]);
    }

    #[test]
    fn damaged_hints_are_no_hints() {
        let hints = [at(1, 25, 100), None, at(2, 5, 10)];
        let mut bytes = Vec::new();
        write(&hints, &mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut], 3), [None; 3]);
        }
        assert_eq!(read(&[bytes.as_slice(), &[0]].concat(), 3), [None; 3]);
        let mut wild = bytes.clone();
        wild[33] = 3; // a pack outside the table
        assert_eq!(read(&wild, 3), [None; 3]);
        assert_eq!(read(&[0xff; 40], 3), [None; 3]);
    }
}
