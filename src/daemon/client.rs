//! What the commands call: mount, unmount, list, stop.
//!
//! The client does the system calls of mounting and unmounting itself, in its own mount namespace and with its own
//! rights; the daemon serves. So unmounting works without a daemon, too.

mod prefetch;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::statvfs::statvfs;

use crate::cache::{CacheInfo, Pruned, Verified};
use crate::fs::{Owner, ProfileChoice};
use crate::types::CommitId;

use super::error::DaemonError;
use super::folder::Folder;
use super::launch::{self, Launch};
use super::mount::{
    self, Access, Device, FuseMount, MountFlags, MountPoint, MountTable, NonEmpty, Unmount, open_fuse,
};
use super::protocol::{FailureKind, MountRequest, MountStatus, Reply, Request, StoreAccess, Versioned};
use super::server::{DaemonConfig, Server};
use super::wire::Connection;

pub use prefetch::{PrefetchOf, PrefetchOrder, prefetch, prefetch_in_background, unpin};

/// The daemon's slowest answer: a repository in a store that answers nothing costs its deadline of 60 s, twice.
const PATIENCE: Duration = Duration::from_secs(150);

/// A mount that is served answers from memory.
const FIRST_ANSWER: Duration = Duration::from_secs(20);

/// How often a daemon may turn out to be stopping before a command gives up.
const TRIES: u32 = 4;

/// A mount to be made.
#[derive(Debug, Clone)]
pub struct MountOrder {
    /// The repository: an `s3://` URL or an absolute local path.
    pub url: String,
    /// The revision; `None` mounts the whole repository.
    pub revision: Option<String>,
    /// Where.
    pub mount_point: PathBuf,
    /// Whether files may be hidden.
    pub non_empty: NonEmpty,
    /// Who may enter.
    pub access: Access,
    /// Shown instead of every stored uid.
    pub uid: Option<u32>,
    /// Shown instead of every stored gid.
    pub gid: Option<u32>,
    /// How its files are to be opened.
    pub profile: ProfileChoice,
    /// Within what time a move of the branch is to be seen; `None`: the mount stays at one commit.
    pub follow: Option<Duration>,
    /// How to reach the store.
    pub store: StoreAccess,
    /// The FUSE device, normally [`MountFlags::DEVICE`].
    pub device: PathBuf,
}

/// A mount that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where, canonical.
    pub mount_point: PathBuf,
    /// The commit that is pinned; `None` for a whole repository.
    pub commit: Option<CommitId>,
}

/// A running daemon and what it serves.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// Its mounts, in the order of mounting.
    pub mounts: Vec<MountStatus>,
}

/// How a mount that was attended ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attended {
    /// It was unmounted, by whomever.
    Unmounted,
    /// Its daemon died.
    DaemonDied,
}

/// Mounts by the daemon of `cache_dir`, which is started if none runs. When this returns, the mount answers.
///
/// # Errors
/// [`DaemonError`]; nothing stays mounted.
pub fn mount(cache_dir: &Path, launch: &Launch, order: &MountOrder) -> Result<Mounted, DaemonError> {
    let folder = Folder::create(cache_dir)?;
    mount_with(&folder, Some(launch), order)
}

/// Mounts and serves in this process, until the mount is gone or a signal comes. `mounted` is called when it answers.
///
/// # Errors
/// [`DaemonError::Taken`] when a daemon serves the cache directory already; as [`mount()`].
pub fn mount_in_foreground(
    config: DaemonConfig,
    order: MountOrder,
    mounted: impl FnOnce(&Mounted) + Send + 'static,
) -> Result<(), DaemonError> {
    // As soon as the mount is gone there is nothing to stay for.
    let server = Server::start(DaemonConfig { idle: Duration::from_millis(100), ..config.clone() })?;
    // Until the mount is made the daemon must not find itself idle.
    let busy = server.stay();
    let client = std::thread::spawn(move || {
        let result = Folder::create(&config.cache_dir).and_then(|folder| mount_with(&folder, None, &order));
        drop(busy);
        result.map(|done| mounted(&done))
    });
    server.run()?;
    client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn mount_with(folder: &Folder, launch: Option<&Launch>, order: &MountOrder) -> Result<Mounted, DaemonError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_mount(folder, launch, order) {
            Err(error) if tries < TRIES && (is_stopping(&error) || left(&error, launch)) => continue,
            other => return other,
        }
    }
}

