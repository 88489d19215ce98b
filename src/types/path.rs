//! Paths inside a repository: bytes, not text; valid by construction.
//!
//! A [`Name`] is one component: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`. A [`RepoPath`] is zero or more
//! names; its text form joins them with `/`, has no leading or trailing `/`, and is at most 4,095 bytes. Turning
//! one into a path of the operating system is the caller's explicit act ([`RepoPath::to_os`]).

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longest name of one component, in bytes (the limit of Linux, `NAME_MAX`).
pub const MAX_NAME_BYTES: usize = 255;

/// Longest full path inside a repository, in bytes (Linux's `PATH_MAX` less the closing NUL).
pub const MAX_PATH_BYTES: usize = 4095;

/// Why bytes are not a name or a path inside a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// A component is empty (`a//b`, a leading or a trailing slash).
    #[error("path {path} has an empty component")]
    EmptyName {
        /// The whole text, escaped.
        path: String,
    },
    /// A component is `.` or `..`.
    #[error("path {path} has a component `.` or `..`")]
    DotName {
        /// The whole text, escaped.
        path: String,
    },
    /// A component holds NUL or `/`.
    #[error("name {name} holds a NUL byte or a slash")]
    ForbiddenByte {
        /// The name, escaped.
        name: String,
    },
    /// A component is longer than 255 bytes.
    #[error("name {name} has {bytes} bytes; at most {MAX_NAME_BYTES} are possible")]
    NameTooLong {
        /// The name, escaped.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// The path is longer than 4,095 bytes.
    #[error("path of {bytes} bytes beginning with {start}: at most {MAX_PATH_BYTES} are possible")]
    PathTooLong {
        /// How it begins, escaped.
        start: String,
        /// Its length.
        bytes: usize,
    },
}

impl PathError {
    /// Whether the cause is a length limit (`ENAMETOOLONG` at the mount).
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::NameTooLong { .. } | Self::PathTooLong { .. })
    }
}

fn escaped(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(120)];
    format!("\"{}\"{}", shown.escape_ascii(), if shown.len() < bytes.len() { "…" } else { "" })
}

/// One component of a path: 1 to 255 bytes, without `/` and NUL, not `.` or `..`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks one component.
    ///
    /// # Errors
    /// [`PathError`] when the bytes are empty, too long, `.`, `..`, or hold NUL or `/`.
    pub fn new(bytes: &'a [u8]) -> Result<Self, PathError> {
        match bytes {
            b"" => Err(PathError::EmptyName { path: escaped(bytes) }),
            b"." | b".." => Err(PathError::DotName { path: escaped(bytes) }),
            _ if bytes.len() > MAX_NAME_BYTES => {
                Err(PathError::NameTooLong { name: escaped(bytes), bytes: bytes.len() })
            }
            _ if bytes.iter().any(|b| matches!(b, 0 | b'/')) => {
                Err(PathError::ForbiddenByte { name: escaped(bytes) })
            }
            _ => Ok(Self(bytes)),
        }
    }

    /// The bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The name as the operating system sees it.
    pub fn as_os(self) -> &'a OsStr {
        OsStr::from_bytes(self.0)
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(self.0))
    }
}

/// A path inside a repository; the empty path is the root. Ordered bytewise by its text form (listings are
/// ordered by [`crate::format::TreeKey`], which differs).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RepoPath(Vec<u8>);

impl RepoPath {
    /// The root of the tree.
    pub const ROOT: Self = Self(Vec::new());

