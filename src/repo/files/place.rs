//! Making things in a directory of this machine, whatever is in it already.
//!
//! Must always be true: nothing is made, changed or removed outside the directory that the user named. A name is always a
//! single component, opened relative to a descriptor and never followed, so neither a link that lies in the way nor one
//! that the repository itself holds leads anywhere. A file appears under its name only when it is whole.
//!
//! Until then it has a name that begins with [`TEMPORARY`], and a lock for as long as its writer lives: what a killed run left
//! is known by being free, and the next run removes it ([`Place::clean`]).

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, mkdirat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, symlinkat, syncfs, unlinkat};
use xattr::FileExt;

use crate::format::{Mtime, XattrList};
use crate::repo::RepoError;
use crate::types::{Name, Nonce, Random, RepoPath};

use super::local::{has_none, local};

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What the names of unfinished files and links begin with; 32 hex digits follow.
const TEMPORARY: &str = ".atfs-export-";

/// An open directory. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Place {
    fd: Arc<OwnedFd>,
    /// For messages.
    path: PathBuf,
    random: Arc<dyn Random>,
}

/// What is to be set on something that was made.
#[derive(Debug, Clone)]
pub(super) struct Finish {
    pub(super) mode: u16,
    pub(super) mtime: Mtime,
    pub(super) owner: Option<Owner>,
    pub(super) xattrs: XattrList,
}

/// Whom something is to belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// How many things the file system did not take as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LeftOut {
    /// It knows no extended attributes.
    pub(super) xattrs: u64,
    /// It does not let us give things away: a container that does not map that owner, a network disk that squashes root.
    pub(super) owners: u64,
}

impl std::ops::AddAssign for LeftOut {
    fn add_assign(&mut self, other: Self) {
        self.xattrs += other.xattrs;
        self.owners += other.owners;
    }
}

/// A file under a name that nobody else uses; removed unless it is finished.
#[derive(Debug)]
pub(super) struct NewFile {
    place: Place,
    name: OsString,
    file: File,
    temporary: Option<OsString>,
}

impl Place {
    /// The directory that the user named, made if need be. Links in this path are the user's own and are followed.
    pub(super) fn root(path: &Path, random: Arc<dyn Random>) -> Result<Self, RepoError> {
        let opened = std::fs::create_dir_all(path)
            .and_then(|()| File::open(path))
            .and_then(|file| if file.metadata()?.is_dir() { Ok(file) } else { Err(Errno::ENOTDIR.into()) });
        let file = opened.map_err(|error| local("opening the directory", path, error))?;
        let place = Self { fd: Arc::new(file.into()), path: path.to_owned(), random };
        place.clean();
        Ok(place)
    }

    /// The directory at `path` below this one, which exists.
    pub(super) fn below(&self, path: &RepoPath) -> Result<Self, RepoError> {
        path.components().try_fold(self.clone(), |place, name| place.enter(name))
    }

    /// The directory `name` in this one, made if need be and writable for us until it is finished.
    pub(super) fn make_directory(&self, name: Name<'_>) -> Result<(), RepoError> {
        match mkdirat(&*self.fd, name.as_os(), Mode::S_IRWXU) {
            Ok(()) => Ok(()),
            Err(Errno::EEXIST) => {
                let there = self.stat(name).map_err(|e| self.failed("reading", name, e))?;
                let Some(there) = there.filter(|stat| kind(stat) == SFlag::S_IFDIR) else {
                    return Err(self.failed("making the directory", name, Errno::ENOTDIR));
                };
                // One that an earlier run finished may not be writable.
                let mode = Mode::from_bits_truncate(there.st_mode);
                if !mode.contains(Mode::S_IRWXU) {
                    fchmodat(&*self.fd, name.as_os(), mode | Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)
                        .map_err(|e| self.failed("changing the mode of", name, e))?;
                }
                self.enter(name)?.clean();
                Ok(())
            }
            Err(error) => Err(self.failed("making the directory", name, error)),
        }
    }

