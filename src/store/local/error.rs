//! From `errno` to [`StoreErrorKind`].

use std::error::Error;
use std::fmt;
use std::io;

use crate::store::{StoreError, StoreErrorKind};

/// A failure inside the folder; the caller adds which operation on which key it was.
#[derive(Debug)]
pub(super) struct Failure {
    kind: StoreErrorKind,
    detail: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    pub(super) fn new(kind: StoreErrorKind, detail: impl fmt::Display) -> Self {
        Self { kind, detail: detail.to_string(), cause: None }
    }

    pub(super) fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    pub(super) fn into_error(self, operation: &'static str, key: &str, store: &str) -> StoreError {
        let error = StoreError::new(self.kind, operation, key, store, self.detail);
        match self.cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Self {
        use io::ErrorKind::*;
        let (kind, why) = match cause.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => (StoreErrorKind::NoSpace, "no space left"),
            ReadOnlyFilesystem => (StoreErrorKind::Denied, "the file system is read-only"),
            PermissionDenied => (StoreErrorKind::Denied, "permission denied"),
            CrossesDevices => (StoreErrorKind::Io, "parts of the folder lie on different file systems"),
            _ => (StoreErrorKind::Io, ""),
        };
        let detail = if why.is_empty() { cause.to_string() } else { format!("{why} ({cause})") };
        Self::new(kind, detail).caused_by(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_tells_what_to_do() {
        use StoreErrorKind::*;
        for (errno, kind) in [
            (libc::ENOSPC, NoSpace),
            (libc::EDQUOT, NoSpace),
            (libc::EFBIG, NoSpace),
            (libc::EROFS, Denied),
            (libc::EACCES, Denied),
            (libc::EPERM, Denied),
            (libc::EXDEV, Io),
            (libc::EIO, Io),
        ] {
            let failure = Failure::from(io::Error::from_raw_os_error(errno));
            let error = failure.into_error("put", "k", "/srv/r");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(!error.is_transient() && !error.is_ambiguous(), "{error}");
        }
    }
}
