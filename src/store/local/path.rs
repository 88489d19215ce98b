//! Which path a key has below the root. Total: any key gives a path inside the root or an error.

use std::path::{Path, PathBuf};

use super::error::Failure;
use crate::store::StoreErrorKind;

/// The folder below the root in which bodies are written before they get their name. Never listed, never a key.
pub(super) const TEMPORARY: &str = ".atfs-tmp";

/// The longest file name that Linux's file systems take.
const MAX_NAME: usize = 255;

/// The path of `key`.
pub(super) fn of_key(root: &Path, key: &str) -> Result<PathBuf, Failure> {
    let bad =
        |why: &str| Err(Failure::new(StoreErrorKind::Io, format!("the key cannot be a file name: {why}")));
    if key.contains('\0') {
        return bad("it holds a NUL byte");
    }
    for (index, part) in key.split('/').enumerate() {
        match part {
            "" => return bad("it has an empty component"),
            "." | ".." => return bad("it has a component `.` or `..`"),
            TEMPORARY if index == 0 => return bad("that folder is for unfinished files"),
            _ if part.len() > MAX_NAME => return bad("a component is longer than 255 bytes"),
            _ => {}
        }
    }
    Ok(root.join(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_inside_the_root() {
        let root = Path::new("/r");
        assert_eq!(of_key(root, "a/b.json").expect("good"), Path::new("/r/a/b.json"));
        assert!(of_key(root, "x/.atfs-tmp").is_ok());
        let long = "x".repeat(256);
        for bad in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../../etc", "a\0b", ".atfs-tmp/1", &long] {
            assert!(of_key(root, bad).is_err(), "{bad:?}");
        }
    }
}
