//! From the SDK's errors to [`StoreErrorKind`].
//!
//! What decides is the status together with S3's error code. A refusal without a code is no S3 answer (a proxy's page, a
//! web server): it is `BadAnswer` and never "not found", because "not found" makes callers believe things.
//!
//! Of the SDK's chain of errors only what a person can use goes into the detail; all of it goes into the log.

use std::error::Error;
use std::fmt::Write;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::store::{Operation, StoreErrorKind};

/// A classified failure; `S3Store` adds operation, key and store.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: StoreErrorKind,
    pub(super) detail: String,
    /// Whether other credentials might help: these are expired or unknown.
    pub(super) stale_credentials: bool,
    /// How long the store asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(kind: StoreErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), stale_credentials: false, retry_after: None }
    }
}

/// What an error answer says.
#[derive(Debug, Clone, Copy)]
struct Answer<'a> {
    status: u16,
    code: Option<&'a str>,
}

pub(super) fn classify<E>(operation: Operation, error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    tracing::debug!(%operation, "the SDK's error: {}", DisplayErrorContext(&error));
    let mut failure = judge(operation, &error);
    failure.retry_after =
        error.raw_response().and_then(|raw| parse_retry_after(raw.headers().get("retry-after")?));
    failure
}

/// `Retry-After` in seconds, as stores and balancers send it; a date would need both clocks to agree.
fn parse_retry_after(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

fn judge<E>(operation: Operation, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    use StoreErrorKind::*;
    if let Some(found) = find::<CredentialsError>(error) {
        return no_credentials(found);
    }
    match error {
        SdkError::ServiceError(service) => {
            let (raw, meta) = (service.raw(), service.err().meta());
            let answer = Answer { status: raw.status().as_u16(), code: meta.code() };
            let mut detail = format!("HTTP {}", answer.status);
            for text in [meta.code(), meta.message()].into_iter().flatten().filter(|text| !text.is_empty()) {
                // Whoever answers writes this: no control characters, not without end.
                let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
                detail.push(' ');
                detail.extend(clean.take(300));
            }
            if let Some(region) = raw.headers().get("x-amz-bucket-region") {
                let _ = write!(detail, " (the bucket is in region {region})");
            }
            let kind = of_answer(operation, answer);
            if kind == BadAnswer && answer.code.is_none() {
                detail.push_str(" without an S3 error code: is this an S3 endpoint?");
            }
            let mut failure = Failure::new(kind, detail);
            failure.stale_credentials = kind == Credentials;
            failure
        }
        SdkError::TimeoutError(_) => Failure::new(Timeout, chain(error, |_| false)),
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            let text = chain(error, |_| false);
            match of_answer(operation, Answer { status, code: None }) {
                // An answer in full that is no XML, against one that broke off.
                BadAnswer if find::<hyper::Error>(error).is_some() => Failure::new(CutBody, text),
                BadAnswer => {
                    Failure::new(BadAnswer, format!("HTTP {status}, but not what S3 answers ({text})"))
                }
                kind => Failure::new(kind, format!("HTTP {status}: {text}")),
            }
        }
        SdkError::DispatchFailure(dispatch) => {
            let text = chain(error, |_| false);
            if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
                Failure::new(BadAnswer, format!("the endpoint does not speak HTTP ({text})"))
            } else if dispatch.is_user() {
                Failure::new(BadAnswer, format!("the request could not be sent ({text})"))
            } else if dispatch.is_timeout() {
                Failure::new(Unreachable, "no connection in time")
            } else {
                Failure::new(Unreachable, connection(&text))
            }
        }
        _ => Failure::new(BadAnswer, chain(error, |_| false)),
    }
}

/// `no connection: Connection refused`, from the links of the HTTP client's chain, of which the first name its layers.
fn connection(text: &str) -> String {
    let text = text.strip_prefix("io error: ").unwrap_or(text);
    match text.strip_prefix("client error (Connect): ") {
        Some(why) => format!("no connection: {}", why.strip_prefix("tcp connect error: ").unwrap_or(why)),
        None => format!("the connection broke: {text}"),
    }
}

/// What is wrong with the credentials. The error's own text says only that something is; its cause says what.
pub(super) fn no_credentials(error: &CredentialsError) -> Failure {
    let why = error.source().map_or_else(|| error.to_string(), |source| chain(source, |_| true));
    Failure::new(StoreErrorKind::Credentials, format!("no usable credentials: {why}"))
}