/// The daemon that was started, or that another client was told of, went before this client could connect.
fn left(error: &DaemonError, launch: Option<&Launch>) -> bool {
    launch.is_some() && matches!(error, DaemonError::NoAnswer { source, .. } if nobody_listens(source))
}

/// The daemon went away before it answered: the next one will.
fn is_stopping(error: &DaemonError) -> bool {
    match error {
        DaemonError::Refused(failure) => failure.kind == FailureKind::Stopping,
        DaemonError::NoAnswer { source, .. } => matches!(
            source.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        ),
        _ => false,
    }
}

fn try_mount(folder: &Folder, launch: Option<&Launch>, order: &MountOrder) -> Result<Mounted, DaemonError> {
    // First what costs nothing: a daemon need not start for a mistyped directory.
    let point = MountPoint::check(&order.mount_point, order.non_empty)?;
    let mut daemon = Daemon::connect(folder, launch)?;
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let request = MountRequest {
        url: order.url.clone(),
        revision: order.revision.clone(),
        mount_point: point.path().to_owned(),
        owner: Owner { uid: order.uid, gid: order.gid, mounter: (uid, gid) },
        profile: order.profile,
        follow: order.follow,
        store: order.store.clone(),
    };
    let Reply::Prepared { commit } = daemon.ask(Request::Prepare(Box::new(request)), None)? else {
        return Err(daemon.bad_answer());
    };
    let source = match &order.revision {
        Some(revision) => format!("{}@{revision}", order.url),
        None => order.url.clone(),
    };
    let flags = MountFlags { source, access: order.access, device: order.device.clone() };
    // From here on, whatever fails drops `mount`, which unmounts.
    let mount = open_fuse(point, &flags)?;
    let attach = Request::Attach { device: mount.number() };
    match daemon.ask(attach, Some(mount.descriptor()))? {
        Reply::Attached => {}
        _ => return Err(daemon.bad_answer()),
    }
    first_answer(&mount)?;
    let mount_point = mount.path().to_owned();
    mount.keep();
    Ok(Mounted { mount_point, commit })
}

/// Asks the mount for its space, as `df` does, and gives it a limited time to answer.
fn first_answer(mount: &FuseMount) -> Result<(), DaemonError> {
    let path = mount.path().to_owned();
    let unresponsive = |reason: String| DaemonError::Unresponsive { path: mount.path().into(), reason };
    let (send, receive) = mpsc::channel();
    let ask = {
        let path = path.clone();
        move || {
            let _ = send.send(statvfs(&path).map(drop));
        }
    };
    std::thread::Builder::new()
        .name("first-answer".into())
        .spawn(ask)
        .map_err(|e| unresponsive(e.to_string()))?;
    match receive.recv_timeout(FIRST_ANSWER) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(errno)) => Err(unresponsive(errno.desc().into())),
        Err(_) => Err(unresponsive(format!("no answer within {} s", FIRST_ANSWER.as_secs()))),
    }
}

