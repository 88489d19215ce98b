//! Lists of extended attributes, in an entry or as a blob of their own.
//!
//! Encoding: count, then per attribute name length, name, value length, value; names strictly ascending, so a set
//! of attributes has one encoding. Only `user.*` is stored: `security.capability` and its like give rights on the
//! machine where data is restored, and nothing in a repository may do that. `user.atfs.*` is what a mount answers
//! itself.

use crate::types::XattrsId;

use super::cursor::{Counter, Cursor, Sink};
use super::{FormatError, MAX_INLINE_XATTR_BYTES, MAX_NODE_BYTES};

/// Longest value: Linux's `XATTR_SIZE_MAX`.
const MAX_VALUE_BYTES: usize = 64 << 10;

/// Longest name: Linux's `XATTR_NAME_MAX`.
const MAX_NAME_BYTES: usize = 255;

/// Extended attributes in name order: names `user.*` of up to 255 bytes without NUL, values up to 64 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct XattrList(pub Vec<(Vec<u8>, Vec<u8>)>);

/// Where the extended attributes of an entry are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Xattrs {
    /// There are none.
    None,
    /// In the entry: not empty, its encoding at most [`MAX_INLINE_XATTR_BYTES`].
    Inline(XattrList),
    /// In a blob of their own: the encoding of an [`XattrList`], longer than that.
    Blob(XattrsId),
}

impl XattrList {
    /// Whether an attribute of this name is stored; others (`security.*`, `user.atfs.*`, ...) are left out at add.
    pub fn is_stored_name(name: &[u8]) -> bool {
        let own = name.strip_prefix(b"user.").is_some_and(|rest| !rest.is_empty());
        own && !name.starts_with(b"user.atfs.") && name.len() <= MAX_NAME_BYTES && !name.contains(&0)
    }

    /// Sorts attributes by name and checks them.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] for a name or value that cannot be stored, or a name given twice.
    pub fn from_pairs(mut pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Self, FormatError> {
        pairs.sort();
        let list = Self(pairs);
        list.check()?;
        Ok(list)
    }

    /// Checks every rule of a list (an empty one is fine here, though it is never encoded).
    ///
    /// # Errors
    /// [`FormatError::Malformed`] naming the attribute.
    pub fn check(&self) -> Result<(), FormatError> {
        let bad = |name: &[u8], rule: &str| {
            Err(FormatError::malformed("xattr list", format!("\"{}\" {rule}", name.escape_ascii())))
        };
        let mut previous: Option<&[u8]> = None;
        for (name, value) in &self.0 {
            if !Self::is_stored_name(name) {
                return bad(name, "is not a name in `user.` (without `user.atfs.`) of at most 255 bytes");
            }
            if previous.is_some_and(|p| p >= name.as_slice()) {
                return bad(name, "is not behind the name before it");
            }
            if value.len() > MAX_VALUE_BYTES {
                return bad(name, "has a value of more than 64 KiB");
            }
            previous = Some(name);
        }
        if self.encoded_len() > MAX_NODE_BYTES {
            return Err(FormatError::malformed("xattr list", "it is longer than 1 MiB"));
        }
        Ok(())
    }

    /// What belongs into the entry, and the blob to store when the list is too long to stand there.
    pub fn place(self) -> (Xattrs, Option<(XattrsId, Vec<u8>)>) {
        if self.0.is_empty() {
            return (Xattrs::None, None);
        }
        if self.encoded_len() <= MAX_INLINE_XATTR_BYTES {
            return (Xattrs::Inline(self), None);
        }
        let blob = self.encode();
        let id = XattrsId::of(&blob);
        (Xattrs::Blob(id), Some((id, blob)))
    }

    /// The encoding: the blob that [`Xattrs::Blob`] names.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }

    /// Decodes the blob stored for `id` and checks its hash and every rule.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(id: XattrsId, blob: &[u8]) -> Result<Self, FormatError> {
        let actual = XattrsId::of(blob);
        if actual != id {
            return Err(FormatError::wrong_hash("xattr list", id, actual));
        }
        if blob.len() > MAX_NODE_BYTES {
            return Err(FormatError::malformed("xattr list", "it is longer than 1 MiB"));
        }
        if blob.len() <= MAX_INLINE_XATTR_BYTES {
            return Err(FormatError::malformed("xattr list", "it is short enough to stand in its entry"));
        }
        let mut cursor = Cursor::new("xattr list", blob);
        let list = Self::read(&mut cursor)?;
        cursor.finish()?;
        Ok(list)
    }