fn of_answer(operation: Operation, answer: Answer<'_>) -> StoreErrorKind {
    use StoreErrorKind::*;
    match (answer.status, answer.code) {
        (_, Some("NoSuchKey")) => NotFound,
        (_, Some("NoSuchBucket" | "InvalidBucketName")) => NoBucket,
        (
            _,
            Some(
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "ExpiredToken"
                | "ExpiredTokenException"
                | "InvalidToken"
                | "TokenRefreshRequired"
                | "InvalidSecurity"
                | "MissingSecurityHeader"
                | "MissingAuthenticationToken"
                | "NotSignedUp"
                | "RequestExpired"
                | "RequestTimeTooSkewed"
                | "AuthorizationHeaderMalformed"
                | "InvalidClientTokenId"
                | "UnrecognizedClientException",
            ),
        ) => Credentials,
        (
            _,
            Some(
                "SlowDown"
                | "TooManyRequests"
                | "RequestLimitExceeded"
                | "Throttling"
                | "ThrottlingException",
            ),
        ) => Throttled,
        // The body did not arrive whole: the store noticed.
        (
            400,
            Some(
                "BadDigest"
                | "IncompleteBody"
                | "InvalidDigest"
                | "XAmzContentSHA256Mismatch"
                | "XAmzContentChecksumMismatch"
                | "ChecksumMismatch",
            ),
        ) => CutBody,
        (400, Some("RequestTimeout")) => Timeout,
        (_, Some("NotImplemented")) | (501, _) => Unsupported,
        // A store that knows no conditions may call the header an invalid argument.
        (400, Some("InvalidArgument" | "InvalidRequest" | "UnsupportedHeader" | "BadRequest"))
            if operation == Operation::PutNew =>
        {
            Unsupported
        }
        (405, Some(_)) => Unsupported,
        (401, Some(_)) => Credentials,
        (403, Some(_)) => Denied,
        (412, _) if operation == Operation::PutNew => AlreadyExists,
        (409, Some(_)) => Conflict,
        (416, _) if operation == Operation::GetRange => OutOfRange,
        (429 | 503, _) => Throttled,
        (500 | 502 | 504, _) => Server,
        (500..=599, _) => Server,
        // A redirection to another region, a refusal that S3 does not know, a page.
        _ => BadAnswer,
    }
}

/// The first `T` in the chain of causes.
pub(super) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    std::iter::successors(Some(error), |&e| e.source()).find_map(|e| e.downcast_ref())
}

/// The chain of causes in one line, from the first that `starts` says (or the second: the first names only the SDK's
/// phase), without repetitions.
pub(super) fn chain(
    error: &(dyn Error + 'static),
    starts: impl Fn(&(dyn Error + 'static)) -> bool,
) -> String {
    let all: Vec<_> = std::iter::successors(Some(error), |&e| e.source()).collect();
    let from = all.iter().position(|e| starts(*e)).unwrap_or(1.min(all.len() - 1));
    let mut line = String::new();
    for part in &all[from..] {
        let text = part.to_string();
        if !text.is_empty() && !line.contains(&text) {
            line.push_str(if line.is_empty() { "" } else { ": " });
            line.push_str(&text);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use StoreErrorKind::*;

    #[test]
    fn layers_of_the_client_are_not_told() {
        for (text, told) in [
            ("io error: client error (Connect): tcp connect error: refused", "no connection: refused"),
            ("client error (Connect): invalid peer certificate", "no connection: invalid peer certificate"),
            (
                "connection closed before message completed",
                "the connection broke: connection closed before message completed",
            ),
        ] {
            assert_eq!(connection(text), told);
        }
    }

    #[test]
    fn retry_after_in_seconds() {
        assert_eq!(parse_retry_after("0"), Some(Duration::ZERO));
        assert_eq!(parse_retry_after(" 120 "), Some(Duration::from_secs(120)));
        for other in ["", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999999999999"] {
            assert_eq!(parse_retry_after(other), None, "{other}");
        }
    }

    #[test]
    fn answers_and_what_to_do_about_them() {
        let kind = |operation, status, code| of_answer(operation, Answer { status, code });
        for (status, code, expected) in [
            (404, Some("NoSuchKey"), NotFound),
            (404, Some("NoSuchBucket"), NoBucket),
            (404, None, BadAnswer),
            (404, Some("SomethingElse"), BadAnswer),
            (403, Some("AccessDenied"), Denied),
            (403, Some("SignatureDoesNotMatch"), Credentials),
            (403, Some("InvalidAccessKeyId"), Credentials),
            (400, Some("ExpiredToken"), Credentials),
            (403, Some("RequestTimeTooSkewed"), Credentials),
            (403, None, BadAnswer),
            (401, None, BadAnswer),
            (416, Some("InvalidRange"), OutOfRange),
            (429, None, Throttled),
            (503, Some("SlowDown"), Throttled),
            (503, None, Throttled),
            (500, Some("InternalError"), Server),
            (502, None, Server),
            (504, None, Server),
            (400, Some("BadDigest"), CutBody),
            (400, Some("RequestTimeout"), Timeout),
            (400, Some("InvalidArgument"), BadAnswer),
            (501, Some("NotImplemented"), Unsupported),
            (301, Some("PermanentRedirect"), BadAnswer),
            (200, None, BadAnswer),
        ] {
            assert_eq!(kind(Operation::GetRange, status, code), expected, "{status} {code:?}");
        }
        for (status, code, expected) in [
            (412, Some("PreconditionFailed"), AlreadyExists),
            (412, None, AlreadyExists),
            (409, Some("ConditionalRequestConflict"), Conflict),
            (501, None, Unsupported),
            (400, Some("InvalidArgument"), Unsupported),
            (500, Some("InternalError"), Server),
        ] {
            assert_eq!(kind(Operation::PutNew, status, code), expected, "{status} {code:?}");
        }
        assert_eq!(kind(Operation::Put, 412, Some("PreconditionFailed")), BadAnswer);
    }
}
