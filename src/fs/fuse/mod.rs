//! The door to FUSE: kernel requests to [`View`] calls, answers back. The only folder that names fuser.
//!
//! - here: the connection, what its requests share, and where their work runs;
//! - `requests`: one method per request of the kernel;
//! - `answers`: our values as fuser's;
//! - `again`: the kernel's second question after a read that failed;
//! - `interrupt`: the end of a wait whose program is killed or interrupted.
//!
//! **A FUSE thread never waits.** Each request becomes a future that owns its reply. It is polled once on the thread
//! that read the request: what is in memory is answered there and then, without a task or a switch. What is not
//! moves to the runtime with its reply, and the thread reads the next request. Every future ends, because every
//! wait below has a deadline; [`DEADLINE`] is the backstop, and a reply that is dropped is an EIO.
//!
//! What a commit shows never changes, so the kernel may keep names, absences, attributes, listings, symlinks and
//! pages for ever. Which way an open file's bytes travel is decided by [`Modes`], and by the [`Profile`].

mod again;
mod answers;
mod interrupt;
mod requests;

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use fuser::{BackingId, Config, Errno, ReplyOpen, SessionACL};
use tokio::runtime::Handle;

use super::attr::Attr;
use super::errno::Reporter;
use super::error::FsError;
use super::files::OpenFile;
use super::handles::Handles;
use super::inode::Ino;
use super::mode::{Mode, Modes};
use super::node::{Lifetime, Listed, Room};
use super::profile::Profile;
use super::stats::add;
use super::unopened::Unopened;
use super::view::{OpenDirectory, View};
use again::Failures;
use answers::ListReply;
use interrupt::Asker;

/// No request lives longer: two store deadlines of 60 s each (a stale hint costs a second request), and some.
const DEADLINE: Duration = Duration::from_secs(150);

/// How a mount is served.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where waiting requests go.
    pub runtime: Handle,
    /// Threads that read requests, at least 1.
    pub threads: usize,
    /// How deep the file system of the cache is stacked: 0, or 1 on overlayfs. `None`: no passthrough.
    pub cache_stack_depth: Option<u32>,
    /// How files are opened.
    pub profile: Profile,
}

/// A connection whose INIT is answered: the mount answers as soon as it runs.
#[derive(Debug)]
pub struct Session(fuser::Session<Adapter>);

impl Session {
    /// Answers the kernel's INIT on `device`.
    ///
    /// # Errors
    /// The device is no FUSE connection, was unmounted, or speaks another protocol.
    pub fn begin(view: Arc<View>, device: OwnedFd, options: ServeOptions) -> io::Result<Self> {
        let mut config = Config::default();
        config.n_threads = Some(options.threads.max(1));
        // A cloned descriptor would have to be held by whoever takes over when this process dies.
        config.clone_fd = false;
        let adapter = Adapter { inner: Arc::new(Inner::new(view, options)) };
        // The kernel itself keeps others out of a mount without allow_other.
        fuser::Session::from_fd(adapter, device, SessionACL::All, config).map(Self)
    }

    /// Serves until the mount is gone.
    ///
    /// # Errors
    /// The device failed otherwise than by being unmounted.
    pub fn run(self) -> io::Result<()> {
        self.0.run()
    }
}

#[derive(Debug)]
struct Adapter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    view: Arc<View>,
    options: ServeOptions,
    reporter: Reporter,
    files: Handles<OpenFile>,
    /// Files that are read without having been opened ([`Profile::SmallFiles`]).
    unopened: Unopened,
    failures: Failures,
    /// Listings of the directory of refs, each a snapshot of the names.
    listings: Handles<Listing>,
    /// Directories whose commit may move while they are listed.
    directories: Handles<OpenDirectory>,
    modes: Modes<BackingId>,
    /// Whether the kernel has granted passthrough, and nothing has spoken against it since.
    passthrough: AtomicBool,
}

type Listing = tokio::sync::Mutex<Option<Arc<Vec<String>>>>;

impl Inner {
    fn new(view: Arc<View>, options: ServeOptions) -> Self {
        let unopened = Unopened::new(options.runtime.clone());
        Self {
            view,
            options,
            reporter: Reporter::default(),
            files: Handles::new(),
            unopened,
            failures: Failures::new(),
            listings: Handles::new(),
            directories: Handles::new(),
            modes: Modes::default(),
            passthrough: AtomicBool::new(false),
        }
    }

    fn errno(&self, error: &FsError) -> Errno {
        let errno = Errno::from_i32(self.reporter.errno(error));
        if errno.code() == libc::EIO {
            add(&self.view.stats().errors, 1);
        }
        errno
    }