/// Unmounts and, unless it is lazy, waits until the daemon has let go of the mount.
///
/// # Errors
/// [`mount::MountError::Busy`], [`mount::MountError::NotMounted`]; a daemon that does not let go.
pub fn unmount(cache_dir: &Path, path: &Path, how: Unmount) -> Result<(), DaemonError> {
    let canonical = mount::canonical(path)?;
    let table = MountTable::read().map_err(|source| DaemonError::Folder {
        action: "reading",
        path: "/proc/self/mountinfo".into(),
        source,
    })?;
    let device = table.at(&canonical).map(|entry| entry.device);
    mount::unmount(&canonical, how)?;
    let (Some(device), Unmount::WhenIdle) = (device, how) else { return Ok(()) };
    let Some(folder) = Folder::existing(cache_dir) else { return Ok(()) };
    // No daemon: nobody to wait for.
    let Ok(mut daemon) = Daemon::connect(&folder, None) else { return Ok(()) };
    match daemon.ask(Request::Settle { device }, None) {
        Ok(Reply::Settled) => Ok(()),
        Ok(_) => Err(daemon.bad_answer()),
        Err(error) if is_stopping(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Waits until the mount on `path` is gone. A mount that is not served by the daemon of `cache_dir` is gone already.
///
/// # Errors
/// [`DaemonError::NoAnswer`], [`DaemonError::Refused`].
pub fn attend(cache_dir: &Path, path: &Path) -> Result<Attended, DaemonError> {
    let Some(mut daemon) = existing(cache_dir)? else { return Ok(Attended::DaemonDied) };
    match daemon.attend(path) {
        Err(error) if is_stopping(&error) => Ok(Attended::DaemonDied),
        ended => ended,
    }
}

/// The daemon of `cache_dir` and its mounts; `None` when none runs.
///
/// # Errors
/// [`DaemonError::NoAnswer`], [`DaemonError::Refused`].
pub fn running(cache_dir: &Path) -> Result<Option<Running>, DaemonError> {
    let Some(mut daemon) = existing(cache_dir)? else { return Ok(None) };
    match daemon.ask(Request::List, None) {
        Ok(Reply::Mounts { pid, mounts }) => Ok(Some(Running { pid, mounts })),
        Ok(_) => Err(daemon.bad_answer()),
        Err(error) if is_stopping(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells the daemon of `cache_dir` to unmount everything and exit; it does so after this has returned. Says whether one
/// was running.
///
/// # Errors
/// As [`running`].
pub fn stop(cache_dir: &Path) -> Result<bool, DaemonError> {
    let Some(mut daemon) = existing(cache_dir)? else { return Ok(false) };
    match daemon.ask(Request::Shutdown, None) {
        Ok(Reply::Stopping) => Ok(true),
        Ok(_) => Err(daemon.bad_answer()),
        Err(error) if is_stopping(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

/// What the cache of the daemon of `cache_dir` holds; `None` when no daemon runs.
///
/// # Errors
/// As [`running`].
pub fn cache_info(cache_dir: &Path) -> Result<Option<CacheInfo>, DaemonError> {
    ask_existing(cache_dir, Request::CacheInfo, |daemon, reply| match reply {
        Reply::CacheInfo(info) => Ok(*info),
        _ => Err(daemon.bad_answer()),
    })
}

/// Evicts from the cache of the daemon of `cache_dir` until at most `bytes` are left or all that is left is open; `None`
/// when no daemon runs.
///
/// # Errors
/// As [`running`].
pub fn prune_cache(cache_dir: &Path, bytes: u64) -> Result<Option<Pruned>, DaemonError> {
    ask_existing(cache_dir, Request::CachePrune { bytes }, |daemon, reply| match reply {
        Reply::CachePruned(pruned) => Ok(pruned),
        _ => Err(daemon.bad_answer()),
    })
}

/// Compares all of the cache of the daemon of `cache_dir` with what was written; `None` when no daemon runs.
///
/// # Errors
/// As [`running`].
pub fn verify_cache(
    cache_dir: &Path,
    mut progress: impl FnMut(&Verified),
) -> Result<Option<Verified>, DaemonError> {
    ask_existing(cache_dir, Request::CacheVerify, |daemon, mut reply| {
        loop {
            match reply {
                Reply::CacheVerifying(seen) => progress(&seen),
                Reply::CacheVerified(seen) => return Ok(seen),
                _ => return Err(daemon.bad_answer()),
            }
            reply = daemon.next_reply()?;
        }
    })
}

/// Asks the daemon of `cache_dir` something that `read` understands the answer to; `None` when none runs.
fn ask_existing<T>(
    cache_dir: &Path,
    request: Request,
    read: impl FnOnce(&mut Daemon, Reply) -> Result<T, DaemonError>,
) -> Result<Option<T>, DaemonError> {
    let Some(mut daemon) = existing(cache_dir)? else { return Ok(None) };
    match daemon.ask(request, None) {
        Ok(reply) => read(&mut daemon, reply).map(Some),
        Err(error) if is_stopping(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn existing(cache_dir: &Path) -> Result<Option<Daemon>, DaemonError> {
    let Some(folder) = Folder::existing(cache_dir) else { return Ok(None) };
    match Daemon::connect(&folder, None) {
        Ok(daemon) => Ok(Some(daemon)),
        Err(DaemonError::NoAnswer { source, .. }) if nobody_listens(&source) => Ok(None),
        Err(error) => Err(error),
    }
}

fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// A connection to the daemon.
struct Daemon {
    connection: Connection,
    cache_dir: PathBuf,
}

impl Daemon {
    /// Connects; where nobody listens, a daemon is started if `launch` says how.
    fn connect(folder: &Folder, launch: Option<&Launch>) -> Result<Self, DaemonError> {
        let cache_dir = folder.cache_dir().to_owned();
        let no_answer = |source| DaemonError::NoAnswer { cache_dir: cache_dir.clone(), source };
        let socket = match (folder.connect(), launch) {
            (Err(error), Some(launch)) if nobody_listens(&error) => {
                launch::start(folder, launch)?;
                folder.connect()
            }
            (socket, _) => socket,
        };
        let socket = socket.map_err(no_answer)?;
        let connection = Connection::new(socket, PATIENCE).map_err(no_answer)?;
        Ok(Self { connection, cache_dir })
    }

    /// One request and its reply; a failure is an error.
    fn ask(&mut self, request: Request, descriptor: Option<BorrowedFd<'_>>) -> Result<Reply, DaemonError> {
        let no_answer = |source| DaemonError::NoAnswer { cache_dir: self.cache_dir.clone(), source };
        self.connection.send(&Versioned::new(request), descriptor).map_err(no_answer)?;
        self.next_reply()
    }

    /// The next reply to the last request.
    fn next_reply(&mut self) -> Result<Reply, DaemonError> {
        let no_answer = |source| DaemonError::NoAnswer { cache_dir: self.cache_dir.clone(), source };
        let received = self.connection.receive::<Versioned<Reply>>().map_err(no_answer)?;
        match received {
            Some((Versioned { message: Reply::Failed(failure), .. }, _)) => Err(failure.into()),
            Some((reply, _)) => Ok(reply.message),
            None => Err(no_answer(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// The device number of the mount on `path`; `None` when it has none there.
    fn device_of(&mut self, path: &Path) -> Result<Option<Device>, DaemonError> {
        let Reply::Mounts { mounts, .. } = self.ask(Request::List, None)? else {
            return Err(self.bad_answer());
        };
        Ok(mounts.into_iter().find(|mount| mount.mount_point == path).map(|mount| mount.device))
    }

    /// Waits until the mount on `path` is gone.
    fn attend(&mut self, path: &Path) -> Result<Attended, DaemonError> {
        let Some(device) = self.device_of(path)? else { return Ok(Attended::Unmounted) };
        let no_answer = |source| DaemonError::NoAnswer { cache_dir: self.cache_dir.clone(), source };
        self.connection.wait_for_ever().map_err(no_answer)?;
        match self.ask(Request::Attend { device }, None)? {
            Reply::Settled => Ok(Attended::Unmounted),
            _ => Err(self.bad_answer()),
        }
    }

    fn bad_answer(&self) -> DaemonError {
        DaemonError::BadAnswer { cache_dir: self.cache_dir.clone() }
    }
}
