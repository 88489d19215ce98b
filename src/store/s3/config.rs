//! From [`S3Options`], the environment and AWS's files to a client.
//!
//! What is not said in the options comes from where AWS's own tools take it: `AWS_*` variables, `~/.aws/config`. Two things
//! differ on purpose. The instance-metadata service is asked only on an EC2 instance (see `credentials.rs`), so that no
//! command waits for it elsewhere. And the SDK neither retries nor times out: [`crate::store::RetryStore`] and
//! `S3Store` do both, once.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{AppName, BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, IdentityCache, ResponseChecksumValidation, SharedCredentialsProvider,
    StalledStreamProtectionConfig,
};
use aws_types::service_config::ServiceConfigKey;

use super::credentials::{Credentials, on_ec2};
use super::http;
use crate::store::{StoreError, StoreErrorKind};

/// How a bucket is reached. Everything that is `None` comes from the environment and AWS's configuration files.
#[derive(Debug, Clone, Default)]
pub struct S3Options {
    /// `http://host:port` or `https://host` of a store other than AWS.
    pub endpoint_url: Option<String>,
    /// The region; without any, `us-east-1`.
    pub region: Option<String>,
    /// The profile in `~/.aws`; a profile named here goes before credentials in the environment.
    pub profile: Option<String>,
    /// Fixed keys, for programs that have them from elsewhere; nothing else is asked for any then.
    pub keys: Option<AccessKeys>,
    /// How the bucket's name travels.
    pub addressing: Addressing,
    /// A PEM file with the authorities to trust instead of the system's; also `AWS_CA_BUNDLE`.
    pub ca_bundle: Option<PathBuf>,
    /// Server-side encryption of new objects.
    pub encryption: Encryption,
    /// How long to wait for what.
    pub timeouts: S3Timeouts,
}

/// A key pair, and the token that belongs to a temporary one.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKeys {
    /// The public half.
    pub access_key: String,
    /// The secret half.
    pub secret_key: String,
    /// The session's token.
    pub session_token: Option<String>,
}

impl fmt::Debug for AccessKeys {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKeys").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// Where the bucket's name stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressing {
    /// In the path when an endpoint is set, in the host's name otherwise.
    #[default]
    Auto,
    /// In the path.
    Path,
    /// In the host's name.
    Host,
}

/// What the store is asked to encrypt new objects with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Encryption {
    /// As the bucket's own settings say.
    #[default]
    BucketDefault,
    /// Keys of the store (`AES256`).
    Managed,
    /// A key of the key management service; `None` is the account's default key.
    Kms(Option<String>),
}

/// Waits of one request. Each of them ends it.
#[derive(Debug, Clone)]
pub struct S3Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the first byte of the answer, after the request's body has had its time (`min_rate`). A read waits less for
    /// a store that is usually faster.
    pub answer: Duration,
    /// Without progress of a body; likewise less with a store that is usually faster.
    pub stall: Duration,
    /// A body moves at least so many bytes per second.
    pub min_rate: u64,
}

impl Default for S3Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(20),
            stall: Duration::from_secs(15),
            // A bad mobile link; below it a 64 MiB pack would take a quarter of an hour.
            min_rate: 64 << 10,
        }
    }
}

/// A client, the credentials that it signs with, and its endpoint for people.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) credentials: Credentials,
    pub(super) endpoint: Endpoint,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// AWS's own, by region.
    Aws(String),
    /// This URL.
    Url(String),
}

pub(super) async fn connect(options: &S3Options, bucket: &str) -> Result<Connected, StoreError> {
    let fail = |detail: String| {
        StoreError::new(StoreErrorKind::BadAnswer, "open", "", format!("s3://{bucket}"), detail)
    };
    // For everything that is not the bucket itself: STS, SSO, the metadata service.
    let pem = http::read_bundle(options.ca_bundle.as_deref()).map_err(&fail)?;
    let side = http::client(http::Target::Anything, pem.clone(), options.timeouts.connect);
    let region = region(options, &side).await;
    let credentials = match &options.keys {
        Some(keys) => Credentials::fixed(keys),
        None => Credentials::found(options.profile.clone(), region.clone(), side.clone()),
    };

    let mut loader: ConfigLoader = aws_config::defaults(BehaviorVersion::latest())
        .region(region.clone())
        .http_client(side)
        .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
        // `Credentials` caches by itself, so that it can be told when the store calls them expired.
        .identity_cache(IdentityCache::no_cache())
        .app_name(AppName::new("atfs").map_err(|e| fail(e.to_string()))?)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    let shared = loader.load().await;
    let url = options.endpoint_url.clone().or_else(|| configured_endpoint(&shared));
    if let Some(url) = &url
        && !(url.starts_with("http://") || url.starts_with("https://"))
    {
        return Err(fail(format!("the endpoint {url:?} must begin with http:// or https://")));
    }
    let path_style = match options.addressing {
        Addressing::Auto => url.is_some(),
        Addressing::Path => true,
        Addressing::Host => false,
    };
    let mut builder = Builder::from(&shared)
        .http_client(http::client(http::Target::of(url.as_deref()), pem, options.timeouts.connect))
        .force_path_style(path_style)
        // What is read is checked against our own hashes; what is written carries the SDK's CRC32 (free) and a signed
        // SHA-256, so that a store refuses a damaged upload.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(url) = &url {
        builder = builder.endpoint_url(url);
    }
    let endpoint = match url {
        Some(url) => Endpoint::Url(url),
        None => Endpoint::Aws(region.to_string()),
    };
    Ok(Connected { client: Client::from_conf(builder.build()), credentials, endpoint })
}

/// The endpoint that the environment or a profile names for S3, or for everything.
fn configured_endpoint(shared: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    let url = shared.service_config().and_then(|config| config.load_config(key));
    url.or_else(|| shared.endpoint_url().map(str::to_owned)).filter(|url| !url.is_empty())
}

async fn region(options: &S3Options, side: &aws_sdk_s3::config::SharedHttpClient) -> Region {
    let files = ProviderConfig::without_region().with_http_client(side.clone());
    let mut profile = ProfileFileRegionProvider::builder().configure(&files);
    if let Some(name) = &options.profile {
        profile = profile.profile_name(name);
    }
    let mut chain = RegionProviderChain::first_try(options.region.clone().map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(profile.build());
    if on_ec2() {
        chain = chain.or_else(ImdsRegionProvider::builder().configure(&files).build());
    }
    chain.region().await.unwrap_or(Region::from_static("us-east-1"))
}
