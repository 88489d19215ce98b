//! Extended attributes: those stored with an entry, and three that atfs computes.
//!
//! The computed ones are answered and never listed, so that `cp -a` copies none. Of the stored ones only `user.*` is
//! shown: whatever a repository holds under `security.`, `system.` or `trusted.` must give nobody anything.

use crate::format::XattrList;

use super::error::FsError;

const USER: &[u8] = b"user.";
const COMPUTED: &[u8] = b"user.atfs.";

/// A computed attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Computed {
    /// `user.atfs.commit`: the commit that is shown.
    Commit,
    /// `user.atfs.hash`: what identifies a file's content.
    Hash,
    /// `user.atfs.cached`: how much of a file this machine holds.
    Cached,
}

/// The computed attribute called `name`.
pub(super) fn computed(name: &[u8]) -> Option<Computed> {
    match name.strip_prefix(COMPUTED)? {
        b"commit" => Some(Computed::Commit),
        b"hash" => Some(Computed::Hash),
        b"cached" => Some(Computed::Cached),
        _ => None,
    }
}

/// Whether a stored attribute of this name can be shown.
pub(super) fn is_shown(name: &[u8]) -> bool {
    name.starts_with(USER) && !name.starts_with(COMPUTED)
}

/// The names for `listxattr`: each followed by NUL.
pub(super) fn names(list: &XattrList) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, _) in list.0.iter().filter(|(name, _)| is_shown(name)) {
        text.extend_from_slice(name);
        text.push(0);
    }
    text
}

/// The value of a stored attribute.
///
/// # Errors
/// [`FsError::NoAttribute`].
pub(super) fn value(list: &XattrList, name: &[u8]) -> Result<Vec<u8>, FsError> {
    let found = list.0.iter().find(|(stored, _)| stored == name && is_shown(name));
    found.map(|(_, value)| value.clone()).ok_or(FsError::NoAttribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_user_attributes_are_shown_and_computed_ones_never_listed() {
        let names_in = ["security.capability", "trusted.x", "user.a", "user.atfs.hash", "user.b"];
        let list = XattrList(names_in.iter().map(|n| (n.as_bytes().to_vec(), b"v".to_vec())).collect());
        assert_eq!(names(&list), b"user.a\0user.b\0");
        assert_eq!(value(&list, b"user.b").expect("stored"), b"v");
        for hidden in ["security.capability", "user.atfs.hash", "user.c"] {
            assert!(matches!(value(&list, hidden.as_bytes()), Err(FsError::NoAttribute)), "{hidden}");
        }
        assert_eq!(computed(b"user.atfs.commit"), Some(Computed::Commit));
        assert_eq!(computed(b"user.atfs.other"), None);
    }
}
