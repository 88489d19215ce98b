//! The door to FUSE: kernel requests to [`View`] calls, answers back. The only file that names fuser.
//!
//! **A FUSE thread never waits.** Each request becomes a future that owns its reply. It is polled once on the thread
//! that read the request: what is in memory is answered there and then, without a task or a switch. What is not
//! moves to the runtime with its reply, and the thread reads the next request. Every future ends, because every
//! wait below has a deadline; [`DEADLINE`] is the backstop, and a reply that is dropped is an EIO.
//!
//! What a commit shows never changes, so the kernel may keep names, absences, attributes, listings, symlinks and
//! pages for ever. Which way an open file's bytes travel is decided by [`Modes`].

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use fuser::{
    BackingId, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyXattr, Request, SessionACL,
};
use tokio::runtime::Handle;

use crate::format::EntryKind;
use crate::types::MAX_NAME_BYTES;

use super::attr::Attr;
use super::errno::Reporter;
use super::error::FsError;
use super::files::OpenFile;
use super::handles::Handles;
use super::inode::Ino;
use super::mode::{Mode, Modes};
use super::node::{Lifetime, Listed, Room};
use super::stats::add;
use super::view::{Lookup, View};

/// No request lives longer: two store deadlines of 60 s each (a stale hint costs a second request), and some.
const DEADLINE: Duration = Duration::from_secs(150);

/// "For ever" for the kernel: ten years.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Longest read and longest read-ahead that the kernel is offered, in bytes.
const MAX_READ: u32 = 1 << 20;

/// Read-ahead requests that may be in flight: enough to keep a fast network busy with 1 MiB each.
const MAX_BACKGROUND: u16 = 64;

/// Block size that `stat` and `statfs` show, in bytes.
const BLOCK: u32 = 4096;

/// How a mount is served.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where waiting requests go.
    pub runtime: Handle,
    /// Threads that read requests, at least 1.
    pub threads: usize,
    /// How deep the file system of the cache is stacked: 0, or 1 on overlayfs. `None`: no passthrough.
    pub cache_stack_depth: Option<u32>,
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
    /// Listings of the directory of refs, each a snapshot of the names.
    listings: Handles<Listing>,
    modes: Modes<BackingId>,
    /// Whether the kernel has granted passthrough, and nothing has spoken against it since.
    passthrough: AtomicBool,
}

type Listing = tokio::sync::Mutex<Option<Arc<Vec<String>>>>;

