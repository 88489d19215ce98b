//! Making things in a directory of this machine, whatever is in it already.
//!
//! Must always be true: nothing is made, changed or removed outside the directory that the user named. A name is always a
//! single component, opened relative to a descriptor and never followed, so neither a link that lies in the way nor one
//! that the repository itself holds leads anywhere. A file appears under its name only when it is whole.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, mkdirat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use xattr::FileExt;

use crate::format::{Mtime, XattrList};
use crate::repo::RepoError;
use crate::types::{Name, Nonce, Random, RepoPath};

use super::local::{has_none, local};

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

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
    pub(super) xattrs: XattrList,
}

/// Whether a file system took the extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum XattrsKept {
    All,
    /// It knows none.
    LeftOut,
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
        Ok(Self { fd: Arc::new(file.into()), path: path.to_owned(), random })
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
                Ok(())
            }
            Err(error) => Err(self.failed("making the directory", name, error)),
        }
    }

    /// Whether `name` is a file of this size, time and mode: an earlier run wrote it.
    pub(super) fn has_file(
        &self,
        name: Name<'_>,
        size: u64,
        finish: (u16, Mtime),
    ) -> Result<bool, RepoError> {
        let there = self.stat(name).map_err(|e| self.failed("reading", name, e))?;
        let (mode, mtime) = finish;
        Ok(there.is_some_and(|stat| {
            kind(&stat) == SFlag::S_IFREG
                && u64::try_from(stat.st_size) == Ok(size)
                && stat.st_mode & 0o7777 == u32::from(mode)
                && (stat.st_mtime, stat.st_mtime_nsec) == (mtime.seconds, i64::from(mtime.nanos))
        }))
    }

    /// Begins a file that will be `name`.
    pub(super) fn new_file(&self, name: Name<'_>) -> Result<NewFile, RepoError> {
        let temporary = self.temporary();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&*self.fd, temporary.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|e| self.failed("writing", name, e))?;
        let name = name.as_os().to_owned();
        Ok(NewFile { place: self.clone(), name, file: File::from(fd), temporary: Some(temporary) })
    }

    /// Makes the symbolic link `name`.
    pub(super) fn symlink(&self, name: Name<'_>, target: &[u8], mtime: Mtime) -> Result<(), RepoError> {
        let failed = |e| self.failed("making the link", name, e);
        let target = std::ffi::OsStr::from_bytes(target);
        let there = readlinkat(&*self.fd, name.as_os());
        if there.is_ok_and(|there| there == target) {
            return self.link_time(name.as_os(), mtime).map_err(failed);
        }
        let temporary = self.temporary();
        symlinkat(target, &*self.fd, temporary.as_os_str()).map_err(failed)?;
        let done = self
            .link_time(&temporary, mtime)
            .and_then(|()| renameat(&*self.fd, temporary.as_os_str(), &*self.fd, name.as_os()));
        done.map_err(|error| {
            let _ = unlinkat(&*self.fd, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
            failed(error)
        })
    }

    /// Sets what is to be set on this directory, when nothing more is written into it.
    pub(super) fn finish(&self, finish: &Finish) -> Result<XattrsKept, RepoError> {
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
        format!(".atfs-export-{}", Nonce::from_bytes(self.random.bytes16()).to_hex()).into()
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
    pub(super) fn finish(mut self, finish: &Finish) -> Result<XattrsKept, RepoError> {
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

/// Attributes while the file is still writable for us, the time last.
fn set(file: &File, finish: &Finish) -> io::Result<XattrsKept> {
    use std::ffi::OsStr;
    let mut kept = XattrsKept::All;
    for (name, value) in &finish.xattrs.0 {
        match file.set_xattr(OsStr::from_bytes(name), value) {
            Err(error) if has_none(&error) => kept = XattrsKept::LeftOut,
            other => other?,
        }
    }
    fchmod(file, Mode::from_bits_truncate(u32::from(finish.mode)))?;
    let time = time(finish.mtime);
    futimens(file, &time, &time)?;
    Ok(kept)
}

fn time(mtime: Mtime) -> TimeSpec {
    TimeSpec::new(mtime.seconds, i64::from(mtime.nanos))
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}
