//! What can go wrong with a store, sorted by what the caller does about it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// The kinds that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The object does not exist (404).
    NotFound,
    /// `put_new`: the object exists (412).
    AlreadyExists,
    /// The store saw concurrent conditional writes and decided none (409): ask again.
    Conflict,
    /// The requested range lies behind the object's end (416).
    OutOfRange,
    /// The bucket or the folder does not exist.
    NoBucket,
    /// The credentials are known but may not do this (403).
    Denied,
    /// No credentials, unknown ones, a wrong signature, an expired token.
    Credentials,
    /// No connection: name not resolved, refused, TLS failure, nothing listens there.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The store asks to slow down (429, 503).
    Throttled,
    /// The store failed (500, 502, 504).
    Server,
    /// The body ended before its announced length, or did not match its announced checksum.
    CutBody,
    /// The store cannot do this at all (501, 400 on a condition).
    Unsupported,
    /// The answer makes no sense: not S3, a proxy's page, a redirect to elsewhere.
    BadAnswer,
    /// Local folder: no space left.
    NoSpace,
    /// Local folder: any other failure of the file system.
    Io,
}

/// A failed request: what was asked of which object of which store, what came back.
#[derive(Debug)]
pub struct StoreError(Box<Inner>);

/// Behind a box, so that the results of all requests stay small.
#[derive(Debug)]
struct Inner {
    kind: StoreErrorKind,
    operation: &'static str,
    key: String,
    store: String,
    detail: String,
    retry_after: Option<Duration>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error of `kind` of `operation` (`get`, `put`, ...) on `key` of `store` (its [`super::Store::describe`]).
    pub fn new(
        kind: StoreErrorKind,
        operation: &'static str,
        key: impl fmt::Display,
        store: impl fmt::Display,
        detail: impl fmt::Display,
    ) -> Self {
        Self(Box::new(Inner {
            kind,
            operation,
            key: key.to_string(),
            store: store.to_string(),
            detail: detail.to_string(),
            retry_after: None,
            source: None,
        }))
    }

    /// The same with its cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error once more, without its cause: for everyone who waited for the same request.
    #[must_use]
    pub fn repeated(&self) -> Self {
        Self(Box::new(Inner {
            kind: self.0.kind,
            operation: self.0.operation,
            key: self.0.key.clone(),
            store: self.0.store.clone(),
            detail: self.0.detail.clone(),
            retry_after: self.0.retry_after,
            source: None,
        }))
    }

    /// The kind.
    pub fn kind(&self) -> StoreErrorKind {
        self.0.kind
    }

    /// What came back, without the operation, key and store that [`fmt::Display`] adds.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The same with `text` behind its detail.
    #[must_use]
    pub fn with_note(mut self, text: impl fmt::Display) -> Self {
        self.0.detail = format!("{} ({text})", self.0.detail);
        self
    }

    /// The same from a store that asked to be left alone for so long.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.0.retry_after = wait;
        self
    }

    /// How long the store asked to be left alone, if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The key (or listing prefix) concerned.
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.0.kind == StoreErrorKind::NotFound
    }

    /// Whether `put_new` met an object.
    pub fn is_already_exists(&self) -> bool {
        self.0.kind == StoreErrorKind::AlreadyExists
    }

    /// Whether the same request may succeed if it is sent again after a while.
    pub fn is_transient(&self) -> bool {
        use StoreErrorKind::*;
        matches!(self.0.kind, Conflict | Unreachable | Timeout | Throttled | Server | CutBody)
    }

    /// Whether a write that ended so may have taken effect, or may still do: a lost answer, a 5xx, a 409.
    pub fn is_ambiguous(&self) -> bool {
        use StoreErrorKind::*;
        matches!(self.0.kind, Conflict | Unreachable | Timeout | Throttled | Server | CutBody | BadAnswer)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The store as a whole: a folder or bucket that is not there, a listing from the top.
        if self.0.key.is_empty() {
            return write!(f, "{}: {}", self.0.store, self.0.detail);
        }
        write!(f, "{} of {:?} in {}: {}", self.0.operation, self.0.key, self.0.store, self.0.detail)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}
