//! A store in an S3 bucket, through AWS's SDK.
//!
//! One call is one request (a listing may take more when the store answers empty pages), and each is bounded in time by
//! [`S3Timeouts`]. The SDK's own retries are off: they would turn a `put_new` that succeeded unheard into
//! `AlreadyExists`. The one repetition here is of a request that was refused for its credentials, when there are newer
//! ones: a refusal has no effect. There is never a HEAD: its errors have no body and so no code.

mod body;
mod clock;
mod config;
mod credentials;
mod error;
mod gate;
mod http;
mod list;
mod patience;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;
use futures_util::future::{Either, join_all, select};
use tokio::time::Instant;

use self::body::Pulse;
pub use self::clock::{ClockReading, watch_clock};
pub use self::config::{AccessKeys, Addressing, Encryption, S3Options, S3Timeouts};
use self::config::{Connected, Endpoint};
use self::credentials::Credentials;
pub use self::credentials::CredentialsOrigin;
use self::error::{Failure, classify, no_credentials};
use self::gate::Gate;
use self::patience::Patience;
use super::{Key, ListPage, ListRequest, Operation, Store, StoreError, StoreErrorKind};

/// The credentials that requests are signed with; never their secret half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsFound {
    /// Where they were found.
    pub origin: CredentialsOrigin,
    /// The public half of the key.
    pub access_key: String,
    /// When they end, if they do.
    pub expires: Option<SystemTime>,
}

/// Objects in a bucket, below a prefix.
pub struct S3Store {
    client: Client,
    credentials: Credentials,
    bucket: String,
    /// Empty, or ending in `/`.
    prefix: String,
    place: String,
    encryption: Encryption,
    timeouts: S3Timeouts,
    patience: Patience,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("place", &self.place).finish_non_exhaustive()
    }
}

impl S3Store {
    /// The store below `prefix` (without slashes at its ends; may be empty) in `bucket`. Reads configuration; asks the
    /// bucket nothing yet.
    ///
    /// # Errors
    /// `BadAnswer` when an option is unusable: an endpoint that is no URL, a CA bundle that cannot be read.
    pub async fn open(bucket: &str, prefix: &str, options: &S3Options) -> Result<Self, StoreError> {
        let Connected { client, credentials, endpoint } = config::connect(options, bucket).await?;
        let prefix = prefix.trim_matches('/');
        let root =
            if prefix.is_empty() { format!("s3://{bucket}") } else { format!("s3://{bucket}/{prefix}") };
        let place = match endpoint {
            Endpoint::Url(url) => format!("{root} (endpoint {url})"),
            Endpoint::Aws(region) => format!("{root} (AWS, region {region})"),
        };
        Ok(Self {
            client,
            credentials,
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            place,
            encryption: options.encryption.clone(),
            timeouts: options.timeouts.clone(),
            patience: Patience::new(),
        })
    }

