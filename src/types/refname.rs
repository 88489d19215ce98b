//! Names of branches and tags: git's `check-ref-format` rules, without `@ : ~ ^ %` and `_2F`, at most 200 bytes.
//!
//! The exclusions make two things unambiguous: an address (`url@ref:path`, `ref~2`, `ref@{3}`) and a key in the
//! bucket, where `/` is spelt `_2F` and nothing else is escaped.

use std::fmt;
use std::str::FromStr;

/// Longest name in bytes: keeps the longest key of a ref far below the 1,024 bytes of S3.
const MAX_BYTES: usize = 200;

/// Whether a ref is a branch or a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefKind {
    /// Moves with every commit to it.
    Branch,
    /// Stands still unless settings allow otherwise.
    Tag,
}

impl RefKind {
    /// `branch` or `tag`, for messages.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Branch => "branch",
            Self::Tag => "tag",
        }
    }
}

/// Why a text cannot name a branch or tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot name a branch or tag: {rule}")]
pub struct RefNameError {
    name: String,
    rule: &'static str,
}

/// A valid branch or tag name, such as `main` or `ingest/2026-11-23`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct RefName(String);

impl RefName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`RefNameError`] with the rule that is broken.
    pub fn new(name: impl Into<String>) -> Result<Self, RefNameError> {
        let name = name.into();
        match broken_rule(&name) {
            None => Ok(Self(name)),
            Some(rule) => Err(RefNameError { name: name.chars().take(220).collect(), rule }),
        }
    }

    /// The name as people write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it stands in keys and in directory names of a whole-repository mount: `/` is `_2F`.
    pub fn to_key(&self) -> String {
        self.0.replace('/', "_2F")
    }

    /// Reads the spelling of [`RefName::to_key`].
    ///
    /// # Errors
    /// [`RefNameError`] for any other spelling.
    pub fn from_key(key: &str) -> Result<Self, RefNameError> {
        if key.contains('/') {
            return Err(RefNameError { name: key.into(), rule: "a key spells `/` as `_2F`" });
        }
        Self::new(key.replace("_2F", "/"))
    }
}

fn broken_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > MAX_BYTES {
        return Some("it is longer than 200 bytes");
    }
    if name == "HEAD" {
        return Some("`HEAD` means the head of main");
    }
    if name.starts_with('-') {
        return Some("it begins with `-`");
    }
    if name.chars().any(char::is_control) {
        return Some("it holds a control character");
    }
    if name.contains(['@', ':', '~', '^', '%', '?', '*', '[', '\\', ' ']) {
        return Some("it holds one of @ : ~ ^ % ? * [ \\ or a space");
    }
    if name.contains("_2F") {
        return Some("it holds `_2F`, which spells `/` in keys");
    }
    if name.contains("..") {
        return Some("it holds `..`");
    }
    if name.ends_with('.') {
        return Some("it ends with a dot");
    }
    for component in name.split('/') {
        if component.is_empty() {
            return Some("a component between slashes is empty");
        }
        if component.starts_with('.') {
            return Some("a component begins with a dot");
        }
        if component.ends_with(".lock") {
            return Some("a component ends with `.lock`");
        }
    }
    // `a_/2F` and `a_2/F` are fine; a joint that only appears in the key spelling is not.
    let key = name.replace('/', "_2F");
    (key.replace("_2F", "/") != name).then_some("its spelling in keys would be ambiguous")
}

impl FromStr for RefName {
    type Err = RefNameError;

    fn from_str(text: &str) -> Result<Self, RefNameError> {
        Self::new(text)
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<'de> serde::Deserialize<'de> for RefName {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_and_our_grammar_allow() {
        for good in ["main", "ingest/2026-11-23", "a", "v1.2", "ü/ß", "feature_2f", "a_/2F"] {
            let name = RefName::new(good).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(RefName::from_key(&name.to_key()), Ok(name));
        }
    }

    #[test]
    fn names_that_would_be_ambiguous_or_hostile() {
        let long = "x".repeat(201);
        for bad in [
            "", "HEAD", "-x", "a b", "a@b", "a:b", "a~1", "a^", "a%b", "a_2Fb", "a..b", "a.", "/a", "a/",
            "a//b", ".a", "a/.b", "a.lock", "a.lock/b", "a\nb", "a\x7f", "a?", "a*", "a[", "a\\b", &long,
        ] {
            assert!(RefName::new(bad).is_err(), "{bad:?}");
        }
    }
}
