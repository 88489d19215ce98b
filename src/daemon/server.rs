//! The daemon's life: lock, listen, serve, drain, exit.
//!
//! It exits when it is told to (SIGTERM, SIGINT, a client), and by itself when it has had nothing to do for a while.
//! Told to stop, it unmounts everything: mounts in use get [`DaemonConfig::drain`], then they are taken out of the tree
//! under their users. Before it goes it removes its socket, so that a client that comes now starts another daemon; one
//! that came a moment earlier sees its connection end without an answer, and asks again.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::cache::{Cache, CacheError};
use crate::fs::{Profile, ServeOptions};
use crate::meta::{Index, IndexOptions};

use super::activity::{Activity, Busy};
use super::error::DaemonError;
use super::folder::{Folder, Lock};
use super::logging::{self, LogTarget};
use super::memory;
use super::mount::{MountError, MountTable, Unmount, unmount};
use super::protocol::MountStatus;
use super::record;
use super::registry::Registry;
use super::repositories::Repositories;
use super::service;
use super::space::{DiskSpace, cache_options};

/// How the daemon runs.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// The cache directory, which it holds alone.
    pub cache_dir: PathBuf,
    /// The state directory, for the index.
    pub state_dir: PathBuf,
    /// How much the cache may hold.
    pub cache_limit: DiskSpace,
    /// What stays free of the cache's disk; `None`: 5 % of it, at most 1 GiB.
    pub cache_floor: Option<DiskSpace>,
    /// Where it logs to.
    pub log: LogTarget,
    /// What it logs, as `RUST_LOG` is written; `None`: `info`.
    pub log_filter: Option<String>,
    /// It exits after so long without a mount and without a client.
    pub idle: Duration,
    /// Told to stop, it waits so long for mounts in use.
    pub drain: Duration,
}

impl DaemonConfig {
    /// The usual times: 10 s of idling (a script that unmounts and mounts keeps one daemon), 10 s of draining (systemd
    /// waits 90 s by default).
    pub fn new(cache_dir: PathBuf, state_dir: PathBuf) -> Self {
        let seconds = Duration::from_secs(10);
        Self {
            cache_dir,
            state_dir,
            cache_limit: DiskSpace::PercentOfDisk(80),
            cache_floor: None,
            log: LogTarget::File,
            log_filter: None,
            idle: seconds,
            drain: seconds,
        }
    }
}

/// What the threads of the daemon share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) runtime: Handle,
    pub(super) registry: Registry,
    pub(super) repositories: Repositories,
    pub(super) activity: Activity,
    /// `None`: everything is read from the store.
    pub(super) cache: Option<Arc<Cache>>,
    cache_stack_depth: Option<u32>,
    stopping: AtomicBool,
    stop: Notify,
}

/// A daemon that holds its lock and listens.
#[derive(Debug)]
pub struct Server {
    config: DaemonConfig,
    folder: Folder,
    runtime: Runtime,
    listener: UnixListener,
    shared: Arc<Shared>,
    /// Last, so that it is freed last.
    _lock: Lock,
}

/// How long a starting daemon waits for the lock of one that is going.
const LOCK_WAIT: Duration = Duration::from_secs(15);

/// A daemon that nobody has asked anything yet waits at least so long: on a busy machine its first client may be slow, and
/// must not find it gone.
const FIRST_CLIENT: Duration = Duration::from_secs(30);

/// How often it looks at the lock, and how often a busy mount is tried again: neither can be waited for.
const LOOK: Duration = Duration::from_millis(50);

/// How long sessions may take to end once their mounts are gone.
const SESSIONS_END: Duration = Duration::from_secs(2);

