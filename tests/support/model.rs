//! An S3 server in this process, on the `s3s` protocol crate, that keeps its conditions, ignores them, or races.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use atfs::store::{AccessKeys, S3Options, S3Store};
use bytes::Bytes;
use futures_util::TryStreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::*;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Check and commit under one lock.
    Honest,
    /// `If-None-Match` is not looked at.
    IgnoresConditions,
    /// Looks before it reads the body and writes when it has it: as s3s-fs does.
    RacyBeforeBody,
    /// Looks when it has the body and writes a moment later.
    RacyAfterBody,
    /// `If-None-Match` is answered with 501.
    NoConditions,
    /// Every other conditional write that succeeds is answered with 500.
    LosesAnswers,
    /// The session's token has expired.
    ExpiredToken,
    /// Everything is answered with 403.
    Denies,
    /// Ranges are not looked at: 200 and the whole object.
    IgnoresRanges,
    /// Objects may be written and read, but not deleted.
    KeepsObjects,
    /// The next record of a log is written and its answer lost; from then on everything is answered with 403.
    LosesAnswerForGood,
    /// The next record of a log is lost on its way, and its answer, too; from then on everything is answered with 403.
    LosesRecordForGood,
    /// The client's clock is called wrong.
    Skewed,
}

/// The server; it ends with the runtime it was started on.
#[derive(Debug)]
pub struct Model {
    pub endpoint: String,
    pub objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    expired: Arc<Mutex<HashSet<String>>>,
    mode: Arc<Mutex<Mode>>,
}

pub const ACCESS: &str = "MODELACCESS";
pub const SECRET: &str = "MODELSECRET";
/// Another access key with the same secret.
pub const SECOND: &str = "SECONDACCESS";
pub const BUCKET: &str = "bucket";

impl Model {
    pub async fn start(mode: Mode) -> Self {
        Self::serve(mode, None).await
    }

    /// An honest one behind TLS, with a certificate for 127.0.0.1 of the authority in `tests/support/tls/ca.pem`.
    pub async fn start_tls() -> Self {
        Self::serve(Mode::Honest, Some(acceptor())).await
    }

    async fn serve(mode: Mode, tls: Option<TlsAcceptor>) -> Self {
        let objects: Arc<Mutex<BTreeMap<String, Bytes>>> = Arc::default();
        let mode = Arc::new(Mutex::new(mode));
        let handler = Handler { mode: mode.clone(), objects: objects.clone(), writes: Arc::default() };
        let mut builder = S3ServiceBuilder::new(handler);
        let expired: Arc<Mutex<HashSet<String>>> = Arc::default();
        builder.set_auth(Keys { mode: mode.clone(), expired: expired.clone() });
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (service, tls) = (service.clone(), tls.clone());
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = match tls {
                        None => server.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        Self { endpoint, objects, expired, mode }
    }

    /// From now on this access key's token is called expired.
    pub fn expire(&self, access_key: &str) {
        self.expired.lock().unwrap().insert(access_key.to_owned());
    }

    pub fn options(&self) -> S3Options {
        S3Options {
            endpoint_url: Some(self.endpoint.clone()),
            region: Some("us-east-1".into()),
            keys: Some(AccessKeys {
                access_key: ACCESS.into(),
                secret_key: SECRET.into(),
                session_token: None,
            }),
            ..S3Options::default()
        }
    }

    /// The environment to reach it from another process.
    pub fn environment(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ACCESS_KEY_ID", ACCESS),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_REGION", "us-east-1"),
        ]
    }

    /// From now on it behaves so.
    pub fn behave(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub async fn store(&self) -> S3Store {
        S3Store::open(BUCKET, "root", &self.options()).await.unwrap()
    }
}

fn acceptor() -> TlsAcceptor {
    let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls").join(name);
    let chain = CertificateDer::pem_file_iter(file("server.pem")).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()))
}

struct Keys {
    mode: Arc<Mutex<Mode>>,
    expired: Arc<Mutex<HashSet<String>>>,
}

fn expired() -> s3s::S3Error {
    s3_error!(ExpiredToken, "The provided token has expired.")
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let mode = *self.mode.lock().unwrap();
        match (mode, access_key) {
            (Mode::ExpiredToken, _) => Err(expired()),
            (Mode::Skewed, _) => Err(s3_error!(
                RequestTimeTooSkewed,
                "The difference between the request time and the server's time is too large."
            )),
            (_, key) if self.expired.lock().unwrap().contains(key) => Err(expired()),
            (_, ACCESS | SECOND) => Ok(SecretKey::from(SECRET)),
            _ => Err(s3_error!(InvalidAccessKeyId, "no such key")),
        }
    }
}

#[derive(Clone)]
struct Handler {
    mode: Arc<Mutex<Mode>>,
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    writes: Arc<AtomicUsize>,
}

impl Handler {
    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap()
    }

    fn check(&self, bucket: &str) -> S3Result<()> {
        if bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket, "no such bucket"));
        }
        if self.mode() == Mode::Denies { Err(s3_error!(AccessDenied, "no")) } else { Ok(()) }
    }

    fn etag(body: &[u8]) -> Option<ETag> {
        Some(ETag::Strong(blake3::hash(body).to_hex()[..32].to_owned()))
    }
}