    /// The mode of an open, and what backs it. Called before the answer is sent, so that the kernel's own count is
    /// never ahead.
    fn mode(&self, ino: Ino, file: &OpenFile, reply: &ReplyOpen) -> Mode<BackingId> {
        self.modes.open(ino, || {
            let whole = file.whole_file().filter(|_| self.passthrough.load(Ordering::Relaxed))?;
            match reply.open_backing(whole) {
                Ok(backing) => Some(backing),
                Err(error) => {
                    // No right to it (CAP_SYS_ADMIN), or the cache's file system cannot: that will not change.
                    if self.passthrough.swap(false, Ordering::Relaxed) {
                        tracing::info!("files are served by the daemon, not by kernel passthrough: {error}");
                    }
                    None
                }
            }
        })
    }

    /// The file that a read means: by its handle, or by its inode number alone, which says enough. So it is where opens
    /// are not seen, and with handles of an earlier daemon.
    async fn file(&self, ino: Ino, handle: u64) -> Result<Arc<OpenFile>, FsError> {
        if let Some(file) = self.files.get(handle).or_else(|| self.unopened.get(ino)) {
            return Ok(file);
        }
        let file = Arc::new(self.view.open(ino).await?);
        if file.is_worth_keeping() {
            self.unopened.put(ino, file.clone());
        }
        Ok(file)
    }

    /// What `stat` shows. The text of `.atfs/stats` is never the same twice; where opens are not seen, its reads must be
    /// of the text whose length was told here, and the kernel must drop the pages of the one before.
    async fn attr(&self, ino: Ino) -> Result<(Attr, Lifetime), FsError> {
        let (mut attr, lifetime) = self.view.attr(ino).await?;
        if lifetime == Lifetime::None && self.options.profile == Profile::SmallFiles {
            let file = Arc::new(self.view.open(ino).await?);
            if let OpenFile::Text(text) = &*file {
                attr.size = text.len() as u64;
                attr.mtime = SystemTime::now();
            }
            self.unopened.put(ino, file);
        }
        Ok((attr, lifetime))
    }

    /// The names of a listing of the directory of refs, read anew at its beginning.
    async fn names(&self, dir: Ino, handle: u64, from: u64) -> Result<Arc<Vec<String>>, FsError> {
        let Some(root) = self.view.refs().filter(|_| dir == Ino::ROOT) else { return Ok(Arc::default()) };
        let Some(listing) = self.listings.get(handle) else { return Ok(Arc::new(root.names().await?)) };
        let mut names = listing.lock().await;
        match &*names {
            Some(names) if from > 0 => Ok(names.clone()),
            _ => Ok(names.insert(Arc::new(root.names().await?)).clone()),
        }
    }

    async fn list<R: ListReply>(&self, asker: Asker, dir: Ino, handle: u64, from: u64, mut reply: R) {
        let names = match asker.unless_interrupted(self.names(dir, handle, from)).await {
            Ok(names) => names,
            Err(error) => return reply.fail(self.errno(&error)),
        };
        let mut taken = 0u64;
        let mut sink = |listed: Listed<'_>| match reply.push(&listed) {
            Room::Left => {
                taken += 1;
                Room::Left
            }
            Room::Full => Room::Full,
        };
        let listing = async {
            match self.directories.get(handle) {
                Some(directory) => directory.list(from, &mut sink).await,
                None => self.view.list(dir, from, &names, &mut sink).await,
            }
        };
        match asker.unless_interrupted(listing).await {
            // What was listed before the trouble is right; the next call begins with the trouble.
            Err(error) if taken == 0 => reply.fail(self.errno(&error)),
            _ => reply.done(),
        }
    }
}

impl Adapter {
    /// Answers on this thread if nothing has to be waited for, else on the runtime.
    fn run<F: Future<Output = ()> + Send + 'static>(
        &self,
        what: &'static str,
        ino: Ino,
        work: impl FnOnce(Arc<Inner>) -> F,
    ) {
        let mut work = Box::pin(work(self.inner.clone()));
        let runtime = &self.inner.options.runtime;
        let _inside = runtime.enter();
        // The waker of this poll is never used: the runtime polls again at once and leaves its own.
        let mut context = Context::from_waker(Waker::noop());
        // A panic costs its request an EIO, as on the runtime, and not the mount one of its threads.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut context).is_ready())) {
            Ok(false) => {}
            Ok(true) => return,
            Err(_) => {
                add(&self.inner.view.stats().errors, 1);
                tracing::error!(?ino, "{what}: a defect of atfs; please report it with what stands above");
                return;
            }
        }
        add(&self.inner.view.stats().waited, 1);
        let inner = self.inner.clone();
        runtime.spawn(async move {
            if tokio::time::timeout(DEADLINE, work).await.is_err() {
                // The reply went with the work, which answers EIO.
                add(&inner.view.stats().errors, 1);
                let seconds = DEADLINE.as_secs();
                tracing::error!(
                    ?ino,
                    "{what}: no answer within {seconds} s; check the network and the store"
                );
            }
        });
    }
}
