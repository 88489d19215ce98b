//! What names a cached content, and how that name is spelt as a file name.

use std::fmt;

use crate::types::PackId;

/// Content by identity: two files with equal keys and sizes have equal bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentKey {
    identity: [u8; 32],
    scope: [u8; 16],
}

impl ContentKey {
    /// Content that every mount of this machine may share: `identity` is a collision-free hash of it, or of
    /// what it is made of.
    pub const fn shared(identity: [u8; 32]) -> Self {
        Self { identity, scope: [0; 16] }
    }

    /// Content that only readers of `scope` (a repository) may find: where several users share a daemon,
    /// knowing a hash must not open what one may not read. `scope` is not all zero.
    pub const fn scoped(identity: [u8; 32], scope: [u8; 16]) -> Self {
        Self { identity, scope }
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.identity[..6])
    }
}

/// A content and its size in bytes: what an entry of the cache is. The size is part of the name, so a scan
/// knows it without asking the file system, and content claimed with another size is another entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct EntryKey {
    pub(super) content: ContentKey,
    pub(super) size: u64,
}

impl EntryKey {
    /// The directory that holds the entry's file: two hexadecimal digits.
    pub(super) fn shard(&self) -> String {
        format!("{:02x}", self.content.identity[0])
    }

    /// The entry that a file name spells; `None` for any other name. A key has one spelling: lower case, no
    /// leading zeros.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (content, size) = name.split_once('-')?;
        let (identity, scope) = match content.split_once('.') {
            Some((identity, scope)) => (identity, from_hex(scope).filter(|scope| *scope != [0; 16])?),
            None => (content, [0; 16]),
        };
        let plain =
            size == "0" || size.bytes().next().is_some_and(|first| digit(first).is_some_and(|d| d > 0));
        if !plain || !size.bytes().all(|c| digit(c).is_some()) {
            return None;
        }
        let content = ContentKey { identity: from_hex(identity)?, scope };
        Some(Self { content, size: u64::from_str_radix(size, 16).ok()? })
    }
}

/// A slab: which stretch of which pack (see [`super::slab`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct SlabKey {
    pub(super) pack: PackId,
    /// Its number in the pack, from 0.
    pub(super) stretch: u32,
}

impl SlabKey {
    /// The directory that holds the slab's file: two hexadecimal digits.
    pub(super) fn shard(&self) -> String {
        format!("{:02x}", self.pack.as_bytes()[0])
    }

    /// The slab that a file name spells; `None` for any other name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (pack, stretch) = name.split_once('-')?;
        let key = Self { pack: PackId::from_bytes(from_hex(pack)?), stretch: stretch.parse().ok()? };
        // One spelling: no leading zeros, no plus.
        (key.to_string() == name).then_some(key)
    }
}

/// `<pack>-<stretch>`, the pack in hexadecimal.
impl fmt::Display for SlabKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, self.pack.as_bytes())?;
        write!(f, "-{}", self.stretch)
    }
}

/// What the cache keeps accounts of: a content with a file of its own, or a slab.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Item {
    Content(EntryKey),
    Slab(SlabKey),
}

impl Item {
    /// The content, if it is one.
    pub(super) fn content(&self) -> Option<EntryKey> {
        match self {
            Self::Content(key) => Some(*key),
            Self::Slab(_) => None,
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(key) => key.fmt(f),
            Self::Slab(key) => key.fmt(f),
        }
    }
}

/// `<identity>[.<scope>]-<size>`, all hexadecimal.
impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.content.identity)?;
        if self.content.scope != [0; 16] {
            f.write_str(".")?;
            hex(f, &self.content.scope)?;
        }
        write!(f, "-{:x}", self.size)
    }
}

/// At most 32 bytes.
fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    f.write_str(std::str::from_utf8(&text[..2 * bytes.len()]).map_err(|_| fmt::Error)?)
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_has_one_spelling() {
        let key = SlabKey { pack: PackId::from_bytes([0xA5; 16]), stretch: 12 };
        let name = key.to_string();
        assert_eq!(SlabKey::parse(&name), Some(key));
        for bad in [&name.replace("-", "-0"), &name.replace("-", "-+"), &name.to_uppercase(), &name[1..], ""]
        {
            assert_eq!(SlabKey::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_is_read_as_it_was_written_and_in_no_other_spelling() {
        for content in [ContentKey::shared([0xA5; 32]), ContentKey::scoped([1; 32], [2; 16])] {
            for size in [0, 1, 0xABC, u64::MAX] {
                let key = EntryKey { content, size };
                assert_eq!(EntryKey::parse(&key.to_string()), Some(key));
                assert_eq!(EntryKey::parse(&key.to_string().replace("-", "-0")), None);
            }
        }
        let name = EntryKey { content: ContentKey::shared([0xA5; 32]), size: 10 }.to_string();
        for bad in [&name.to_uppercase(), &name[1..], "", "lost+found", &name.replace("-", "-+"), "é-1"] {
            assert_eq!(EntryKey::parse(bad), None, "{bad}");
        }
    }
}