    /// Length of the encoding.
    pub(super) fn encoded_len(&self) -> usize {
        let mut count = Counter::default();
        self.write(&mut count);
        count.0
    }

    pub(super) fn write(&self, sink: &mut impl Sink) {
        sink.varint(self.0.len() as u64);
        for (name, value) in &self.0 {
            sink.sized(name);
            sink.sized(value);
        }
    }

    /// Reads a list that is not empty.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        // Nothing is allocated for the count as such: a false one runs into the end of the input.
        let count = cursor.varint()?;
        if count == 0 {
            return Err(cursor.malformed("a list of attributes is empty"));
        }
        let mut pairs = Vec::new();
        for _ in 0..count {
            let name = cursor.sized(MAX_NAME_BYTES, "length of an attribute's name")?.to_vec();
            let value = cursor.sized(MAX_VALUE_BYTES, "length of an attribute's value")?.to_vec();
            pairs.push((name, value));
        }
        let list = Self(pairs);
        list.check()?;
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, len: usize) -> (Vec<u8>, Vec<u8>) {
        (name.into(), vec![7; len])
    }

    #[test]
    fn short_lists_stand_in_the_entry_and_long_ones_do_not() {
        assert_eq!(XattrList::default().place(), (Xattrs::None, None));
        // count 1 + name length 1 + name 6 + value length 2 + value
        let at_the_limit = XattrList(vec![pair("user.a", MAX_INLINE_XATTR_BYTES - 10)]);
        assert!(matches!(at_the_limit.place(), (Xattrs::Inline(_), None)));
        let beyond = XattrList(vec![pair("user.a", MAX_INLINE_XATTR_BYTES - 9)]);
        let (Xattrs::Blob(id), Some((same, blob))) = beyond.clone().place() else { panic!("a blob") };
        assert_eq!(id, same);
        assert_eq!(XattrList::decode(id, &blob), Ok(beyond));
        assert!(matches!(XattrList::decode(XattrsId::of(b"x"), &blob), Err(FormatError::WrongHash { .. })));
        let short = XattrList(vec![pair("user.a", 1)]).encode();
        assert!(XattrList::decode(XattrsId::of(&short), &short).is_err());
    }

    #[test]
    fn only_plain_user_attributes_are_stored() {
        for bad in ["", "user.", "security.capability", "trusted.x", "user.atfs.hash", "user.a\0", "x"] {
            assert!(XattrList::from_pairs(vec![pair(bad, 1)]).is_err(), "{bad:?}");
        }
        assert!(XattrList::from_pairs(vec![pair(&format!("user.{}", "x".repeat(250)), 65_536)]).is_ok());
        assert!(XattrList::from_pairs(vec![pair(&format!("user.{}", "x".repeat(251)), 1)]).is_err());
        assert!(XattrList::from_pairs(vec![pair("user.a", 65_537)]).is_err());
        assert!(XattrList::from_pairs(vec![pair("user.a", 1), pair("user.a", 2)]).is_err());
        let sorted = XattrList::from_pairs(vec![pair("user.b", 1), pair("user.atfs", 2)]).expect("fine");
        assert_eq!(sorted.0[0].0, b"user.atfs");
        assert!(XattrList(sorted.0.into_iter().rev().collect()).check().is_err());
    }
}
