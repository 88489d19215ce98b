//! Errors become errnos here, and nowhere else.
//!
//! ENOENT is said only when a name is truly absent: trouble with the network or the store is never mistaken for it,
//! and the kernel never remembers it. Whatever a person must look into is EIO, with one log line that names path,
//! object and remedy. The same line is written at most once a minute, so that a program that retries a damaged
//! file in a loop does not fill the disk.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::repo::RepoError;
use crate::store::StoreErrorKind;

use super::error::FsError;

/// How long the same line is kept back.
const AGAIN: Duration = Duration::from_secs(60);

/// How many different lines are remembered.
const REMEMBERED: usize = 1024;

/// Writes what a person must know, once.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    said: Mutex<HashMap<String, Instant>>,
}

impl Reporter {
    /// The errno of an error; what lies behind an EIO is logged.
    pub(super) fn errno(&self, error: &FsError) -> i32 {
        let errno = errno(error);
        // The first failure has said it all.
        if matches!(error, FsError::StillNoAnswer) {
            return errno;
        }
        if errno == libc::EIO || matches!(error, FsError::TooManyRefs { .. }) {
            let text = error.to_string();
            if self.first(&text) {
                tracing::error!(remedy = remedy(error), "{text}");
            }
        }
        errno
    }

    fn first(&self, text: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = Instant::now();
        if said.get(text).is_some_and(|at| now.duration_since(*at) < AGAIN) {
            return false;
        }
        if said.len() >= REMEMBERED {
            said.clear();
        }
        said.insert(text.to_owned(), now);
        true
    }
}

fn errno(error: &FsError) -> i32 {
    match error {
        FsError::NotFound => libc::ENOENT,
        FsError::NameTooLong => libc::ENAMETOOLONG,
        FsError::Stale(_) => libc::ESTALE,
        FsError::NotADirectory => libc::ENOTDIR,
        FsError::IsADirectory => libc::EISDIR,
        FsError::NotASymlink => libc::EINVAL,
        FsError::ReadOnly => libc::EROFS,
        FsError::NoAttribute => libc::ENODATA,
        FsError::BufferTooSmall => libc::ERANGE,
        FsError::Interrupted => libc::EINTR,
        FsError::Ambiguous(_) => libc::ENOTUNIQ,
        FsError::TooManyRefs { .. } => libc::ENFILE,
        FsError::TooManyEntries { .. } => libc::EOVERFLOW,
        FsError::Repo { .. } | FsError::Cache { .. } | FsError::StillNoAnswer => libc::EIO,
    }
}

fn remedy(error: &FsError) -> &'static str {
    const NETWORK: &str = "check the network and the store; reads work again as soon as it answers";
    match error {
        FsError::Repo { source, .. } => match &**source {
            RepoError::Damaged { .. } => {
                "restore this object from a backup or an older version of the bucket; all other files stay readable"
            }
            RepoError::Missing { .. } => {
                "find out who deleted this object and restore it; all other files stay readable"
            }
            RepoError::Store(store) => match store.kind() {
                StoreErrorKind::Denied => {
                    "allow this machine's credentials to read the bucket (s3:GetObject, s3:ListBucket)"
                }
                StoreErrorKind::Credentials => "renew the credentials and mount again",
                StoreErrorKind::NoBucket => "restore the bucket or folder, or unmount",
                _ => NETWORK,
            },
            _ => "see the message",
        },
        FsError::TooManyRefs { .. } => "unmount and mount again, or mount single refs",
        _ => "see the message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    fn repo(source: RepoError) -> FsError {
        FsError::Repo { path: "/r@main:a".into(), source: std::sync::Arc::new(source) }
    }

    #[test]
    fn trouble_is_never_absence() {
        let reporter = Reporter::default();
        for kind in [StoreErrorKind::NotFound, StoreErrorKind::Timeout, StoreErrorKind::Denied] {
            let error = repo(StoreError::new(kind, "get", "data/x", "/r", "no").into());
            assert_eq!(reporter.errno(&error), libc::EIO, "{kind:?}");
        }
        let missing = RepoError::Missing { object: "data/x".into(), store: "/r".into() };
        assert_eq!(reporter.errno(&repo(missing)), libc::EIO);
        assert_eq!(reporter.errno(&FsError::NotFound), libc::ENOENT);
    }

    #[test]
    fn the_same_line_is_written_once() {
        let reporter = Reporter::default();
        assert!(reporter.first("a"));
        assert!(!reporter.first("a"));
        assert!(reporter.first("b"));
        for i in 0..2 * REMEMBERED {
            assert!(reporter.first(&format!("line {i}")));
        }
        assert!(reporter.said.lock().expect("not poisoned").len() <= REMEMBERED);
    }
}
