//! What names a cached content, and how that name is spelt as a file name.

use std::fmt;

/// Content by identity: two files with equal keys and sizes have equal bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentKey {
    identity: [u8; 32],
    scope: [u8; 16],
}

impl ContentKey {
    /// Content that every mount of this machine may share: `identity` is a collision-free hash of it, or of what it
    /// is made of.
    pub const fn shared(identity: [u8; 32]) -> Self {
        Self { identity, scope: [0; 16] }
    }

    /// Content that only readers of `scope` (a repository) may find: where several users share a daemon, knowing a hash
    /// must not open what one may not read. `scope` is not all zero.
    pub const fn scoped(identity: [u8; 32], scope: [u8; 16]) -> Self {
        Self { identity, scope }
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.identity[..6])
    }
}

/// A content and its size in bytes: what an entry of the cache is. The size is part of the name, so a scan knows it
/// without asking the file system, and content claimed with another size is another entry.
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

    /// The entry that a file name spells; `None` for any other name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (content, size) = name.split_once('-')?;
        let (identity, scope) = match content.split_once('.') {
            Some((identity, scope)) => (identity, from_hex(scope)?),
            None => (content, [0; 16]),
        };
        let content = ContentKey { identity: from_hex(identity)?, scope };
        let key = Self { content, size: u64::from_str_radix(size, 16).ok()? };
        // One spelling only: no leading zeros, signs or capitals.
        (key.to_string() == name).then_some(key)
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

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

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
