//! Everything that is wrong with an endpoint, a bucket or its rights: which error it is, what it says, how soon.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use atfs::store::{
    AccessKeys, Encryption, Key, ListRequest, S3Options, S3Store, S3Timeouts, Store, StoreError,
    StoreErrorKind, StoreOptions,
};
use atfs::types::RepoUrl;
use bytes::Bytes;
use support::canned::{Canned, Then, announced, response, s3_error};
use support::model::{BUCKET, Mode, Model};
use support::servers;

/// Options for an endpoint that asks for no particular keys.
fn options(endpoint: &str) -> S3Options {
    let keys = AccessKeys { access_key: "AK".into(), secret_key: "SK".into(), session_token: None };
    S3Options {
        endpoint_url: Some(endpoint.into()),
        region: Some("us-east-1".into()),
        keys: Some(keys),
        ..S3Options::default()
    }
}

async fn open(options: &S3Options) -> S3Store {
    S3Store::open("bucket", "root", options).await.unwrap()
}

/// The error of each operation.
async fn errors(store: &dyn Store) -> Vec<StoreError> {
    let (key, body) = (Key::new("k"), Bytes::from_static(b"body"));
    vec![
        store.get(&key).await.unwrap_err(),
        store.get_range(&key, 0..4).await.unwrap_err(),
        store.put(&key, body.clone()).await.unwrap_err(),
        store.put_new(&key, body).await.unwrap_err(),
        store.list(&ListRequest::all("")).await.unwrap_err(),
    ]
}