impl Server {
    /// Takes the lock, cleans up behind a dead daemon and listens.
    ///
    /// # Errors
    /// [`DaemonError::Taken`] when another daemon serves the cache directory; [`DaemonError::Folder`].
    pub fn start(config: DaemonConfig) -> Result<Self, DaemonError> {
        let folder = Folder::create(&config.cache_dir)?;
        let failed = |action, source| DaemonError::Folder { action, path: folder.log(), source };
        let lock = take_lock(&folder)?;
        logging::start(&config.log, &folder.log(), config.log_filter.as_deref())
            .map_err(|e| failed("opening", e))?;
        for path in record::clean(&folder.mounts()) {
            tracing::warn!("unmounted {}, which a daemon that was killed had left", path.display());
        }
        memory::give_back();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("atfs-worker")
            .enable_all()
            .build()
            .map_err(|e| failed("starting threads beside", e))?;
        let index = match Index::open(&config.state_dir, &IndexOptions::default()) {
            Ok(index) => Some(index),
            Err(error) => {
                tracing::warn!("without an index everything works, only slower: {error}");
                None
            }
        };
        let cache = open_cache(&folder, &config);
        let shared = Shared {
            runtime: runtime.handle().clone(),
            registry: Registry::new(folder.mounts()),
            repositories: Repositories::new(index, cache.clone()),
            activity: Activity::new(),
            cache,
            cache_stack_depth: stack_depth(&folder),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
        };
        let listener = folder.listen(&lock)?;
        tracing::info!(pid = std::process::id(), cache_dir = %folder.cache_dir().display(), "the daemon listens");
        Ok(Self { config, folder, runtime, listener, shared: Arc::new(shared), _lock: lock })
    }

    /// Keeps the daemon from exiting for want of work until the guard is dropped.
    pub(super) fn stay(&self) -> Busy {
        self.shared.activity.begin()
    }

    /// Serves until it is told to stop or has nothing to do.
    ///
    /// # Errors
    /// [`DaemonError::Folder`] when the socket or the signals fail.
    pub fn run(self) -> Result<(), DaemonError> {
        let Self { config, folder, runtime, listener, shared, _lock } = self;
        let failed =
            |source| DaemonError::Folder { action: "listening in", path: folder.cache_dir().into(), source };
        let reason = runtime.block_on(accept(listener, &shared, config.idle)).map_err(failed)?;
        tracing::info!("stopping: {reason}");
        shared.stopping.store(true, Ordering::SeqCst);
        folder.remove_socket();
        let hurry = Arc::new(AtomicBool::new(false));
        runtime.spawn(hurry_on_signal(hurry.clone()));
        drain(&shared.registry, config.drain, &hurry);
        // Requests that still wait for the network are dropped, which answers them.
        runtime.shutdown_timeout(SESSIONS_END);
        tracing::info!("stopped");
        Ok(())
    }
}

/// Takes clients until there is a reason to stop. The listener is closed then: who waits in its queue sees the
/// connection end and asks the next daemon.
async fn accept(listener: UnixListener, shared: &Arc<Shared>, idle: Duration) -> io::Result<&'static str> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut activity = shared.activity.watch();
    loop {
        let load = *activity.borrow_and_update();
        let idle = if load.ever { idle } else { idle.max(FIRST_CLIENT) };
        tokio::select! {
            accepted = listener.accept() => {
                let socket = accepted?.0.into_std()?;
                socket.set_nonblocking(false)?;
                let (shared, busy) = (shared.clone(), shared.activity.begin());
                tokio::task::spawn_blocking(move || service::serve(&shared, socket, busy));
            }
            _ = terminate.recv() => return Ok("SIGTERM"),
            _ = interrupt.recv() => return Ok("SIGINT"),
            _ = hang_up.recv() => return Ok("SIGHUP"),
            () = shared.stop.notified() => return Ok("a client asked for it"),
            _ = activity.changed() => {}
            () = tokio::time::sleep(idle), if load.now == 0 => return Ok("nothing is mounted"),
        }
    }
}

