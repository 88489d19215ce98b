//! Whom requests are signed as.
//!
//! The sources are those of AWS's tools, in their order: environment, profile (with roles, SSO, external processes), web
//! identity (Kubernetes), container service, instance metadata. Every load starts from scratch, so a token that another
//! program renews in `~/.aws/credentials` is seen; a load happens when the present ones near their end, are a quarter of
//! an hour old, or were refused by the store as expired.
//!
//! The instance-metadata service (169.254.169.254) is asked only where the machine's firmware says "Amazon EC2", or where
//! `AWS_EC2_METADATA_SERVICE_ENDPOINT` names one: everywhere else its address answers nothing, and a missing credential
//! would be reported only after seconds of silence.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aws_config::Region;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::config::SharedHttpClient;
use tokio::sync::Mutex;

use super::config::AccessKeys;
use super::error::chain;

type Identity = aws_credential_types::Credentials;

/// Credentials without an end are looked for anew after this long.
const RENEW: Duration = Duration::from_secs(15 * 60);

/// Those with an end are renewed this long before it: longer than any one request.
const AHEAD: Duration = Duration::from_secs(5 * 60);

/// A load that takes longer has failed (roles may take several requests).
const LOAD: Duration = Duration::from_secs(20);

/// The sources are asked at most this often because of refusals, or because what they gave is near its end.
const AGAIN: Duration = Duration::from_secs(5);

/// Credentials that renew themselves. Clones share them.
#[derive(Clone)]
pub(super) struct Credentials {
    shared: Arc<Shared>,
}

struct Shared {
    source: Source,
    state: Mutex<State>,
    /// Counts changes of the identity.
    generation: AtomicU64,
}

#[derive(Default)]
struct State {
    loaded: Option<Loaded>,
    refused_at: Option<Instant>,
}

enum Source {
    Fixed(Identity),
    /// AWS's usual ones.
    Search(Search),
}

/// What the search needs to know.
struct Search {
    profile: Option<String>,
    /// Where roles are assumed and SSO is asked.
    region: Region,
    client: SharedHttpClient,
}