#[async_trait::async_trait]
impl S3 for Handler {
    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        self.check(&input.bucket)?;
        let Some(body) = self.objects.lock().unwrap().get(&input.key).cloned() else {
            return Err(s3_error!(NoSuchKey, "no such key"));
        };
        let mut output = GetObjectOutput { e_tag: Self::etag(&body), ..Default::default() };
        let part = match input.range.filter(|_| self.mode() != Mode::IgnoresRanges) {
            Some(range) => {
                let whole = body.len() as u64;
                let range = range.check(whole).map_err(|_| s3_error!(InvalidRange, "behind the end"))?;
                output.content_range = Some(format!("bytes {}-{}/{whole}", range.start, range.end - 1));
                body.slice(range.start as usize..range.end as usize)
            }
            None => body,
        };
        output.content_length = Some(part.len() as i64);
        output.body = Some(StreamingBlob::from(s3s::Body::from(part)));
        Ok(S3Response::new(output))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        self.check(&input.bucket)?;
        let conditional = input.if_none_match.is_some();
        let mode = self.mode();
        if conditional && mode == Mode::NoConditions {
            return Err(s3_error!(
                NotImplemented,
                "A header you provided implies functionality not implemented"
            ));
        }
        let exists = || s3_error!(PreconditionFailed, "it exists");
        if conditional
            && mode == Mode::RacyBeforeBody
            && self.objects.lock().unwrap().contains_key(&input.key)
        {
            return Err(exists());
        }
        let mut body = Vec::new();
        if let Some(mut stream) = input.body {
            while let Some(chunk) = stream.try_next().await.map_err(|_| s3_error!(IncompleteBody))? {
                body.extend_from_slice(&chunk);
            }
        }
        if conditional && mode == Mode::RacyAfterBody {
            if self.objects.lock().unwrap().contains_key(&input.key) {
                return Err(exists());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let body = Bytes::from(body);
        let e_tag = Self::etag(&body);
        {
            let mut objects = self.objects.lock().unwrap();
            let checked = conditional
                && !matches!(mode, Mode::IgnoresConditions | Mode::RacyBeforeBody | Mode::RacyAfterBody);
            if checked && objects.contains_key(&input.key) {
                return Err(exists());
            }
            let for_good = matches!(mode, Mode::LosesAnswerForGood | Mode::LosesRecordForGood);
            if for_good && conditional && input.key.contains("/refs/") {
                if mode == Mode::LosesAnswerForGood {
                    objects.insert(input.key.clone(), body);
                }
                *self.mode.lock().unwrap() = Mode::Denies;
                return Err(s3_error!(InternalError, "lost"));
            }
            objects.insert(input.key.clone(), body);
        }
        if conditional && mode == Mode::LosesAnswers {
            let odd = self.writes.fetch_add(1, Ordering::SeqCst) & 1 == 1;
            if odd {
                return Err(s3_error!(InternalError, "lost"));
            }
        }
        Ok(S3Response::new(PutObjectOutput { e_tag, ..Default::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        self.check(&input.bucket)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.continuation_token.clone().or(input.start_after.clone()).unwrap_or_default();
        let most = input.max_keys.unwrap_or(1000).clamp(1, 1000) as usize;
        let mut output = ListObjectsV2Output { is_truncated: Some(false), ..Default::default() };
        let (mut contents, mut groups) = (Vec::new(), Vec::<String>::new());
        let mut last = String::new();
        for (key, body) in self.objects.lock().unwrap().iter().filter(|(key, _)| key.starts_with(&prefix)) {
            let folded = input.delimiter.as_ref().and_then(|delimiter| {
                let end = key[prefix.len()..].find(delimiter.as_str())? + delimiter.len();
                Some(key[..prefix.len() + end].to_owned())
            });
            let item = folded.clone().unwrap_or_else(|| key.clone());
            let seen = groups.last() == Some(&item);
            // A token names the last item given; a start names a key.
            let behind = if input.continuation_token.is_some() { item > after } else { *key > after };
            if seen || !behind {
                continue;
            }
            if contents.len() + groups.len() == most {
                output.is_truncated = Some(true);
                output.next_continuation_token = Some(last);
                break;
            }
            last = item.clone();
            match folded {
                Some(group) => groups.push(group),
                None => contents.push(Object {
                    key: Some(item),
                    size: Some(body.len() as i64),
                    last_modified: Some(SystemTime::now().into()),
                    ..Default::default()
                }),
            }
        }
        output.contents = Some(contents);
        let groups = groups.into_iter().map(|group| CommonPrefix { prefix: Some(group) }).collect();
        output.common_prefixes = Some(groups);
        Ok(S3Response::new(output))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.check(&request.input.bucket)?;
        if self.mode() == Mode::KeepsObjects {
            return Err(s3_error!(AccessDenied, "nothing is deleted here"));
        }
        self.objects.lock().unwrap().remove(&request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }
}
