//! Files into the cache, by the daemon.

use std::path::{Path, PathBuf};

use crate::fs::{Owner, Prefetched, ProfileChoice};
use crate::types::{Progress, Stage};

use super::super::error::DaemonError;
use super::super::folder::Folder;
use super::super::launch::Launch;
use super::super::mount::{Device, MountError};
use super::super::protocol::{MountRequest, PrefetchRequest, Reply, Request, StoreAccess};
use super::{Daemon, existing};

/// What to bring into the cache.
#[derive(Debug, Clone)]
pub struct PrefetchOrder {
    /// Of what.
    pub of: PrefetchOf,
    /// Paths and globs in the version; none means everything.
    pub patterns: Vec<Vec<u8>>,
    /// How much at once, at least 1.
    pub jobs: usize,
    /// Whether what is brought stays in the cache as long as the mount.
    pub pin: bool,
}

impl PrefetchOrder {
    fn request(&self, device: Option<Device>, patterns: Vec<Vec<u8>>, wait: bool) -> PrefetchRequest {
        PrefetchRequest { device, patterns, jobs: self.jobs, pin: self.pin, wait }
    }
}

/// What files are brought of.
#[derive(Debug, Clone)]
pub enum PrefetchOf {
    /// What is mounted on this directory.
    Mount(PathBuf),
    /// A version of a repository, which need not be mounted.
    Version {
        /// The repository: an `s3://` URL or an absolute local path.
        url: String,
        /// The revision.
        revision: String,
        /// How to reach the store.
        store: StoreAccess,
    },
}

/// Patterns of one request, in bytes: a line carries each byte as up to four.
const PATTERNS_BYTES: usize = 512 << 10;

/// Brings files into the cache, and waits for it.
///
/// # Errors
/// [`DaemonError`]; what was brought before stays.
pub fn prefetch(
    cache_dir: &Path,
    launch: &Launch,
    order: &PrefetchOrder,
    progress: &dyn Progress,
) -> Result<Prefetched, DaemonError> {
    let (mut daemon, device) = prefetching(cache_dir, launch, &order.of)?;
    let mut sum = Prefetched::default();
    for patterns in in_requests(&order.patterns) {
        let request = order.request(device, patterns, true);
        let (mut files, mut bytes) = (0, 0);
        let mut reply = daemon.ask(Request::Prefetch(request), None)?;
        let done = loop {
            match reply {
                Reply::Progress { files: now_files, bytes: now_bytes } => {
                    progress.advance(Stage::Download, now_files - files, now_bytes - bytes);
                    (files, bytes) = (now_files, now_bytes);
                    reply = daemon.next_reply()?;
                }
                Reply::Prefetched(done) => break done,
                _ => return Err(daemon.bad_answer()),
            }
        };
        progress.advance(Stage::Download, done.files - files, done.bytes - bytes);
        sum = Prefetched {
            files: sum.files + done.files,
            bytes: sum.bytes + done.bytes,
            full: sum.full || done.full,
        };
    }
    Ok(sum)
}

/// Has files brought into the cache, and does not wait for it.
///
/// # Errors
/// [`DaemonError`].
pub fn prefetch_in_background(
    cache_dir: &Path,
    launch: &Launch,
    order: &PrefetchOrder,
) -> Result<(), DaemonError> {
    let (mut daemon, device) = prefetching(cache_dir, launch, &order.of)?;
    for patterns in in_requests(&order.patterns) {
        let request = order.request(device, patterns, false);
        match daemon.ask(Request::Prefetch(request), None)? {
            Reply::Started => {}
            _ => return Err(daemon.bad_answer()),
        }
    }
    Ok(())
}

/// Lets go of what was brought to stay in the cache. Returns how many entries of the cache that were.
///
/// # Errors
/// [`DaemonError`].
pub fn unpin(cache_dir: &Path, mount_point: &Path) -> Result<usize, DaemonError> {
    let (mut daemon, device) = daemon_of(cache_dir, mount_point)?;
    match daemon.ask(Request::Unpin { device }, None)? {
        Reply::Unpinned { entries } => Ok(entries),
        _ => Err(daemon.bad_answer()),
    }
}

/// Patterns in portions that fit a request; none at all are one portion.
fn in_requests(patterns: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let mut portions = vec![Vec::new()];
    let mut bytes = 0;
    for pattern in patterns {
        bytes += pattern.len() + 16;
        if bytes > PATTERNS_BYTES {
            portions.push(Vec::new());
            bytes = pattern.len() + 16;
        }
        if let Some(portion) = portions.last_mut() {
            portion.push(pattern.clone());
        }
    }
    portions
}

/// The daemon of a mount, and its device number.
fn daemon_of(cache_dir: &Path, mount_point: &Path) -> Result<(Daemon, Device), DaemonError> {
    let not_mounted = || MountError::NotMounted { path: mount_point.to_owned() };
    let mut daemon = existing(cache_dir)?.ok_or_else(not_mounted)?;
    let device = daemon.device_of(mount_point)?.ok_or_else(not_mounted)?;
    Ok((daemon, device))
}

/// A daemon that knows what is meant, and by which device number.
fn prefetching(
    cache_dir: &Path,
    launch: &Launch,
    of: &PrefetchOf,
) -> Result<(Daemon, Option<Device>), DaemonError> {
    match of {
        PrefetchOf::Mount(path) => {
            let (daemon, device) = daemon_of(cache_dir, path)?;
            Ok((daemon, Some(device)))
        }
        PrefetchOf::Version { url, revision, store } => {
            let mut daemon = Daemon::connect(&Folder::create(cache_dir)?, Some(launch))?;
            let request = MountRequest {
                url: url.clone(),
                revision: Some(revision.clone()),
                mount_point: PathBuf::new(),
                owner: Owner::default(),
                profile: ProfileChoice::default(),
                follow: None,
                store: store.clone(),
            };
            match daemon.ask(Request::Prepare(Box::new(request)), None)? {
                Reply::Prepared { .. } => Ok((daemon, None)),
                _ => Err(daemon.bad_answer()),
            }
        }
    }
}
