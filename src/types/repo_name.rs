//! What a repository is called: the `slides` of the directories `slides@main` of a whole mount.
//!
//! It becomes a part of paths that scripts are full of, so it holds nothing that a shell, a terminal or an address reads
//! as more than a name.

use std::fmt;
use std::str::FromStr;

/// Longest name in bytes: with `@` and the longest commit id, a directory's name stays below 255.
const MAX_BYTES: usize = 100;

/// Why a text cannot name a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot name a repository: write 1 to {MAX_BYTES} letters, digits, `.`, `_` and `-`, beginning with a letter or a digit"
)]
pub struct RepoNameError(String);

/// A repository's name, such as `slides`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoName(String);

impl RepoName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepoName {
    type Err = RepoNameError;

    fn from_str(text: &str) -> Result<Self, RepoNameError> {
        let begins_well = text.starts_with(char::is_alphanumeric);
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
        if begins_well && text.len() <= MAX_BYTES && text.chars().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RepoNameError(text.chars().take(MAX_BYTES + 20).collect()))
        }
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "x".repeat(MAX_BYTES);
        for good in ["slides", "a", "2026-11.raw_v2", "größe", &long] {
            assert_eq!(good.parse::<RepoName>().unwrap().to_string(), good);
        }
        let longer = "x".repeat(MAX_BYTES + 1);
        for bad in ["", ".", "..", ".atfs", "-rf", "a/b", "a@b", "a b", "a\nb", "a:b", "\u{202e}x", &longer] {
            let error = bad.parse::<RepoName>().unwrap_err().to_string();
            assert!(error.contains("cannot name a repository"), "{bad:?}: {error}");
        }
    }
}
