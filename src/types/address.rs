//! Repository URLs and addresses: `s3://bucket/prefix@main:dir/file`, `/srv/repos/slides@v1`, `file:///srv/x`.
//!
//! ```text
//! address = url [ "@" revision ] [ ":" path ]        no revision means main
//! url     = "s3://" bucket [ "/" prefix ] | "file://" absolute path | local path
//! ```
//! The first `@` ends the URL (a literal `@` in a URL is written `%40`), the first `:` after it begins the path.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{PathError, RepoPath, Revision, RevisionError};

/// Where a repository lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RepoUrl {
    /// In an S3 bucket, under a prefix (no leading or trailing `/`; empty for the bucket's root).
    S3 {
        /// Bucket name.
        bucket: String,
        /// Prefix of every key.
        prefix: String,
    },
    /// In a folder of this machine.
    Local(PathBuf),
}

/// A repository, and within it perhaps a revision and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The repository.
    pub url: RepoUrl,
    /// The revision; `None` when the address has no `@`.
    pub revision: Option<Revision>,
    /// The path; `None` when the address has no `:` after the revision.
    pub path: Option<RepoPath>,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing before `@`.
    #[error("the address {0:?} names no repository: write s3://bucket/prefix or a local path before `@`")]
    NoUrl(String),
    /// A scheme other than s3 and file.
    #[error("the scheme of {0:?} is not supported: use s3://bucket/prefix, file:///path or a local path")]
    Scheme(String),
    /// Not a bucket name.
    #[error("{0:?} is not a bucket name: 3 to 63 characters, lower-case letters, digits, dots and hyphens")]
    Bucket(String),
    /// A prefix that cannot be part of keys.
    #[error("{0:?} cannot be a key prefix: no empty component, no `.` or `..`, at most 400 bytes")]
    Prefix(String),
    /// `file://` with a host or a relative path.
    #[error("{0:?} is not a file URL of this machine: write file:///absolute/path")]
    FileUrl(String),
    /// The part behind `@`.
    #[error(transparent)]
    Revision(#[from] RevisionError),
    /// The part behind `:`.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl RepoUrl {
    /// The last part of the URL: what a whole-repository mount calls its directories (`slides@main`).
    pub fn name(&self) -> String {
        let last = |text: &str| text.rsplit('/').find(|part| !part.is_empty()).map(str::to_owned);
        match self {
            Self::S3 { bucket, prefix } => last(prefix).unwrap_or_else(|| bucket.clone()),
            Self::Local(path) => last(&path.to_string_lossy()).unwrap_or_else(|| "root".into()),
        }
    }

    /// A local path made absolute against `dir`; S3 URLs are returned as they are.
    pub fn absolute(&self, dir: &Path) -> Self {
        match self {
            Self::Local(path) => Self::Local(dir.join(path)),
            s3 => s3.clone(),
        }
    }
}

impl FromStr for RepoUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let plain = text.replace("%40", "@");
        if let Some(rest) = plain.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let valid = (3..=63).contains(&bucket.len())
                && bucket.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
            if !valid {
                return Err(AddressError::Bucket(bucket.into()));
            }
            let prefix = prefix.trim_end_matches('/');
            // The longest key below the root has some 250 bytes; S3 allows 1,024.
            let valid = prefix.len() <= 400
                && (prefix.is_empty() || prefix.split('/').all(|c| !matches!(c, "" | "." | "..")))
                && !prefix.chars().any(char::is_control);
            if !valid {
                return Err(AddressError::Prefix(prefix.into()));
            }
            return Ok(Self::S3 { bucket: bucket.into(), prefix: prefix.into() });
        }
        if let Some(path) = plain.strip_prefix("file://") {
            return if path.starts_with('/') {
                Ok(Self::Local(path.into()))
            } else {
                Err(AddressError::FileUrl(plain))
            };
        }
        match plain.split_once("://") {
            Some(_) => Err(AddressError::Scheme(plain)),
            None if plain.is_empty() => Err(AddressError::NoUrl(plain)),
            None => Ok(Self::Local(plain.into())),
        }
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{}", prefix.replace('@', "%40")),
            Self::Local(path) => f.write_str(&path.to_string_lossy().replace('@', "%40")),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some((url, rest)) = text.split_once('@') else {
            return Ok(Self { url: text.parse()?, revision: None, path: None });
        };
        if url.is_empty() {
            return Err(AddressError::NoUrl(text.into()));
        }
        // `main@{2026-11-23T10:00}:dir`: a colon inside braces belongs to the time.
        let mut in_braces = false;
        let colon = rest.char_indices().find_map(|(at, c)| {
            in_braces = (in_braces || c == '{') && c != '}';
            (c == ':' && !in_braces).then_some(at)
        });
        let (revision, path) = match colon {
            Some(at) => (&rest[..at], Some(RepoPath::from_user(&rest[at + 1..])?)),
            None => (rest, None),
        };
        Ok(Self { url: url.parse()?, revision: Some(revision.parse()?), path })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(path) = &self.path {
            write!(f, ":{path}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn addresses_split_where_people_expect() {
        let a = address("s3://pathology/team/slides@main~2:2026/a@b:c.svs");
        assert_eq!(a.url, RepoUrl::S3 { bucket: "pathology".into(), prefix: "team/slides".into() });
        assert_eq!(a.revision.expect("given").to_string(), "main~2");
        assert_eq!(a.path.expect("given").to_string(), "2026/a@b:c.svs");
        let a = address("/srv/repos/slides@main@{2026-11-23T10:00}:x");
        assert_eq!(a.path.expect("given").to_string(), "x");
        assert_eq!(address("./here").url, RepoUrl::Local("./here".into()));
        assert_eq!(address("/a%40b@main").url, RepoUrl::Local("/a@b".into()));
        assert_eq!(address("/a%40b@main").to_string(), "/a%40b@main");
    }

    #[test]
    fn the_name_is_the_last_part() {
        for (url, name) in [
            ("s3://bucket", "bucket"),
            ("s3://bucket/a/slides/", "slides"),
            ("/srv/slides/", "slides"),
            ("/", "root"),
        ] {
            assert_eq!(url.parse::<RepoUrl>().expect("valid").name(), name);
        }
    }

    #[test]
    fn bad_addresses_say_what_is_wrong() {
        for bad in [
            "",
            "@main",
            "http://x/y",
            "s3://",
            "s3://UPPER/x",
            "s3://bucket//x",
            "file://host/x",
            "/x@",
            "/x@a b",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }
}
