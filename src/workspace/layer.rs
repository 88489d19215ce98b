//! One layer: a directory that mirrors what was changed, and what may be done to it.
//!
//! **One system call shows.** Whatever is made is made in `scratch/`, with its record, and renamed into place; what goes is renamed away and then
//! taken apart. A process that dies leaves the layer before or after that call, and things in `scratch/`, which the next one deletes.
//!
//! ```text
//! layers/3/tree/      the upper: names as they are in the mount
//! layers/3/scratch/   without a place yet, or without one any more
//! layers/3/ranges/    logs of local ranges, by number
//! ```

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use crate::format::EntryKind;

use super::disk::{At, Disk};
use super::ranges::Ranges;
use super::record::Record;

/// What a layer has under a name.
#[derive(Debug)]
pub(super) enum Seen {
    /// Nothing: what lies below shows.
    Nothing,
    /// A whiteout: nothing is here.
    Whiteout,
    /// A file, directory or symlink.
    Held(Box<Held>),
}

/// A file, directory or symlink of a layer, open for reading.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) file: File,
    pub(super) record: Record,
    pub(super) stat: Metadata,
}

/// Whether the view below has something under the name, which must be hidden when the name goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Below {
    Has,
    Lacks,
}

/// A name of a layer's directory, in no order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: Vec<u8>,
    pub(super) is_whiteout: bool,
}

/// One layer.
#[derive(Debug)]
pub(super) struct Layer {
    dir: PathBuf,
    tree: File,
    scratch: File,
    next: AtomicU64,
    pub(super) disk: Disk,
}

impl Layer {
    /// Makes an empty layer in the directory `dir`, whose root has the record `root`.
    pub(super) fn create(dir: &Path, root: &Record, disk: Disk) -> io::Result<Self> {
        // Without its root's record it is no layer yet: one that was begun and not finished is begun again.
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        for part in ["tree", "scratch", "ranges"] {
            DirBuilder::new().recursive(true).mode(0o700).create(dir.join(part))?;
        }
        let layer = Self::at(dir, disk)?;
        root.write(&layer.disk, &layer.tree)?;
        Ok(layer)
    }

    /// Opens the layer in `dir`, and deletes what has no place in it.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`]: it is no layer.
    pub(super) fn open(dir: &Path, disk: Disk) -> io::Result<Self> {
        let layer = Self::at(dir, disk)?;
        Record::of(&layer.tree)?;
        for Listed { name, .. } in names(&layer.scratch)? {
            layer.clear((&layer.scratch, OsStr::from_bytes(&name)))?;
        }
        Ok(layer)
    }

    fn at(dir: &Path, disk: Disk) -> io::Result<Self> {
        let open = |name| File::open(dir.join(name));
        Ok(Self {
            dir: dir.to_path_buf(),
            tree: open("tree")?,
            scratch: open("scratch")?,
            next: AtomicU64::new(0),
            disk,
        })
    }