    /// Whether `name` is a file of this size, time, mode and owner: an earlier run wrote it.
    pub(super) fn has_file(
        &self,
        name: Name<'_>,
        size: u64,
        (mode, mtime): (u16, Mtime),
        owner: Option<Owner>,
    ) -> Result<bool, RepoError> {
        let there = self.stat(name).map_err(|e| self.failed("reading", name, e))?;
        Ok(there.is_some_and(|stat| {
            kind(&stat) == SFlag::S_IFREG
                && u64::try_from(stat.st_size) == Ok(size)
                && stat.st_mode & 0o7777 == u32::from(mode)
                && (stat.st_mtime, stat.st_mtime_nsec) == (mtime.seconds, i64::from(mtime.nanos))
                // Not made right in place: the file may have another name outside the directory.
                && owner.is_none_or(|owner| owns(&stat, owner))
        }))
    }

    /// Begins a file that will be `name`.
    pub(super) fn new_file(&self, name: Name<'_>) -> Result<NewFile, RepoError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        loop {
            let temporary = self.temporary();
            let fd = openat(&*self.fd, temporary.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)
                .map_err(|e| self.failed("writing", name, e))?;
            let file = File::from(fd);
            // Where there are no locks nobody cleans either.
            let _ = file.lock();
            // Between the two calls another run may have taken it for a leftover.
            let metadata = file.metadata().map_err(|e| local("writing", &self.path.join(name.as_os()), e))?;
            if metadata.nlink() > 0 {
                let name = name.as_os().to_owned();
                return Ok(NewFile { place: self.clone(), name, file, temporary: Some(temporary) });
            }
        }
    }

    /// Removes what runs that were killed have left in this directory, as far as that can be done.
    pub(super) fn clean(&self) {
        // The directory itself, wherever its path leads by now.
        let Ok(entries) = std::fs::read_dir(format!("/proc/self/fd/{}", self.fd.as_raw_fd())) else { return };
        for name in entries.flatten().map(|entry| entry.file_name()).filter(|name| is_temporary(name)) {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let is_left = match openat(&*self.fd, name.as_os_str(), flags, Mode::empty()) {
                Ok(fd) => {
                    let file = File::from(fd);
                    // Removed while it is locked: a run that has just made it waits for the lock, and then sees.
                    if file.metadata().is_ok_and(|metadata| metadata.is_file()) && file.try_lock().is_ok() {
                        let _ = unlinkat(&*self.fd, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
                    }
                    false
                }
                // A link, which lives for two calls only.
                Err(error) => error == Errno::ELOOP,
            };
            if is_left {
                let _ = unlinkat(&*self.fd, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
            }
        }
    }

    /// Waits until all that was written to this file system is on its disk.
    pub(super) fn sync(&self) -> Result<(), RepoError> {
        syncfs(&*self.fd).map_err(|error| local("writing", &self.path, error.into()))
    }

    /// Makes the symbolic link `name`.
    pub(super) fn symlink(
        &self,
        name: Name<'_>,
        target: &[u8],
        mtime: Mtime,
        owner: Option<Owner>,
    ) -> Result<LeftOut, RepoError> {
        let failed = |e| self.failed("making the link", name, e);
        let target = std::ffi::OsStr::from_bytes(target);
        let there = readlinkat(&*self.fd, name.as_os()).is_ok_and(|there| there == target);
        let stat = self.stat(name).map_err(failed)?;
        if there && owner.is_none_or(|owner| stat.is_some_and(|stat| owns(&stat, owner))) {
            return self.link_time(name.as_os(), mtime).map(|()| LeftOut::default()).map_err(failed);
        }
        let mut left_out = LeftOut::default();
        let temporary = self.temporary();
        symlinkat(target, &*self.fd, temporary.as_os_str()).map_err(failed)?;
        let owned = match owner {
            Some(Owner { uid, gid }) => given(
                fchownat(
                    &*self.fd,
                    temporary.as_os_str(),
                    Some(Uid::from_raw(uid)),
                    Some(Gid::from_raw(gid)),
                    AtFlags::AT_SYMLINK_NOFOLLOW,
                ),
                &mut left_out,
            ),
            None => Ok(()),
        };
        let done = owned
            .and_then(|()| self.link_time(&temporary, mtime))
            .and_then(|()| renameat(&*self.fd, temporary.as_os_str(), &*self.fd, name.as_os()));
        done.map(|()| left_out).map_err(|error| {
            let _ = unlinkat(&*self.fd, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
            failed(error)
        })
    }

    /// Sets what is to be set on this directory, when nothing more is written into it.
    pub(super) fn finish(&self, finish: &Finish) -> Result<LeftOut, RepoError> {
        let failed = |error: io::Error| local("finishing the directory", &self.path, error);
        let file = File::from(self.fd.try_clone().map_err(failed)?);
        set(&file, finish).map_err(failed)
    }

    fn enter(&self, name: Name<'_>) -> Result<Self, RepoError> {
        let fd = openat(&*self.fd, name.as_os(), DIRECTORY, Mode::empty())
            .map_err(|e| self.failed("opening the directory", name, e))?;
        Ok(Self { fd: Arc::new(fd), path: self.path.join(name.as_os()), random: self.random.clone() })
    }

    fn stat(&self, name: Name<'_>) -> Result<Option<FileStat>, Errno> {
        match fstatat(&*self.fd, name.as_os(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn link_time(&self, name: &std::ffi::OsStr, mtime: Mtime) -> Result<(), Errno> {
        let time = time(mtime);
        utimensat(&*self.fd, name, &time, &time, UtimensatFlags::NoFollowSymlink)
    }

    fn temporary(&self) -> OsString {
        format!("{TEMPORARY}{}", Nonce::from_bytes(self.random.bytes16()).to_hex()).into()
    }

    fn failed(&self, action: &'static str, name: Name<'_>, error: Errno) -> RepoError {
        local(action, &self.path.join(name.as_os()), error.into())
    }
}

impl NewFile {
    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), RepoError> {
        self.file.write_all(bytes).map_err(|error| local("writing", &self.path(), error))
    }

    /// Sets what is to be set and gives the file its name, over whatever had it (but a directory).
    pub(super) fn finish(mut self, finish: &Finish) -> Result<LeftOut, RepoError> {
        let path = self.path();
        let failed = |error: io::Error| local("writing", &path, error);
        let kept = set(&self.file, finish).map_err(failed)?;
        if let Some(temporary) = &self.temporary {
            let fd = &*self.place.fd;
            renameat(fd, temporary.as_os_str(), fd, self.name.as_os_str()).map_err(|e| failed(e.into()))?;
        }
        self.temporary = None;
        Ok(kept)
    }

    fn path(&self) -> PathBuf {
        self.place.path.join(&self.name)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nothing more can be done about it here.
            let _ = unlinkat(&*self.place.fd, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// The owner first, since changing it takes rights away; attributes while the file is still writable for us; the time last.
fn set(file: &File, finish: &Finish) -> io::Result<LeftOut> {
    use std::ffi::OsStr;
    let mut left_out = LeftOut::default();
    if let Some(Owner { uid, gid }) = finish.owner {
        given(fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))), &mut left_out)?;
    }
    for (name, value) in &finish.xattrs.0 {
        match file.set_xattr(OsStr::from_bytes(name), value) {
            Err(error) if has_none(&error) => left_out.xattrs = 1,
            other => other?,
        }
    }
    fchmod(file, Mode::from_bits_truncate(u32::from(finish.mode)))?;
    let time = time(finish.mtime);
    futimens(file, &time, &time)?;
    Ok(left_out)
}

/// Whether something could be given away.
fn given(result: Result<(), Errno>, left_out: &mut LeftOut) -> Result<(), Errno> {
    match result {
        Err(Errno::EPERM | Errno::EINVAL | Errno::EOPNOTSUPP) => {
            left_out.owners += 1;
            Ok(())
        }
        other => other,
    }
}

fn owns(stat: &FileStat, owner: Owner) -> bool {
    (stat.st_uid, stat.st_gid) == (owner.uid, owner.gid)
}

/// Whether a name is one of [`Place::temporary`].
fn is_temporary(name: &std::ffi::OsStr) -> bool {
    let digits = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY));
    digits.is_some_and(|digits| {
        digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn time(mtime: Mtime) -> TimeSpec {
    TimeSpec::new(mtime.seconds, i64::from(mtime.nanos))
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}
