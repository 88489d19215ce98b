//! The key of an entry in the tree's one sorted map.
//!
//! Key = every parent component followed by `\0`, then `\0`, then the name: `a/b/c` is `a\0b\0` `\0` `c`, and `x` at
//! the root is `\0x`. So the listing of a directory D is exactly the keys that begin with `D\0\0`, everything
//! below D those that begin with `D\0` (components joined by `\0`), and a directory's own entry always comes before
//! everything in it. Names hold no NUL, so the reading is unique.

use std::fmt;

use crate::types::{MAX_PATH_BYTES, Name, RepoPath};

use super::FormatError;

/// An entry's key. Ordered bytewise: the order of the map, of ranks and of inode numbers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeKey(Vec<u8>);

impl TreeKey {
    /// The key of a path; `None` for the root, which is no entry.
    pub fn of(path: &RepoPath) -> Option<Self> {
        let name = path.name()?;
        let mut key = Self::children_prefix(&path.parent()?);
        key.extend_from_slice(name.as_bytes());
        Some(Self(key))
    }

    /// What the keys of all direct children of `dir` begin with (and no other key does).
    pub fn children_prefix(dir: &RepoPath) -> Vec<u8> {
        let mut prefix = Self::subtree_prefix(dir);
        prefix.push(0);
        prefix
    }

    /// What the keys of everything below `dir` begin with (and no other key does); empty for the root.
    pub fn subtree_prefix(dir: &RepoPath) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(dir.as_bytes().len() + 2);
        for name in dir.components() {
            prefix.extend_from_slice(name.as_bytes());
            prefix.push(0);
        }
        prefix
    }

    /// Checks stored bytes.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] unless the bytes are the key of a valid path.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, FormatError> {
        let key = Self(bytes);
        // Decided without building the path: a full scan of a tree comes through here for every entry.
        let valid = key.split().is_some_and(|(dir, name)| {
            let parents_valid = match dir.split_last() {
                None => true,
                Some((_, parents)) => parents.split(|b| *b == 0).all(|c| Name::new(c).is_ok()),
            };
            // Every separator of the key but the first stands for one `/`.
            parents_valid && Name::new(name).is_ok() && key.0.len() - 1 <= MAX_PATH_BYTES
        });
        if valid {
            return Ok(key);
        }
        // The slow way finds the words for it.
        key.to_path()?;
        Err(FormatError::malformed("tree key", format!("{key:?}")))
    }

    /// Whether the path is `.atfs` at the root or below it: a name that mounts keep for themselves.
    pub fn is_reserved(&self) -> bool {
        self.0 == b"\0.atfs" || self.0.starts_with(b".atfs\0")
    }

    /// The path.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] for bytes that are no key (never for a key made by [`TreeKey::of`]).
    pub fn to_path(&self) -> Result<RepoPath, FormatError> {
        let bad = |rule: String| FormatError::malformed("tree key", rule);
        let (dir, name) = self.split().ok_or_else(|| bad(format!("\"{}\"", self.0.escape_ascii())))?;
        let mut text = Vec::with_capacity(self.0.len());
        for component in dir.split(|b| *b == 0).filter(|c| !c.is_empty()) {
            text.extend_from_slice(component);
            text.push(b'/');
        }
        text.extend_from_slice(name);
        let path = RepoPath::new(text).map_err(|e| bad(e.to_string()))?;
        // A slash or an empty component inside the key would read as another path.
        match Self::of(&path) {
            Some(key) if key == *self => Ok(path),
            _ => Err(bad(format!("\"{}\" is not the spelling of a path", self.0.escape_ascii()))),
        }
    }

    /// The name: the last component.
    pub fn name(&self) -> Name<'_> {
        let (_, name) = self.split().unwrap_or((b"", &self.0));
        Name::new(name).unwrap_or_else(|_| unreachable!("checked when the key was made"))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The parent's components, each with its closing NUL, and the name.
    fn split(&self) -> Option<(&[u8], &[u8])> {
        let last = self.0.iter().rposition(|b| *b == 0)?;
        let dir = &self.0[..last];
        (dir.is_empty() || dir.ends_with(b"\0")).then_some((dir, &self.0[last + 1..]))
    }
}

impl fmt::Debug for TreeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> TreeKey {
        TreeKey::of(&RepoPath::new(path).expect("valid")).expect("not the root")
    }

    #[test]
    fn listings_and_subtrees_are_ranges() {
        let mut paths = ["a", "a/b", "a/b/c", "a/b/d", "a/z", "a.txt", "ab", "ab/c", "b"];
        paths.sort_by_key(|p| key(p));
        assert_eq!(paths, ["a", "a.txt", "ab", "b", "a/b", "a/z", "a/b/c", "a/b/d", "ab/c"]);
        let dir = RepoPath::new("a").expect("valid");
        let under = |prefix: Vec<u8>| paths.iter().filter(|p| key(p).as_bytes().starts_with(&prefix)).count();
        assert_eq!(under(TreeKey::children_prefix(&dir)), 2);
        assert_eq!(under(TreeKey::subtree_prefix(&dir)), 4);
        assert_eq!(under(TreeKey::children_prefix(&RepoPath::ROOT)), 4);
    }

    #[test]
    fn only_spellings_of_paths_are_keys() {
        for path in ["a", "a/b", "a/b/c d"] {
            assert_eq!(key(path).to_path().expect("a key").as_bytes(), path.as_bytes());
            assert_eq!(TreeKey::from_bytes(key(path).as_bytes().to_vec()), Ok(key(path)));
        }
        for bad in
            ["", "a", "\0", "a\0b", "a\0\0", "\0\0a", "a\0\0\0b", "\0a/b", "\0..", "..\0\0a", "a/b\0\0c"]
        {
            assert!(TreeKey::from_bytes(bad.into()).is_err(), "{bad:?}");
        }
        let longest = key(&vec!["x".repeat(255); 16].join("/")).as_bytes().to_vec();
        assert_eq!(longest.len(), 4096);
        assert!(TreeKey::from_bytes(longest.clone()).is_ok());
        let too_long = [b"y\0", &longest[..]].concat();
        assert!(TreeKey::from_bytes(too_long).is_err());
    }

    /// The quick check and the path agree on every short string over the bytes that matter.
    #[test]
    fn the_quick_check_accepts_exactly_the_paths() {
        for len in 0..=6u32 {
            for number in 0..4usize.pow(len) {
                let bytes: Vec<u8> = (0..len).map(|i| b"\0./a"[number / 4usize.pow(i) % 4]).collect();
                let slow = TreeKey(bytes.clone()).to_path().is_ok();
                assert_eq!(TreeKey::from_bytes(bytes.clone()).is_ok(), slow, "{bytes:?}");
            }
        }
    }

    #[test]
    fn the_reserved_name_is_reserved_at_the_root_only() {
        for (path, reserved) in
            [(".atfs", true), (".atfs/x", true), (".atfs/x/y", true), (".atfsx", false), ("a/.atfs", false)]
        {
            assert_eq!(key(path).is_reserved(), reserved, "{path}");
        }
    }
}