/// Every operation fails so, naming bucket and endpoint and `says`.
async fn all_fail(store: &dyn Store, kind: StoreErrorKind, says: &str) {
    for error in errors(store).await {
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains("s3://") && text.contains("endpoint http"), "{text}");
        assert!(text.contains(says), "{text}");
        assert!(text.len() < 700 && !text.contains('\n'), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bucket() {
    for server in [servers::ministack(), servers::radosgw()].into_iter().flatten() {
        let store = S3Store::open("no-such-bucket", "", &server.options()).await.unwrap();
        all_fail(&store, StoreErrorKind::NoBucket, "NoSuchBucket").await;
        let error = store.delete(&Key::new("k")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NoBucket, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rights() {
    let model = Model::start(Mode::Denies).await;
    all_fail(&model.store().await, StoreErrorKind::Denied, "AccessDenied").await;
    if let Some(server) = servers::radosgw() {
        let bucket = server.new_bucket().await;
        let keys = AccessKeys {
            access_key: "OTHERACCESS".into(),
            secret_key: "OTHERSECRETOTHERSECRET".into(),
            session_token: None,
        };
        let options = S3Options { keys: Some(keys), ..server.options() };
        let store = S3Store::open(&bucket, "", &options).await.unwrap();
        all_fail(&store, StoreErrorKind::Denied, "AccessDenied").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys() {
    let model = Model::start(Mode::Honest).await;
    let wrong = |access: &str, secret: &str| {
        let keys = AccessKeys { access_key: access.into(), secret_key: secret.into(), session_token: None };
        S3Options { keys: Some(keys), ..model.options() }
    };
    for (access, secret, code) in
        [("NOBODY", "x", "InvalidAccessKeyId"), (support::model::ACCESS, "wrong", "SignatureDoesNotMatch")]
    {
        let store = S3Store::open(BUCKET, "", &wrong(access, secret)).await.unwrap();
        all_fail(&store, StoreErrorKind::Credentials, code).await;
    }
    if let Some(server) = servers::radosgw() {
        let bucket = server.new_bucket().await;
        for (access, secret, code) in
            [("NOBODY", "x", "InvalidAccessKeyId"), ("ATFSACCESS", "wrong", "SignatureDoesNotMatch")]
        {
            let options = S3Options { endpoint_url: Some(server.endpoint.clone()), ..wrong(access, secret) };
            let store = S3Store::open(&bucket, "", &options).await.unwrap();
            all_fail(&store, StoreErrorKind::Credentials, code).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_token() {
    let model = Model::start(Mode::ExpiredToken).await;
    all_fail(&model.store().await, StoreErrorKind::Credentials, "ExpiredToken").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_conditional_writes() {
    let model = Model::start(Mode::NoConditions).await;
    let store = model.store().await;
    let key = Key::new("k");
    store.put(&key, Bytes::from_static(b"1")).await.unwrap();
    let error = store.put_new(&key, Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsupported, "{error}");
    assert!(!error.is_ambiguous() && !error.is_transient());
    // Others call the header a bad argument.
    let canned = Canned::start(|_| s3_error("400 Bad Request", "InvalidArgument"), Then::Close).await;
    let error = open(&options(&canned.endpoint)).await.put_new(&key, Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsupported, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_listens() {
    let endpoint = format!("http://127.0.0.1:{}", servers::free_port());
    all_fail(&open(&options(&endpoint)).await, StoreErrorKind::Unreachable, "refused").await;
    // Retried, but for seconds and not for the whole deadline.
    let url = RepoUrl::S3 { bucket: "bucket".into(), prefix: "root".into() };
    let options = StoreOptions { s3: options(&endpoint), ..StoreOptions::default() };
    let store = atfs::store::open(&url, &options).await.unwrap().store;
    let began = Instant::now();
    let error = store.get(&Key::new("k")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unreachable, "{error}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_such_host() {
    let store = open(&options("http://no-such-host.invalid:9000")).await;
    all_fail(&store, StoreErrorKind::Unreachable, "no connection").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_where_there_is_none() {
    let canned = Canned::start(|_| response("200 OK", &[], b""), Then::Close).await;
    let store = open(&options(&canned.endpoint.replace("http:", "https:"))).await;
    all_fail(&store, StoreErrorKind::Unreachable, "").await;
}

/// An authority of the site's own is trusted when its bundle is given, and not otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_the_sites_own() {
    let model = Model::start_tls().await;
    let tls = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls");
    let trusting = |bundle: &str| S3Options { ca_bundle: Some(tls.join(bundle)), ..model.options() };
    let store = S3Store::open(BUCKET, "", &trusting("ca.pem")).await.unwrap();
    store.put_new(&Key::new("k"), Bytes::from_static(b"secret")).await.unwrap();
    assert_eq!(store.get(&Key::new("k")).await.unwrap(), "secret");
    // Only the bundle's authorities count: the system's do not, nor does the server's certificate by itself.
    let other = S3Store::open(BUCKET, "", &trusting("server.pem")).await.unwrap();
    all_fail(&other, StoreErrorKind::Unreachable, "certificate").await;
    let system = S3Store::open(BUCKET, "", &model.options()).await.unwrap();
    all_fail(&system, StoreErrorKind::Unreachable, "certificate").await;
}

const PAGE: &[u8] = b"<!DOCTYPE html><html><body>It works!</body></html>";

/// A web server instead of S3, whatever it says: never "not found", never success.
#[tokio::test(flavor = "multi_thread")]
async fn a_web_server() {
    for status in
        ["200 OK", "301 Moved Permanently", "403 Forbidden", "404 Not Found", "405 Method Not Allowed"]
    {
        let html = [("content-type", "text/html")];
        let canned = Canned::start(move |_| response(status, &html, PAGE), Then::Close).await;
        all_fail(&open(&options(&canned.endpoint)).await, StoreErrorKind::BadAnswer, "S3").await;
    }
    let canned = Canned::start(|_| response("404 Not Found", &[], b""), Then::Close).await;
    all_fail(&open(&options(&canned.endpoint)).await, StoreErrorKind::BadAnswer, "404").await;
    let canned = Canned::start(|_| response("503 Service Unavailable", &[], PAGE), Then::Close).await;
    all_fail(&open(&options(&canned.endpoint)).await, StoreErrorKind::Throttled, "503").await;
    let canned = Canned::start(|_| response("502 Bad Gateway", &[], PAGE), Then::Close).await;
    all_fail(&open(&options(&canned.endpoint)).await, StoreErrorKind::Server, "502").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol() {
    let canned = Canned::start(|_| b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(), Then::Close).await;
    all_fail(&open(&options(&canned.endpoint)).await, StoreErrorKind::BadAnswer, "does not speak HTTP").await;
}

/// The server takes the request and closes: whether it had an effect nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_ambiguous() {
    let canned = Canned::start(|_| Vec::new(), Then::Close).await;
    let store = open(&options(&canned.endpoint)).await;
    let error = store.put_new(&Key::new("k"), Bytes::new()).await.unwrap_err();
    assert!(error.is_ambiguous(), "{error}");
    assert_eq!(canned.requests(), 1, "a creation is sent once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_repeats_nothing() {
    for answer in ["500 Internal Server Error", "503 Slow Down", "409 Conflict"] {
        let canned = Canned::start(move |_| s3_error(answer, "Whatever"), Then::Close).await;
        let store = open(&options(&canned.endpoint)).await;
        let count = errors(&store).await.len();
        assert_eq!(canned.requests(), count, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_region() {
    let moved = |_: &str| {
        let body = "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>";
        response("301 Moved Permanently", &[("x-amz-bucket-region", "eu-west-1")], body.as_bytes())
    };
    let canned = Canned::start(moved, Then::Close).await;
    all_fail(&open(&options(&canned.endpoint)).await, StoreErrorKind::BadAnswer, "region eu-west-1").await;
}

fn quick(endpoint: &str) -> S3Options {
    let timeouts = S3Timeouts {
        connect: Duration::from_millis(500),
        answer: Duration::from_millis(500),
        stall: Duration::from_millis(300),
        min_rate: 1 << 20,
    };
    S3Options { timeouts, ..options(endpoint) }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends() {
    let canned = Canned::start(|_| Vec::new(), Then::Hang).await;
    let began = Instant::now();
    all_fail(&open(&quick(&canned.endpoint)).await, StoreErrorKind::Timeout, "no answer within 1.0 s").await;
    assert!(began.elapsed() < Duration::from_secs(8));
}

const ETAG: [(&str, &str); 1] = [("etag", "\"x\"")];

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_end_early_or_never() {
    let key = Key::new("k");
    for (then, kind) in [(Then::Close, StoreErrorKind::CutBody), (Then::Hang, StoreErrorKind::Timeout)] {
        let canned = Canned::start(|_| announced("200 OK", &ETAG, 100, b"only this"), then).await;
        let store = open(&quick(&canned.endpoint)).await;
        let error = store.get(&key).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("9 of 100 bytes"), "{error}");
        let error = store.get_range(&key, 2..50).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        // What of the whole object is behind the range is not waited for.
        assert_eq!(store.get_range(&key, 2..6).await.unwrap(), "ly t");
    }
}

/// The limits of a read follow what the store has shown: 3 s, and not the 15 s and 25 s that are fixed.
#[tokio::test(flavor = "multi_thread")]
async fn silence_of_a_store_that_is_usually_fast_ends_soon() {
    let (etag, close) = (("etag", "\"x\""), ("connection", "close"));
    let answer = move |head: &str| match head {
        _ if head.contains("/stalls") => announced("200 OK", &[etag, close], 100, b"only this"),
        _ if head.contains("/silent") => Vec::new(),
        _ => response("200 OK", &[etag, close], b"abcd"),
    };
    let canned = Canned::start(answer, Then::Hang).await;
    let store = open(&options(&canned.endpoint)).await;
    for _ in 0..30 {
        assert_eq!(store.get(&Key::new("k")).await.unwrap(), "abcd");
    }
    let began = Instant::now();
    let (stalls, silent) = (Key::new("stalls"), Key::new("silent"));
    let (stalls, silent) = tokio::join!(store.get_range(&stalls, 2..50), store.get_range(&silent, 2..50));
    assert_eq!(stalls.unwrap_err().kind(), StoreErrorKind::Timeout);
    let error = silent.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout);
    assert!(error.to_string().contains("no answer within 3.0 s"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_names_a_time_is_understood() {
    let body = b"<Error><Code>SlowDown</Code><Message>busy</Message></Error>";
    let answer = |_: &str| response("503 Slow Down", &[("retry-after", "7")], body);
    let canned = Canned::start(answer, Then::Close).await;
    let error = open(&options(&canned.endpoint)).await.get(&Key::new("k")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Throttled, "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_that_end_early() {
    let begin = b"<?xml version=\"1.0\"?><ListBucketResult><Name>bucket</Name><Contents><Key>root/a</K";
    let canned = Canned::start(|_| announced("200 OK", &[], 5000, begin), Then::Close).await;
    let error = open(&quick(&canned.endpoint)).await.list(&ListRequest::all("")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::CutBody, "{error}");
}

/// Answers to a range that are not about that range.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_ranges() {
    for (header, kind) in [
        ("bytes 0-3/100", StoreErrorKind::BadAnswer),
        ("bytes 10-14/100", StoreErrorKind::BadAnswer),
        ("bytes 10-12/100", StoreErrorKind::BadAnswer),
        ("nonsense", StoreErrorKind::BadAnswer),
    ] {
        let answer = move |_: &str| {
            response("206 Partial Content", &[("etag", "\"x\""), ("content-range", header)], b"abcd")
        };
        let canned = Canned::start(answer, Then::Close).await;
        let error =
            open(&options(&canned.endpoint)).await.get_range(&Key::new("k"), 10..14).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{header}: {error}");
    }
    let right = [("etag", "\"x\""), ("content-range", "bytes 10-13/14")];
    let canned = Canned::start(move |_| response("206 Partial Content", &right, b"abcd"), Then::Close).await;
    let store = open(&options(&canned.endpoint)).await;
    assert_eq!(store.get_range(&Key::new("k"), 10..14).await.unwrap(), "abcd");
    let error = store.get_range(&Key::new("k"), 10..15).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::OutOfRange, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_too_large_is_not_fetched() {
    let canned = Canned::start(|_| announced("200 OK", &ETAG, 1 << 40, b""), Then::Hang).await;
    let error = open(&options(&canned.endpoint)).await.get(&Key::new("k")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::BadAnswer, "{error}");
}

fn listing(keys: &[&str], goes_on: bool) -> Vec<u8> {
    let mut body = format!("<ListBucketResult><Name>b</Name><IsTruncated>{goes_on}</IsTruncated>");
    for key in keys {
        let date = "2026-11-23T10:00:00.000Z";
        body += &format!(
            "<Contents><Key>{key}</Key><Size>1</Size><LastModified>{date}</LastModified></Contents>"
        );
    }
    response("200 OK", &[("content-type", "application/xml")], (body + "</ListBucketResult>").as_bytes())
}

/// Listings that would make a reader believe something wrong, or never end.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_listings() {
    for (keys, goes_on, says) in [
        (&["root/b", "root/a"][..], false, "key order"),
        (&["root/a", "root/a"], false, "key order"),
        (&["other/a"], false, "not under the prefix"),
        (&[], true, "does not say where"),
    ] {
        let canned = Canned::start(move |_| listing(keys, goes_on), Then::Close).await;
        let error = open(&options(&canned.endpoint)).await.list(&ListRequest::all("")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::BadAnswer, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_cannot_be_used() {
    let bundle = S3Options { ca_bundle: Some("/nowhere/ca.pem".into()), ..options("http://127.0.0.1:1") };
    for (options, says) in [(bundle, "/nowhere/ca.pem"), (options("127.0.0.1:9000"), "http:// or https://")] {
        let error = S3Store::open("bucket", "", &options).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// What a request says: the address, the encryption asked for, the checksum, the condition.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent() {
    let heads: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let seen = heads.clone();
    let canned = Canned::start(
        move |head| {
            seen.lock().unwrap().push(head.to_ascii_lowercase());
            response("200 OK", &ETAG, b"")
        },
        Then::Close,
    )
    .await;
    let encryption = Encryption::Kms(Some("my-key".into()));
    let store = open(&S3Options { encryption, ..options(&canned.endpoint) }).await;
    store.put_new(&Key::new("k"), Bytes::from_static(b"body")).await.unwrap();
    let heads = heads.lock().unwrap();
    assert!(heads[0].starts_with("put /bucket/root/k?"), "{}", heads[0]);
    for header in [
        "if-none-match: *\r\n",
        "x-amz-server-side-encryption: aws:kms\r\n",
        "x-amz-server-side-encryption-aws-kms-key-id: my-key\r\n",
        "x-amz-checksum-crc32: ",
        "content-length: 4\r\n",
    ] {
        assert!(heads[0].contains(header), "{header}: {}", heads[0]);
    }
    let unsigned = ["unsigned-payload", "streaming-"].iter().any(|text| heads[0].contains(text));
    assert!(!unsigned, "the body must be signed: {}", heads[0]);
}
