//! Creating an object once, and learning for certain who did.
//!
//! The answer to a conditional PUT can be lost, and a repeated one can meet its own first try, so the answer alone
//! decides nothing but success. The argument:
//!
//! 1. After a conflict, a time-out or a failure of the store, *the same bytes* are sent again until the key exists.
//!    That is safe: a key is created once, and all my requests carry the same bytes.
//! 2. "It exists" is settled by reading that very key, never by a listing: my nonce in it means that one of my requests
//!    made it, another nonce that another writer did. A key never changes, so both are final, however many of my
//!    requests still travel.
//! 3. "It does not exist" on that reading proves nothing (a request may still be travelling), so it never counts as
//!    failure: the PUT is sent again.
//! 4. If the key cannot be made to exist and be read in time, the outcome is unknown, and is reported as that.
//!
//! A definite refusal (no rights, say) of the first request is a plain failure: nothing can be travelling.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use crate::format::FormatError;
use crate::store::{Key, Store, StoreError, StoreErrorKind};
use crate::types::Random;

use super::pause::Backoff;

/// How long it is tried before the outcome is called unknown: as long as reads wait for a network.
const LIMIT: Duration = Duration::from_secs(60);

/// Who created the object. Final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) enum Creator {
    /// This call.
    Me,
    /// Another writer; this call's bytes will never be under that key.
    Another,
}

/// Why it is not known who created the object.
#[derive(Debug)]
pub(in crate::repo) enum CreateError {
    /// The only request was refused: nothing was created by this call, nor will be.
    Refused(StoreError),
    /// It may have been created by this call, or still be.
    Unknown(StoreError),
}

/// Creates `key` with `bytes` unless it exists. `is_mine` judges the bytes found under the key.
pub(in crate::repo) async fn create(
    store: &dyn Store,
    random: &dyn Random,
    key: &Key,
    bytes: Bytes,
    is_mine: impl Fn(&[u8]) -> Result<bool, FormatError>,
) -> Result<Creator, CreateError> {
    let deadline = Instant::now() + LIMIT;
    let mut may_travel = false;
    let mut backoff = Backoff::new();
    loop {
        let put = timeout_at(deadline, store.put_new(key, bytes.clone())).await;
        let error = match put.unwrap_or_else(|_| Err(no_answer(store, "put", key))) {
            Ok(()) => return Ok(Creator::Me),
            Err(error) if error.is_already_exists() => {
                let read = timeout_at(deadline, creator(store, key, &is_mine)).await;
                match read.unwrap_or_else(|_| Err(no_answer(store, "get", key))) {
                    Ok(Some(creator)) => return Ok(creator),
                    Ok(None) => error,
                    Err(failed) if failed.is_ambiguous() => failed,
                    Err(failed) => return Err(CreateError::Unknown(failed)),
                }
            }
            Err(error) if error.is_ambiguous() => error,
            Err(error) if may_travel => return Err(CreateError::Unknown(error)),
            Err(error) => return Err(CreateError::Refused(error)),
        };
        may_travel = true;
        if Instant::now() >= deadline {
            return Err(CreateError::Unknown(error));
        }
        tracing::debug!(object = %key, %error, "sent again until the key exists");
        backoff.wait(random).await;
    }
}

/// Whose the object is; `None` when it is not there. Bytes that cannot be read decide nothing: they are read again.
async fn creator(
    store: &dyn Store,
    key: &Key,
    is_mine: impl Fn(&[u8]) -> Result<bool, FormatError>,
) -> Result<Option<Creator>, StoreError> {
    let bytes = match store.get(key).await {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other?,
    };
    match is_mine(&bytes) {
        Ok(true) => Ok(Some(Creator::Me)),
        Ok(false) => Ok(Some(Creator::Another)),
        Err(error) => Err(StoreError::new(StoreErrorKind::BadAnswer, "get", key, store.describe(), error)),
    }
}

fn no_answer(store: &dyn Store, operation: &'static str, key: &Key) -> StoreError {
    let detail = format!("no answer within {} s", LIMIT.as_secs());
    StoreError::new(StoreErrorKind::Timeout, operation, key, store.describe(), detail)
}