    /// Checks a path in its text form: components joined by single `/`, none before or behind.
    ///
    /// # Errors
    /// [`PathError`], naming the path and the rule it breaks.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Ok(Self::ROOT);
        }
        if bytes.len() > MAX_PATH_BYTES {
            return Err(PathError::PathTooLong { start: escaped(&bytes), bytes: bytes.len() });
        }
        for component in bytes.split(|b| *b == b'/') {
            Name::new(component).map_err(|error| match error {
                PathError::EmptyName { .. } => PathError::EmptyName { path: escaped(&bytes) },
                PathError::DotName { .. } => PathError::DotName { path: escaped(&bytes) },
                other => other,
            })?;
        }
        Ok(Self(bytes))
    }

    /// As people type it: a leading and trailing `/` and doubled slashes are forgiven.
    ///
    /// # Errors
    /// As [`RepoPath::new`].
    pub fn from_user(text: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let parts: Vec<&[u8]> = text.as_ref().split(|b| *b == b'/').filter(|c| !c.is_empty()).collect();
        Self::new(parts.join(&b'/'))
    }

    /// The text form: components joined by `/`; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components, from the root down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = Name<'_>> {
        self.0.split(|b| *b == b'/').filter(|c| !c.is_empty()).map(Name)
    }

    /// The last component; `None` for the root.
    pub fn name(&self) -> Option<Name<'_>> {
        self.components().next_back()
    }

    /// The path without its last component; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let name = self.name()?;
        let end = self.0.len() - name.0.len();
        Some(Self(self.0[..end.saturating_sub(1)].to_vec()))
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    /// [`PathError::PathTooLong`] beyond 4,095 bytes.
    pub fn join(&self, name: Name<'_>) -> Result<Self, PathError> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.0.len());
        bytes.extend_from_slice(&self.0);
        if !self.is_root() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name.0);
        if bytes.len() > MAX_PATH_BYTES {
            return Err(PathError::PathTooLong { start: escaped(&bytes), bytes: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// `other` below this path.
    ///
    /// # Errors
    /// [`PathError::PathTooLong`] beyond 4,095 bytes.
    pub fn join_path(&self, other: &Self) -> Result<Self, PathError> {
        if self.is_root() || other.is_root() {
            return Ok(if self.is_root() { other.clone() } else { self.clone() });
        }
        let bytes = [&self.0[..], b"/", &other.0].concat();
        if bytes.len() > MAX_PATH_BYTES {
            return Err(PathError::PathTooLong { start: escaped(&bytes), bytes: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// What follows when `base` is taken off the front; `None` when this path is not `base` or below it.
    pub fn strip_prefix(&self, base: &Self) -> Option<Self> {
        if base.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(&base.0[..])?;
        match rest.split_first() {
            None => Some(Self::ROOT),
            Some((b'/', rest)) => Some(Self(rest.to_vec())),
            Some(_) => None,
        }
    }

    /// Whether this path is `base` or lies below it.
    pub fn starts_with(&self, base: &Self) -> bool {
        self.strip_prefix(base).is_some()
    }

    /// The path under a directory of the operating system.
    pub fn to_os(&self, base: &Path) -> PathBuf {
        if self.is_root() { base.to_path_buf() } else { base.join(OsStr::from_bytes(&self.0)) }
    }
}

/// Text with bytes outside printable ASCII escaped when they are not UTF-8: for messages, not for keys.
impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.chars().any(char::is_control) => f.write_str(text),
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text).expect("valid")
    }

    #[test]
    fn limits_hold_at_the_exact_byte() {
        assert!(Name::new(&[b'x'; 255]).is_ok());
        assert!(Name::new(&[b'x'; 256]).unwrap_err().is_too_long());
        let longest = vec!["x".repeat(255); 16].join("/");
        assert_eq!(longest.len(), 4095);
        assert!(RepoPath::new(longest.clone()).is_ok());
        let parent = RepoPath::new(vec!["x".repeat(255); 15].join("/")).expect("valid");
        assert!(parent.join(Name::new(&[b'x'; 255]).expect("valid")).is_ok());
        let too_long = format!("{longest}y");
        assert!(RepoPath::new(too_long).unwrap_err().is_too_long());
        assert!(RepoPath::new("a/".repeat(2048) + "b").unwrap_err().is_too_long());
    }

    #[test]
    fn malformed_paths_are_refused() {
        for bad in ["/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0b"] {
            assert!(RepoPath::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(RepoPath::from_user("//a///b/").expect("forgiven"), path("a/b"));
    }

    #[test]
    fn parent_join_and_prefix_agree() {
        let p = path("a/b/c");
        assert_eq!(p.parent(), Some(path("a/b")));
        assert_eq!(path("a").parent(), Some(RepoPath::ROOT));
        assert_eq!(RepoPath::ROOT.parent(), None);
        assert_eq!(p.strip_prefix(&path("a/b")), Some(path("c")));
        assert_eq!(path("ab/c").strip_prefix(&path("a")), None);
        assert_eq!(path("a/b").join_path(&path("c")), Ok(p));
    }

    #[test]
    fn control_characters_never_reach_a_message() {
        assert_eq!(RepoPath::new("a\x1b[2Jb").expect("valid").to_string(), "a\\x1b[2Jb");
    }
}