    /// Looks for the credentials that requests would be signed with, and says where they are.
    ///
    /// # Errors
    /// `Credentials` when there are none, or a source fails.
    pub async fn credentials(&self) -> Result<CredentialsFound, StoreError> {
        match self.credentials.load().await {
            Ok((identity, origin)) => Ok(CredentialsFound {
                origin,
                access_key: identity.access_key_id().to_owned(),
                expires: identity.expiry(),
            }),
            Err(error) => {
                let Failure { kind, detail, .. } = no_credentials(&error);
                Err(StoreError::new(kind, "open", "", &self.place, detail))
            }
        }
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn fail(&self, operation: Operation, key: &str, failure: Failure) -> StoreError {
        StoreError::new(failure.kind, operation.as_str(), key, &self.place, failure.detail)
            .with_retry_after(failure.retry_after)
    }

    /// The longest time to the first byte of an answer to a request whose body has `sent` bytes.
    fn answer_limit(&self, sent: u64) -> Duration {
        let times = &self.timeouts;
        times.connect + times.answer + Duration::from_secs_f64(sent as f64 / times.min_rate.max(1) as f64)
    }

    /// Sends one request and waits `limit` for its answer.
    async fn send<T, E, F>(
        &self,
        operation: Operation,
        limit: Duration,
        request: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let mut renewed = false;
        loop {
            let generation = self.credentials.generation();
            let failure = match tokio::time::timeout(limit, request()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => classify(operation, error),
                Err(_) => {
                    let detail = format!("no answer within {:.1} s", limit.as_secs_f64());
                    return Err(Failure::new(StoreErrorKind::Timeout, detail));
                }
            };
            if !failure.stale_credentials || renewed || !self.credentials.renew_refused(generation).await {
                return Err(failure);
            }
            renewed = true;
        }
    }

    async fn write(&self, operation: Operation, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let (encryption, kms_key) = match &self.encryption {
            Encryption::BucketDefault => (None, None),
            Encryption::Managed => (Some(ServerSideEncryption::Aes256), None),
            Encryption::Kms(key) => (Some(ServerSideEncryption::AwsKms), key.clone()),
        };
        let condition = (operation == Operation::PutNew).then(|| "*".to_owned());
        let request = || {
            self.client
                .put_object()
                .bucket(&self.bucket)
                .key(self.name(key.as_str()))
                .set_if_none_match(condition.clone())
                .set_server_side_encryption(encryption.clone())
                .set_ssekms_key_id(kms_key.clone())
                .body(ByteStream::from(body.clone()))
                .send()
        };
        let answer = match self.send(operation, self.answer_limit(body.len() as u64), request).await {
            Ok(answer) => answer,
            Err(failure) => return Err(self.fail(operation, key.as_str(), failure)),
        };
        // A web server that says 200 to everything has stored nothing.
        if answer.e_tag().is_none() {
            let detail = "the answer has no ETag: is this an S3 endpoint?";
            let failure = Failure::new(StoreErrorKind::BadAnswer, detail);
            return Err(self.fail(operation, key.as_str(), failure));
        }
        Ok(())
    }

    async fn read(
        &self,
        operation: Operation,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<Bytes, Failure> {
        // HTTP's ranges include their end.
        let header = range.as_ref().map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let request = || {
            self.client
                .get_object()
                .bucket(&self.bucket)
                .key(self.name(key.as_str()))
                .set_range(header.clone())
                .send()
        };
        // A read may be asked again at no risk, so it is waited for no longer than this store gives reason to.
        let (began, limit) = (Instant::now(), self.patience.limit(self.answer_limit(0)));
        let answer = match self.send(operation, limit, request).await {
            Ok(answer) => answer,
            Err(failure) => {
                if failure.kind == StoreErrorKind::Timeout {
                    self.patience.in_vain(limit);
                }
                return Err(failure);
            }
        };
        self.patience.answered(began.elapsed());
        let pulse =
            Pulse { patience: &self.patience, most: self.timeouts.stall, min_rate: self.timeouts.min_rate };
        match range {
            Some(range) => body::part(answer, range, &pulse).await,
            None => body::whole(answer, &pulse).await,
        }
    }
}

#[async_trait]
impl Store for S3Store {
    fn describe(&self) -> String {
        self.place.clone()
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let result = self.read(Operation::Get, key, None).await;
        result.map_err(|failure| self.fail(Operation::Get, key.as_str(), failure))
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let result = if range.start < range.end {
            self.read(Operation::GetRange, key, Some(range)).await
        } else {
            Err(Failure::new(StoreErrorKind::OutOfRange, format!("the range {range:?} is empty")))
        };
        result.map_err(|failure| self.fail(Operation::GetRange, key.as_str(), failure))
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        self.write(Operation::Put, key, body).await
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        self.write(Operation::PutNew, key, body).await
    }

    async fn put_new_at_once(&self, key: &Key, bodies: Vec<Bytes>) -> Vec<Result<(), StoreError>> {
        let gate = Gate::new(bodies.len());
        let all = join_all(bodies.into_iter().map(|body| gate.stop(self.put_new(key, body))));
        let attendant = gate.attend();
        tokio::pin!(all, attendant);
        match select(all, attendant).await {
            Either::Left((answers, _)) => answers,
            Either::Right((never, _)) => match never {},
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.page(request).await.map_err(|failure| self.fail(Operation::List, &request.prefix, failure))
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let request = || self.client.delete_object().bucket(&self.bucket).key(self.name(key.as_str())).send();
        match self.send(Operation::Delete, self.answer_limit(0), request).await {
            Ok(_) => Ok(()),
            // AWS calls a missing object deleted; some stores say 404.
            Err(failure) if failure.kind == StoreErrorKind::NotFound => Ok(()),
            Err(failure) => Err(self.fail(Operation::Delete, key.as_str(), failure)),
        }
    }
}
