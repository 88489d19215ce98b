//! What a client and the daemon say to each other.
//!
//! A mount takes two requests on one connection. *Prepare* opens the repository and pins the commit, so that an
//! unknown ref or a missing bucket is reported before anything is mounted. Then the client mounts and hands over the
//! descriptor with *attach*; the daemon answers when the kernel's INIT is answered. Until then whoever looks at the
//! mount point waits, so nothing that needs the network lies between the two.
//!
//! Every message carries the version of this protocol; a daemon of another version refuses by name.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cache::{CacheHealth, CacheInfo, Pruned, Verified};
use crate::fs::{Owner, Prefetched, Profile, ProfileChoice};
use crate::store::{AccessKeys, S3Options};
use crate::types::{CommitId, Timestamp};

use super::condition::StoreCondition;
use super::mount::Device;

/// Version of the protocol: raised by every change that the other side would misunderstand.
pub(super) const VERSION: u32 = 4;

/// A message and the version that its sender speaks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Versioned<T> {
    /// [`VERSION`] of the sender.
    pub(super) version: u32,
    /// The message.
    pub(super) message: T,
}

impl<T> Versioned<T> {
    /// A message in this version.
    pub(super) fn new(message: T) -> Self {
        Self { version: VERSION, message }
    }
}

/// Client to daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(super) enum Request {
    /// Open a repository and pin a commit, to be mounted.
    Prepare(Box<MountRequest>),
    /// Serve the descriptor that comes with this message. On the connection of its `Prepare`.
    Attach {
        /// The mount's device number.
        device: Device,
    },
    /// Wait until the mount with this device number is no longer served.
    Settle {
        /// The mount's device number.
        device: Device,
    },
    /// Wait as long as the mount with this device number is served.
    Attend {
        /// The mount's device number.
        device: Device,
    },
    /// Bring files into the cache.
    Prefetch(PrefetchRequest),
    /// Let go of what was brought to stay in the cache.
    Unpin {
        /// The mount's device number.
        device: Device,
    },
    /// All mounts.
    List,
    /// What the cache holds.
    CacheInfo,
    /// Evict from the cache what nobody has open.
    CachePrune {
        /// Until so many bytes are left.
        bytes: u64,
    },
    /// Compare all of the cache with what was written.
    CacheVerify,
    /// Unmount everything and exit.
    Shutdown,
}

/// Daemon to client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(super) enum Reply {
    /// The commit is pinned; mount and attach.
    Prepared {
        /// The pinned commit; `None` for a whole repository.
        commit: Option<CommitId>,
    },
    /// It is served.
    Attached,
    /// It is no longer served.
    Settled,
    /// What was brought so far; more replies follow.
    Progress {
        /// Files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// It was brought.
    Prefetched(Prefetched),
    /// It goes on without the client.
    Started,
    /// So many entries of the cache are pinned no more.
    Unpinned {
        /// Entries.
        entries: usize,
    },
    /// The mounts.
    Mounts {
        /// The daemon.
        pid: u32,
        /// In the order of mounting.
        mounts: Vec<MountStatus>,
    },
    /// What the cache holds.
    CacheInfo(Box<CacheInfo>),
    /// What was evicted.
    CachePruned(Pruned),
    /// How far the comparison is; more replies follow.
    CacheVerifying(Verified),
    /// How the comparison ended.
    CacheVerified(Verified),
    /// It will exit.
    Stopping,
    /// It did not work.
    Failed(Failure),
}

/// What to bring into the cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PrefetchRequest {
    /// Of which mount; `None`: of what was prepared on this connection.
    pub device: Option<Device>,
    /// Paths and globs, byte for byte; none means everything.
    pub patterns: Vec<Vec<u8>>,
    /// How much at once.
    pub jobs: usize,
    /// Whether what is brought stays in the cache as long as the mount.
    pub pin: bool,
    /// Whether the client waits for the end, and the prefetch ends with the client.
    pub wait: bool,
}

/// What to mount and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MountRequest {
    /// The repository: an `s3://` URL or an absolute local path.
    pub url: String,
    /// The revision; `None` mounts the whole repository, one directory per ref.
    pub revision: Option<String>,
    /// Where, canonical.
    #[serde(with = "super::path_text")]
    pub mount_point: PathBuf,
    /// Who owns what it shows.
    pub owner: Owner,
    /// How its files are to be opened.
    pub profile: ProfileChoice,
    /// Within what time a move of the branch is to be seen; `None`: the mount stays at one commit.
    pub follow: Option<Duration>,
    /// How to reach the store.
    pub store: StoreAccess,
}

/// How the client reaches the store. The daemon uses this and not its own environment, which is that of whoever
/// started it first. What AWS keeps in files and behind roles is found by the daemon, which runs as the same user.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoreAccess {
    /// `--endpoint-url`.
    pub endpoint_url: Option<String>,
    /// Those of [`StoreAccess::VARIABLES`] that are set. Values may be secrets.
    pub environment: BTreeMap<String, String>,
}

impl StoreAccess {
    /// The variables that travel with a mount. A daemon is started without them.
    pub const VARIABLES: [&'static str; 9] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL",
        "AWS_CA_BUNDLE",
    ];