impl Shared {
    /// Whether no further mount is taken.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Stops the daemon.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stop.notify_one();
    }

    /// How a mount with this profile is served.
    pub(super) fn serve_options(&self, profile: Profile) -> ServeOptions {
        // They never wait for the network, but each waits for the cache's disk when it reads there: eight keep an SSD busy
        // also on two cores (files of 100 KiB, four readers, pages dropped: 0.79 of native with eight, 0.67 with two).
        let cores = std::thread::available_parallelism().map_or(8, usize::from);
        ServeOptions {
            runtime: self.runtime.clone(),
            threads: cores.clamp(8, 16),
            cache_stack_depth: self.cache_stack_depth,
            profile,
        }
    }
}

fn take_lock(folder: &Folder) -> Result<Lock, DaemonError> {
    let end = Instant::now() + LOCK_WAIT;
    loop {
        if let Some(lock) = folder.try_lock()? {
            return Ok(lock);
        }
        // Held and listening: a daemon at work. Held and deaf: one that starts or goes.
        if folder.connect().is_ok() || Instant::now() >= end {
            return Err(DaemonError::Taken { cache_dir: folder.cache_dir().into() });
        }
        std::thread::sleep(LOOK);
    }
}

/// The cache of contents. One that cannot be opened is done without: every byte then comes from the store. A command that
/// looks at it without a daemon (`atfs cache info`) has it for a moment.
fn open_cache(folder: &Folder, config: &DaemonConfig) -> Option<Arc<Cache>> {
    let dir = folder.cache_dir();
    let end = Instant::now() + LOCK_WAIT;
    let open = |options| {
        let mut said = false;
        loop {
            match Cache::open(dir, &options) {
                Err(error @ CacheError::InUse { .. }) if Instant::now() < end => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::info!("waiting for the cache: {error}");
                    }
                    std::thread::sleep(LOOK);
                }
                opened => return opened.map_err(|error| error.to_string()),
            }
        }
    };
    let options = cache_options(dir, config.cache_limit, config.cache_floor);
    let opened = options.map_err(|error| error.to_string()).and_then(open);
    match opened {
        Ok(cache) => Some(cache),
        Err(error) => {
            tracing::warn!("without a cache everything is read from the store: {error}");
            None
        }
    }
}

/// How deep the cache's file system is stacked: the kernel must know before it passes files through.
fn stack_depth(folder: &Folder) -> Option<u32> {
    let stat = statfs(folder.cache_dir()).ok()?;
    Some(u32::from(stat.filesystem_type() == OVERLAYFS_SUPER_MAGIC))
}

async fn hurry_on_signal(hurry: Arc<AtomicBool>) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    hurry.store(true, Ordering::SeqCst);
}

fn drain(registry: &Registry, limit: Duration, hurry: &AtomicBool) {
    let end = Instant::now() + limit;
    for mount in registry.list() {
        let mut how = Unmount::WhenIdle;
        loop {
            match unmount_ours(&mount, how) {
                Err(MountError::Busy { .. }) if how == Unmount::WhenIdle => {
                    if Instant::now() < end && !hurry.load(Ordering::SeqCst) {
                        std::thread::sleep(LOOK);
                    } else {
                        tracing::warn!(
                            "{} is in use and is detached from its users",
                            mount.mount_point.display()
                        );
                        how = Unmount::Lazy;
                    }
                }
                // Somebody else unmounted it.
                Ok(()) | Err(MountError::NotMounted { .. }) => break,
                Err(error) => {
                    tracing::warn!("{error}");
                    break;
                }
            }
        }
    }
    registry.wait_gone(SESSIONS_END, |_| true);
}

/// Unmounts, unless something else is mounted there by now (or in this mount namespace).
fn unmount_ours(mount: &MountStatus, how: Unmount) -> Result<(), MountError> {
    let table = MountTable::read();
    match table.as_ref().ok().and_then(|table| table.at(&mount.mount_point)) {
        Some(entry) if entry.device == mount.device => unmount(&mount.mount_point, how),
        _ => Err(MountError::NotMounted { path: mount.mount_point.clone() }),
    }
}