impl Inner {
    fn new(view: Arc<View>, options: ServeOptions) -> Self {
        Self {
            view,
            options,
            reporter: Reporter::default(),
            files: Handles::new(),
            listings: Handles::new(),
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

    async fn list<R: ListReply>(&self, dir: Ino, handle: u64, from: u64, mut reply: R) {
        let names = match self.names(dir, handle, from).await {
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
        match self.view.list(dir, from, &names, &mut sink).await {
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

/// The two kinds of listing.
trait ListReply: Send + 'static {
    fn push(&mut self, listed: &Listed<'_>) -> Room;
    fn done(self);
    fn fail(self, errno: Errno);
}

impl ListReply for ReplyDirectory {
    fn push(&mut self, listed: &Listed<'_>) -> Room {
        let kind = file_type(listed.attr.kind);
        room(self.add(INodeNo(listed.attr.ino.raw()), listed.next, kind, OsStr::from_bytes(listed.name)))
    }

    fn done(self) {
        self.ok();
    }

    fn fail(self, errno: Errno) {
        self.error(errno);
    }
}

impl ListReply for ReplyDirectoryPlus {
    fn push(&mut self, listed: &Listed<'_>) -> Room {
        let (ttl, name) = (ttl(listed.lifetime), OsStr::from_bytes(listed.name));
        let attr = file_attr(&listed.attr);
        room(self.add(attr.ino, listed.next, name, &ttl, &attr, Generation(0)))
    }

    fn done(self) {
        self.ok();
    }

    fn fail(self, errno: Errno) {
        self.error(errno);
    }
}

fn room(full: bool) -> Room {
    if full { Room::Full } else { Room::Left }
}

fn ttl(lifetime: Lifetime) -> Duration {
    match lifetime {
        Lifetime::Forever => FOREVER,
        Lifetime::None => Duration::ZERO,
    }
}

fn file_type(kind: EntryKind) -> FileType {
    match kind {
        EntryKind::File => FileType::RegularFile,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink => FileType::Symlink,
    }
}

fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.raw()),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: attr.mtime,
        mtime: attr.mtime,
        ctime: attr.mtime,
        crtime: attr.mtime,
        kind: file_type(attr.kind),
        perm: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// An answer that says "there is no such name" and may be kept: an entry with inode number 0.
fn absence() -> FileAttr {
    let epoch = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
        crtime: epoch,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

fn reply_xattr(inner: &Inner, value: Result<Vec<u8>, FsError>, size: u32, reply: ReplyXattr) {
    match value {
        Err(error) => reply.error(inner.errno(&error)),
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() <= size as usize => reply.data(&value),
        Ok(_) => reply.error(inner.errno(&FsError::BufferTooSmall)),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What the kernel does not know is not needed: all of these only save requests.
        for wanted in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
        ] {
            let _ = config.add_capabilities(wanted);
        }
        if let Err(most) = config.set_max_readahead(MAX_READ) {
            let _ = config.set_max_readahead(most);
        }
        // Nothing is written; the limit on pages of a read is derived from it.
        let _ = config.set_max_write(MAX_READ);
        let _ = config.set_max_background(MAX_BACKGROUND);
        if let Some(depth) = self.inner.options.cache_stack_depth {
            let granted = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
                && config.set_max_stack_depth(depth + 1).is_ok();
            self.inner.passthrough.store(granted, Ordering::Relaxed);
        }
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (parent, name) = (Ino::from_raw(parent.0), name.as_bytes().to_vec());
        self.run("lookup", parent, |inner| async move {
            match inner.view.lookup(parent, &name).await {
                Ok(Lookup::Found(attr, lifetime)) => {
                    reply.entry(&ttl(lifetime), &file_attr(&attr), Generation(0));
                }
                Ok(Lookup::Absent(Lifetime::Forever)) => reply.entry(&FOREVER, &absence(), Generation(0)),
                Ok(Lookup::Absent(Lifetime::None)) => reply.error(Errno::ENOENT),
                Err(error) => reply.error(inner.errno(&error)),
            }
        });
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let ino = Ino::from_raw(ino.0);
        self.run("getattr", ino, |inner| async move {
            match inner.view.attr(ino).await {
                Ok((attr, lifetime)) => reply.attr(&ttl(lifetime), &file_attr(&attr)),
                Err(error) => reply.error(inner.errno(&error)),
            }
        });
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        let ino = Ino::from_raw(ino.0);
        self.run("readlink", ino, |inner| async move {
            match inner.view.target_of_link(ino).await {
                Ok(target) => reply.data(&target),
                Err(error) => reply.error(inner.errno(&error)),
            }
        });
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let ino = Ino::from_raw(ino.0);
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(self.inner.errno(&FsError::ReadOnly));
        }
        self.run("open", ino, |inner| async move {
            let file = match inner.view.open(ino).await {
                Ok(file) => Arc::new(file),
                Err(error) => return reply.error(inner.errno(&error)),
            };
            let handle = FileHandle(inner.files.add(file.clone()));
            if matches!(*file, OpenFile::Text(_)) {
                // Its text may be another next time, so nothing of it is kept.
                return reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO);
            }
            match inner.mode(ino, &file, &reply) {
                Mode::Cached => {
                    add(&inner.view.stats().opens_cached, 1);
                    reply.opened(handle, FopenFlags::FOPEN_KEEP_CACHE);
                }
                Mode::Passthrough(backing) => {
                    add(&inner.view.stats().opens_passthrough, 1);
                    reply.opened_passthrough(handle, FopenFlags::empty(), &backing);
                }
            }
        });
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let ino = Ino::from_raw(ino.0);
        self.run("read", ino, |inner| async move {
            let file = match inner.files.get(fh.0) {
                Some(file) => Ok(file),
                // A handle of an earlier daemon: the inode number says enough.
                None => inner.view.open(ino).await.map(Arc::new),
            };
            let bytes = match file {
                Ok(file) => inner.view.read(&file, offset, size as usize).await,
                Err(error) => Err(error),
            };
            match bytes {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => reply.error(inner.errno(&error)),
            }
        });
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Nothing is written, so nothing is flushed; the kernel never asks again.
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        // An unknown handle is one of an earlier daemon, which is not counted here.
        if let Some(file) = self.inner.files.remove(fh.0)
            && !matches!(*file, OpenFile::Text(_))
        {
            drop(self.inner.modes.release(Ino::from_raw(ino.0)));
        }
        reply.ok();
    }

    fn fsync(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        // The kernel takes it as done and never asks again.
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        if self.inner.view.refs().is_none() {
            // Directories of one commit need no open, and their listings are kept; the kernel never asks again.
            return reply.error(Errno::ENOSYS);
        }
        if Ino::from_raw(ino.0) == Ino::ROOT {
            let handle = self.inner.listings.add(Arc::default());
            return reply.opened(FileHandle(handle), FopenFlags::empty());
        }
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR);
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        let ino = Ino::from_raw(ino.0);
        self.run("readdir", ino, |inner| async move { inner.list(ino, fh.0, offset, reply).await });
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let ino = Ino::from_raw(ino.0);
        self.run("readdirplus", ino, |inner| async move { inner.list(ino, fh.0, offset, reply).await });
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.inner.listings.remove(fh.0);
        reply.ok();
    }

    fn fsyncdir(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn statfs(&self, _req: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let ino = Ino::from_raw(ino.0);
        self.run("statfs", ino, |inner| async move {
            match inner.view.space(ino).await {
                Ok(space) => {
                    let blocks = space.bytes.div_ceil(u64::from(BLOCK));
                    reply.statfs(blocks, 0, 0, space.entries, 0, BLOCK, MAX_NAME_BYTES as u32, BLOCK);
                }
                Err(error) => reply.error(inner.errno(&error)),
            }
        });
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (ino, name) = (Ino::from_raw(ino.0), name.as_bytes().to_vec());
        self.run("getxattr", ino, |inner| async move {
            let value = inner.view.xattr(ino, &name).await;
            reply_xattr(&inner, value, size, reply);
        });
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let ino = Ino::from_raw(ino.0);
        self.run("listxattr", ino, |inner| async move {
            let names = inner.view.xattr_names(ino).await;
            reply_xattr(&inner, names, size, reply);
        });
    }

    fn ioctl(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        // Python asks every file that it opens whether it is a terminal.
        reply.error(Errno::ENOTTY);
    }

    fn lseek(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: i64,
        _whence: i32,
        reply: ReplyLseek,
    ) {
        // No file has holes to tell: the kernel answers SEEK_DATA and SEEK_HOLE itself from now on.
        reply.error(Errno::ENOSYS);
    }
}