    /// Its place among the layers of its workspace: the newest has the highest.
    ///
    /// # Errors
    /// Its directory was renamed.
    pub(super) fn number(&self) -> io::Result<u64> {
        let name = self.dir.file_name().and_then(OsStr::to_str);
        name.and_then(|name| name.parse().ok()).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Its root directory.
    pub(super) fn look_at_root(&self) -> io::Result<Held> {
        let file = self.tree.try_clone()?;
        Ok(Held { record: Record::of(&file)?, stat: file.metadata()?, file })
    }

    /// A new log of local ranges, and its number.
    pub(super) fn make_ranges(&self) -> io::Result<(u64, Ranges)> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            match Ranges::create(&self.ranges_path(number), &self.disk) {
                // Of a process before this one.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return Ok((number, made?)),
            }
        }
    }

    /// Deletes a log that no record names any more. One that stays goes with its layer.
    pub(super) fn drop_ranges(&self, number: Option<u64>) {
        if let Some(number) = number {
            let _ = fs::remove_file(self.ranges_path(number));
        }
    }

    /// Where the log of local ranges with this number lies.
    pub(super) fn ranges_path(&self, number: u64) -> PathBuf {
        self.dir.join("ranges").join(number.to_string())
    }

    /// What is under a name.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for something that atfs has not made.
    pub(super) fn look(&self, (dir, name): At<'_>) -> io::Result<Seen> {
        let found = match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::ENOENT) => return Ok(Seen::Nothing),
            Err(errno) => return Err(errno.into()),
        };
        match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFCHR if found.st_rdev == 0 => Ok(Seen::Whiteout),
            SFlag::S_IFDIR | SFlag::S_IFREG => {
                let file =
                    File::from(openat(dir, name, OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?);
                let (record, stat) = (Record::of(&file)?, file.metadata()?);
                if stat.is_dir() == (record.kind == EntryKind::Directory) {
                    return Ok(Seen::Held(Box::new(Held { file, record, stat })));
                }
                Err(io::Error::new(io::ErrorKind::InvalidData, "its attribute user.atfs is of another kind"))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file, directory or whiteout")),
        }
    }

    /// A file that [`Layer::look`] found, open for writing.
    pub(super) fn open_to_write(&self, (dir, name): At<'_>) -> io::Result<File> {
        Ok(openat(dir, name, OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?.into())
    }

    /// Makes a file at a name that is free or a whiteout. `fill` gives it what it must have when it is first seen.
    pub(super) fn make_file(
        &self,
        at: At<'_>,
        record: &Record,
        fill: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<File> {
        let name = self.scratch_name();
        let made = (&self.scratch, name.as_os_str());
        let file = self.disk.create(made)?;
        let place = || {
            fill(&file)?;
            record.write(&self.disk, &file)?;
            self.place(made, at)
        };
        place().inspect_err(|_| {
            let _ = self.disk.unlink(made);
        })?;
        Ok(file)
    }

    /// Makes a directory at a name that is free or a whiteout. `fill` gives it what it must have when it is first seen.
    pub(super) fn make_directory(
        &self,
        at: At<'_>,
        record: &Record,
        fill: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<File> {
        let name = self.scratch_name();
        let made = (&self.scratch, name.as_os_str());
        self.disk.make_directory(made)?;
        let place = || {
            let file =
                File::from(openat(made.0, made.1, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?);
            record.write(&self.disk, &file)?;
            fill(&file)?;
            // A directory replaces no whiteout, but it changes places with one.
            match self.disk.rename(made, at, RenameFlags::RENAME_NOREPLACE) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.is_whiteout(at)? => {
                    self.disk.rename(made, at, RenameFlags::RENAME_EXCHANGE)?;
                    self.disk.unlink(made)?;
                }
                done => done?,
            }
            Ok(file)
        };
        place().inspect_err(|_| {
            let _ = self.disk.remove_directory(made);
        })
    }

    /// One more name for a file, at a name that is free or a whiteout.
    pub(super) fn link(&self, from: At<'_>, at: At<'_>) -> io::Result<()> {
        let name = self.scratch_name();
        let made = (&self.scratch, name.as_os_str());
        self.disk.link(from, made)?;
        self.place(made, at).inspect_err(|_| {
            let _ = self.disk.unlink(made);
        })
    }

    /// Takes away a name that the layer may or may not have; a directory goes with all that is in it, which must be
    /// whiteouts.
    pub(super) fn remove(&self, at: At<'_>, below: Below) -> io::Result<()> {
        let name = self.scratch_name();
        let aside = (&self.scratch, name.as_os_str());
        match (self.look(at)?, below) {
            (Seen::Nothing, Below::Has) => self.disk.make_whiteout(at),
            (Seen::Nothing, Below::Lacks) | (Seen::Whiteout, _) => Ok(()),
            (Seen::Held(held), Below::Has) => {
                self.disk.make_whiteout(aside)?;
                if held.stat.is_dir() {
                    self.disk.rename(aside, at, RenameFlags::RENAME_EXCHANGE)?;
                    self.clear(aside)
                } else {
                    self.disk.rename(aside, at, RenameFlags::empty())
                }
            }
            (Seen::Held(held), Below::Lacks) if held.stat.is_dir() => {
                self.disk.rename(at, aside, RenameFlags::RENAME_NOREPLACE)?;
                self.clear(aside)
            }
            (Seen::Held(_), Below::Lacks) => self.disk.unlink(at),
        }
    }

    /// Renames what the layer has at `from` to `to`, over what the layer has there: nothing, a whiteout, a file in the place of a
    /// file, an opaque directory that shows nothing in the place of a directory. `below`: of the name that it leaves.
    pub(super) fn rename(&self, from: At<'_>, to: At<'_>, below: Below) -> io::Result<()> {
        let Seen::Held(moved) = self.look(from)? else { return Err(Errno::ENOENT.into()) };
        let leave = match below {
            Below::Has => RenameFlags::RENAME_WHITEOUT,
            Below::Lacks => RenameFlags::empty(),
        };
        match self.look(to)? {
            Seen::Whiteout if moved.stat.is_dir() => {
                self.disk.rename(from, to, RenameFlags::RENAME_EXCHANGE)?;
                // The whiteout lies where the directory was.
                match below {
                    Below::Has => Ok(()),
                    Below::Lacks => self.disk.unlink(from),
                }
            }
            Seen::Held(there) if there.stat.is_dir() => {
                for Listed { name, .. } in names(&there.file)? {
                    self.disk.unlink((&there.file, OsStr::from_bytes(&name)))?;
                }
                self.disk.rename(from, to, leave)
            }
            Seen::Nothing | Seen::Whiteout | Seen::Held(_) => self.disk.rename(from, to, leave),
        }
    }

    /// Lets two things that the layer has change places.
    pub(super) fn exchange(&self, one: At<'_>, other: At<'_>) -> io::Result<()> {
        self.disk.rename(one, other, RenameFlags::RENAME_EXCHANGE)
    }

    fn place(&self, made: At<'_>, at: At<'_>) -> io::Result<()> {
        match self.disk.rename(made, at, RenameFlags::RENAME_NOREPLACE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.is_whiteout(at)? => {
                self.disk.rename(made, at, RenameFlags::empty())
            }
            done => done,
        }
    }

    fn is_whiteout(&self, at: At<'_>) -> io::Result<bool> {
        Ok(matches!(self.look(at)?, Seen::Whiteout))
    }

    fn scratch_name(&self) -> OsString {
        self.next.fetch_add(1, Ordering::Relaxed).to_string().into()
    }

    /// Deletes a file, or a directory with all that is in it.
    fn clear(&self, at: At<'_>) -> io::Result<()> {
        match self.disk.unlink(at) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EISDIR | libc::EPERM)) => {
                let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let dir = File::from(openat(at.0, at.1, flags, Mode::empty())?);
                for Listed { name, .. } in names(&dir)? {
                    self.clear((&dir, OsStr::from_bytes(&name)))?;
                }
                self.disk.remove_directory(at)
            }
            done => done,
        }
    }
}

/// The names in a directory of a layer.
pub(super) fn names(dir: &File) -> io::Result<Vec<Listed>> {
    // A descriptor of its own: it has a position.
    let mut dir = Dir::from_fd(openat(dir, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            // Whoever wants to be sure looks.
            let is_whiteout = entry.file_type() == Some(Type::CharacterDevice);
            names.push(Listed { name: name.to_vec(), is_whiteout });
        }
    }
    Ok(names)
}