    /// What this process's environment says.
    pub fn from_environment() -> Self {
        let set = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let environment =
            Self::VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), set(name)?))).collect();
        Self { endpoint_url: None, environment }
    }

    /// The same as options of the store. Keys go before a profile, as with AWS's own tools.
    pub(super) fn s3_options(&self) -> S3Options {
        let get = |name: &str| self.environment.get(name).cloned();
        let keys =
            get("AWS_ACCESS_KEY_ID").zip(get("AWS_SECRET_ACCESS_KEY")).map(|(access_key, secret_key)| {
                AccessKeys { access_key, secret_key, session_token: get("AWS_SESSION_TOKEN") }
            });
        let endpoint = self.endpoint_url.clone().or_else(|| get("AWS_ENDPOINT_URL_S3"));
        S3Options {
            endpoint_url: endpoint.or_else(|| get("AWS_ENDPOINT_URL")),
            region: get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION")),
            profile: get("AWS_PROFILE").filter(|_| keys.is_none()),
            keys,
            ca_bundle: get("AWS_CA_BUNDLE").map(PathBuf::from),
            ..S3Options::default()
        }
    }
}

/// Names only: values may be secrets.
impl fmt::Debug for StoreAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreAccess")
            .field("endpoint_url", &self.endpoint_url)
            .field("environment", &self.environment.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// One mount, as `atfs mounts` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountStatus {
    /// Where.
    #[serde(with = "super::path_text")]
    pub mount_point: PathBuf,
    /// Its device number.
    pub device: Device,
    /// The repository.
    pub url: String,
    /// The revision as asked for; `None` for a whole repository.
    pub revision: Option<String>,
    /// The pinned commit; `None` for a whole repository.
    pub commit: Option<CommitId>,
    /// How its files are opened.
    pub profile: Profile,
    /// Within what time a move of the branch is seen; `None`: the mount stays at one commit.
    pub follow: Option<Duration>,
    /// Since when.
    pub since: Timestamp,
    /// What it has done so far.
    pub counters: BTreeMap<String, u64>,
    /// How its store is doing.
    pub store: StoreCondition,
    /// How the cache is doing; `None`: the daemon runs without one.
    pub cache: Option<CacheHealth>,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure, for exit codes and hints.
    pub kind: FailureKind,
    /// What happened and why.
    pub message: String,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// Client and daemon speak different versions.
    Version,
    /// The daemon is stopping; ask again.
    Stopping,
    /// The request makes no sense: a bad URL or revision, an attach without a prepare.
    BadRequest,
    /// Not a repository.
    NotARepository,
    /// No such ref or commit.
    UnknownRevision,
    /// A prefix of several commits.
    AmbiguousPrefix,
    /// The store refuses.
    Denied,
    /// No valid credentials.
    Credentials,
    /// The store cannot be reached.
    Unreachable,
    /// The bucket or folder does not exist.
    NoBucket,
    /// What answers is no S3 server, or none that can do what is needed.
    NotS3,
    /// An object of the repository is damaged or missing.
    Damaged,
    /// The repository was made by a newer atfs.
    NewerFormat,
    /// Records of the repository were removed.
    WentBack,
    /// The mount could not be served.
    Mount,
    /// The daemon runs without a cache.
    NoCache,
    /// Anything else.
    #[serde(other)]
    Other,
}

impl Failure {
    /// A failure.
    pub(super) fn new(kind: FailureKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn secrets_are_sent_and_never_shown() {
        let environment = [("AWS_SECRET_ACCESS_KEY".to_owned(), "hunter2".to_owned())].into();
        let store = StoreAccess { endpoint_url: None, environment };
        assert!(!format!("{store:?}").contains("hunter2"));
        assert!(format!("{store:?}").contains("AWS_SECRET_ACCESS_KEY"));
        assert_eq!(store.s3_options().keys, None, "half a pair is none");
        let sent = serde_json::to_string(&store).unwrap();
        assert_eq!(serde_json::from_str::<StoreAccess>(&sent).unwrap(), store);
    }

    #[test]
    fn keys_go_before_a_profile_and_flags_before_variables() {
        let set = |pairs: &[(&str, &str)]| StoreAccess {
            endpoint_url: Some("http://flag".into()),
            environment: pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        };
        let profile =
            [("AWS_PROFILE", "p"), ("AWS_ENDPOINT_URL", "http://variable"), ("AWS_DEFAULT_REGION", "r")];
        let options = set(&profile).s3_options();
        assert_eq!(options.endpoint_url.as_deref(), Some("http://flag"));
        assert_eq!((options.profile.as_deref(), options.region.as_deref()), (Some("p"), Some("r")));
        let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_PROFILE", "p")];
        let options = set(&keys).s3_options();
        assert_eq!(options.profile, None);
        assert_eq!(options.keys.map(|keys| keys.access_key), Some("a".into()));
    }

    #[test]
    fn an_unknown_kind_of_a_newer_daemon_is_still_a_failure() {
        let failure: Failure = serde_json::from_str(r#"{"kind":"quota","message":"full"}"#).unwrap();
        assert_eq!(failure.kind, FailureKind::Other);
    }
}
