//! One method per request of the kernel.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{
    Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig,
    LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use crate::fs::error::FsError;
use crate::fs::files::OpenFile;
use crate::fs::inode::Ino;
use crate::fs::mode::Mode;
use crate::fs::node::Lifetime;
use crate::fs::profile::Profile;
use crate::fs::stats::add;
use crate::fs::view::Lookup;
use crate::types::MAX_NAME_BYTES;

use super::Adapter;
use super::answers::{BLOCK, absence, file_attr, reply_xattr, ttl};
use super::interrupt::Asker;

/// Longest read and longest read-ahead that the kernel is offered, in bytes.
const MAX_READ: u32 = 1 << 20;

/// Read-ahead requests in flight beyond which the kernel asks only for what a program waits for: so many keep a fast network
/// busy with 1 MiB each.
const ENOUGH_AHEAD: u16 = 48;

/// Reads of pages that may be in flight. The next one would wait in the kernel, also for what is in the cache: more than any
/// machine has readers, so that those who wait for a silent store hold up nobody else. What waits here costs a task each.
const MAX_BACKGROUND: u16 = 8192;

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What the kernel does not know is not needed: all of these only save requests.
        let mut wanted = InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_NO_OPENDIR_SUPPORT;
        if self.inner.view.follow_period().is_none() {
            // Where the branch may move, a listing that was begun before would give the kernel older inodes for names that
            // were looked up since: there only look-ups tell of inodes, and those never go back.
            wanted |= InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO;
        }
        for flag in wanted.iter() {
            let _ = config.add_capabilities(flag);
        }
        if let Err(most) = config.set_max_readahead(MAX_READ) {
            let _ = config.set_max_readahead(most);
        }
        // Nothing is written; the limit on pages of a read is derived from it.
        let _ = config.set_max_write(MAX_READ);
        let _ = config.set_max_background(MAX_BACKGROUND);
        let _ = config.set_congestion_threshold(ENOUGH_AHEAD);
        if self.inner.options.profile == Profile::SmallFiles {
            // Without opens, the counters of `.atfs` can be read anew only when their pages are dropped as they change.
            let _ = config.add_capabilities(InitFlags::FUSE_AUTO_INVAL_DATA);
            return Ok(());
        }
        if let Some(depth) = self.inner.options.cache_stack_depth {
            let granted = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
                && config.set_max_stack_depth(depth + 1).is_ok();
            self.inner.passthrough.store(granted, Ordering::Relaxed);
        }
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (asker, parent, name) = (Asker::of(req), Ino::from_raw(parent.0), name.as_bytes().to_vec());
        self.run("lookup", parent, |inner| async move {
            match asker.unless_interrupted(inner.view.lookup(parent, &name)).await {
                Ok(Lookup::Found(attr, lifetime)) => {
                    inner.view.refer(attr.ino);
                    reply.entry(&ttl(lifetime), &file_attr(&attr), Generation(0));
                }
                Ok(Lookup::Absent(Lifetime::None)) => reply.error(Errno::ENOENT),
                Ok(Lookup::Absent(lifetime)) => reply.entry(&ttl(lifetime), &absence(), Generation(0)),
                Err(error) => reply.error(inner.errno(&error)),
            }
        });
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.inner.view.forget(Ino::from_raw(ino.0), nlookup);
    }

    fn getattr(&self, req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let (asker, ino) = (Asker::of(req), Ino::from_raw(ino.0));
        self.run("getattr", ino, |inner| async move {
            match asker.unless_interrupted(inner.attr(ino)).await {
                Ok((attr, lifetime)) => reply.attr(&ttl(lifetime), &file_attr(&attr)),
                Err(error) => reply.error(inner.errno(&error)),
            }
        });
    }

    fn readlink(&self, req: &Request, ino: INodeNo, reply: ReplyData) {
        let (asker, ino) = (Asker::of(req), Ino::from_raw(ino.0));
        self.run("readlink", ino, |inner| async move {
            match asker.unless_interrupted(inner.view.target_of_link(ino)).await {
                Ok(target) => reply.data(&target),
                Err(error) => reply.error(inner.errno(&error)),
            }
        });
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (asker, ino) = (Asker::of(req), Ino::from_raw(ino.0));
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(self.inner.errno(&FsError::ReadOnly));
        }
        if self.inner.options.profile == Profile::SmallFiles {
            // The kernel opens and releases without us from now on, and keeps all pages.
            return reply.error(Errno::ENOSYS);
        }
        self.run("open", ino, |inner| async move {
            let file = match asker.unless_interrupted(inner.view.open(ino)).await {
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
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (asker, ino) = (Asker::of(req), Ino::from_raw(ino.0));
        self.run("read", ino, |inner| async move {
            let bytes = async {
                let file = inner.file(ino, fh.0).await?;
                inner.view.read(&file, offset, size as usize).await
            };
            let range = offset..offset.saturating_add(size.into());
            match asker.unless_interrupted(inner.failures.in_time(ino, range, bytes)).await {
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

    fn opendir(&self, req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        if self.inner.view.follow_period().is_some() {
            let (asker, ino) = (Asker::of(req), Ino::from_raw(ino.0));
            return self.run("opendir", ino, |inner| async move {
                match asker.unless_interrupted(inner.view.open_directory(ino)).await {
                    Ok(Some(directory)) => {
                        let handle = FileHandle(inner.directories.add(Arc::new(directory)));
                        reply.opened(handle, FopenFlags::empty());
                    }
                    Ok(None) => reply.opened(FileHandle(0), FopenFlags::empty()),
                    Err(error) => reply.error(inner.errno(&error)),
                }
            });
        }
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

    fn readdir(&self, req: &Request, ino: INodeNo, fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        let (asker, ino) = (Asker::of(req), Ino::from_raw(ino.0));
        self.run("readdir", ino, |inner| async move { inner.list(asker, ino, fh.0, offset, reply).await });
    }

    fn readdirplus(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let (asker, ino) = (Asker::of(req), Ino::from_raw(ino.0));
        self.run(
            "readdirplus",
            ino,
            |inner| async move { inner.list(asker, ino, fh.0, offset, reply).await },
        );
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
        self.inner.directories.remove(fh.0);
        reply.ok();
    }

    fn fsyncdir(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn statfs(&self, req: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let (asker, ino) = (Asker::of(req), Ino::from_raw(ino.0));
        self.run("statfs", ino, |inner| async move {
            match asker.unless_interrupted(inner.view.space(ino)).await {
                Ok(space) => {
                    let blocks = space.bytes.div_ceil(u64::from(BLOCK));
                    reply.statfs(blocks, 0, 0, space.entries, 0, BLOCK, MAX_NAME_BYTES as u32, BLOCK);
                }
                Err(error) => reply.error(inner.errno(&error)),
            }
        });
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (asker, ino, name) = (Asker::of(req), Ino::from_raw(ino.0), name.as_bytes().to_vec());
        self.run("getxattr", ino, |inner| async move {
            let value = asker.unless_interrupted(inner.view.xattr(ino, &name)).await;
            reply_xattr(&inner, value, size, reply);
        });
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let (asker, ino) = (Asker::of(req), Ino::from_raw(ino.0));
        self.run("listxattr", ino, |inner| async move {
            let names = asker.unless_interrupted(inner.view.xattr_names(ino)).await;
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