/// Where credentials were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialsOrigin {
    /// Given as keys ([`super::S3Options::keys`]).
    Options,
    /// `AWS_ACCESS_KEY_ID` and its like.
    Environment,
    /// This profile in the files under `~/.aws`, with whatever it refers to: keys, a role, SSO, a program.
    Profile(String),
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`: a service account of Kubernetes.
    WebIdentity,
    /// `AWS_CONTAINER_CREDENTIALS_*`: the agent of a container service.
    Container,
    /// The metadata service of an EC2 instance.
    InstanceMetadata,
}

impl fmt::Display for CredentialsOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options => f.write_str("the keys that were given"),
            Self::Environment => f.write_str("the environment (AWS_ACCESS_KEY_ID)"),
            Self::Profile(name) => write!(f, "profile {name} of ~/.aws"),
            Self::WebIdentity => f.write_str("a web identity (AWS_WEB_IDENTITY_TOKEN_FILE)"),
            Self::Container => f.write_str("the container service (AWS_CONTAINER_CREDENTIALS_*)"),
            Self::InstanceMetadata => f.write_str("the instance metadata of EC2"),
        }
    }
}

#[derive(Clone)]
struct Loaded {
    identity: Identity,
    /// When its source was last asked.
    asked: Instant,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// These.
    pub(super) fn fixed(keys: &AccessKeys) -> Self {
        let AccessKeys { access_key, secret_key, session_token } = keys.clone();
        let identity = Identity::new(access_key, secret_key, session_token, None, "options");
        Self::of(Source::Fixed(identity))
    }

    /// Credentials from AWS's usual sources; roles are assumed and SSO is asked in `region` through `client`.
    pub(super) fn found(profile: Option<String>, region: Region, client: SharedHttpClient) -> Self {
        Self::of(Source::Search(Search { profile, region, client }))
    }

    fn of(source: Source) -> Self {
        Self { shared: Arc::new(Shared { source, state: Mutex::default(), generation: AtomicU64::new(0) }) }
    }

    /// A number that changes with the identity: to be taken before a request that may be refused.
    pub(super) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// The store has called the credentials of `generation` expired or unknown. Looks for others: `true` when there are
    /// some by now.
    pub(super) async fn renew_refused(&self, generation: u64) -> bool {
        let mut state = self.shared.state.lock().await;
        // Of many requests refused together, the first looks for all.
        if self.generation() != generation {
            return true;
        }
        if state.refused_at.is_some_and(|at| at.elapsed() < AGAIN) {
            return false;
        }
        state.refused_at = Some(Instant::now());
        if let Ok((identity, _)) = self.load().await {
            self.keep(&mut state, identity);
        }
        self.generation() != generation
    }

    async fn current(&self) -> Result<Identity, CredentialsError> {
        let mut state = self.shared.state.lock().await;
        if let Some(loaded) = state.loaded.as_ref().filter(|loaded| !loaded.is_due()) {
            return Ok(loaded.identity.clone());
        }
        match self.load().await {
            Ok((identity, _)) => {
                self.keep(&mut state, identity.clone());
                Ok(identity)
            }
            // The source is away for the moment, and what we have is good for a while yet.
            Err(error) => match state.loaded.as_mut().filter(|loaded| !loaded.is_over()) {
                Some(loaded) => {
                    tracing::warn!(%error, "credentials could not be renewed; the present ones are used on");
                    loaded.asked = Instant::now();
                    Ok(loaded.identity.clone())
                }
                None => Err(error),
            },
        }
    }

    fn keep(&self, state: &mut State, identity: Identity) {
        // The first identity is no change: nothing can have been refused before it.
        if state.loaded.as_ref().is_some_and(|loaded| loaded.identity != identity) {
            self.shared.generation.fetch_add(1, Ordering::Release);
        }
        state.loaded = Some(Loaded { identity, asked: Instant::now() });
    }

    /// Asks the sources now.
    pub(super) async fn load(&self) -> Result<(Identity, CredentialsOrigin), CredentialsError> {
        let search = match &self.shared.source {
            Source::Fixed(identity) => return Ok((identity.clone(), CredentialsOrigin::Options)),
            Source::Search(search) => search,
        };
        match tokio::time::timeout(LOAD, search.run()).await {
            Ok(result) => result,
            Err(_) => Err(CredentialsError::provider_timed_out(LOAD)),
        }
    }
}

impl Search {
    /// The first source that has credentials. One that should have some and fails ends the search: the next would sign
    /// as somebody else.
    async fn run(&self) -> Result<(Identity, CredentialsOrigin), CredentialsError> {
        let mut asked = Vec::new();
        for (origin, provider) in self.sources() {
            match provider.provide_credentials().await {
                Ok(identity) => {
                    tracing::debug!(%origin, "credentials found");
                    return Ok((identity, origin));
                }
                Err(error @ CredentialsError::CredentialsNotLoaded(_)) => {
                    // A profile that is not there was misspelt, perhaps; elsewhere there is no more to say.
                    asked.push(match (&origin, error.source()) {
                        (CredentialsOrigin::Profile(_), Some(why)) => {
                            format!("{origin} ({})", chain(why, |_| true))
                        }
                        _ => origin.to_string(),
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Err(CredentialsError::not_loaded(format!("none in {}", asked.join(", nor in "))))
    }

    fn sources(&self) -> Vec<(CredentialsOrigin, SharedCredentialsProvider)> {
        let Self { profile, region, client } = self;
        let config = ProviderConfig::without_region()
            .with_region(Some(region.clone()))
            .with_http_client(client.clone());
        let mut files = ProfileFileCredentialsProvider::builder().configure(&config);
        if let Some(name) = profile {
            files = files.profile_name(name);
        }
        let named = || std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
        let name = profile.clone().or_else(named).unwrap_or_else(|| "default".into());
        let files = (CredentialsOrigin::Profile(name), SharedCredentialsProvider::new(files.build()));
        let environment = EnvironmentVariableCredentialsProvider::new();
        let environment = (CredentialsOrigin::Environment, SharedCredentialsProvider::new(environment));
        // A profile that was asked for by name goes first, as with AWS's tools.
        let mut sources = if profile.is_some() { vec![files, environment] } else { vec![environment, files] };
        let identity = WebIdentityTokenCredentialsProvider::builder().configure(&config).build();
        sources.push((CredentialsOrigin::WebIdentity, SharedCredentialsProvider::new(identity)));
        let container = EcsCredentialsProvider::builder().configure(&config).build();
        sources.push((CredentialsOrigin::Container, SharedCredentialsProvider::new(container)));
        if on_ec2() {
            let metadata = ImdsCredentialsProvider::builder().configure(&config).build();
            sources.push((CredentialsOrigin::InstanceMetadata, SharedCredentialsProvider::new(metadata)));
        }
        sources
    }
}

impl ProvideCredentials for Credentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.current())
    }
}

impl Loaded {
    fn is_due(&self) -> bool {
        match self.identity.expiry() {
            Some(end) => end <= SystemTime::now() + AHEAD && self.asked.elapsed() >= AGAIN,
            None => self.asked.elapsed() >= RENEW,
        }
    }

    fn is_over(&self) -> bool {
        self.identity.expiry().is_some_and(|end| end <= SystemTime::now())
    }
}

/// Whether this machine has an instance-metadata service worth asking.
pub(super) fn on_ec2() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if set("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return false;
    }
    if set("AWS_EC2_METADATA_SERVICE_ENDPOINT").is_some() {
        return true;
    }
    // Nitro instances say so in the first, Xen instances in the second.
    let says = |path: &str, text: &str| {
        std::fs::read_to_string(path).is_ok_and(|found| found.trim().to_ascii_lowercase().starts_with(text))
    };
    says("/sys/class/dmi/id/sys_vendor", "amazon ec2") || says("/sys/hypervisor/uuid", "ec2")
}
