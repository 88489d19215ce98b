//! Every system call that changes a workspace.
//!
//! In tests each of them is a point at which the process may die: from a chosen call on, none has any effect.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::SystemTime;

use nix::fcntl::{AtFlags, FallocateFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{Mode, SFlag, futimens, mkdirat, mknodat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use xattr::FileExt as _;

/// A name in an open directory.
pub(super) type At<'a> = (&'a File, &'a OsStr);

/// The door to the disk. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    boot: u64,
    #[cfg(test)]
    pub(super) kill: kill::Kill,
}

impl Default for Disk {
    fn default() -> Self {
        // A machine that does not say which boot this is has another each time: then only what was synced counts.
        let boot = std::fs::read("/proc/sys/kernel/random/boot_id");
        let boot = boot.map_or_else(
            |_| rand::random(),
            |id| u64::from_le_bytes(*blake3::hash(&id).as_bytes().first_chunk().expect("32 bytes")),
        );
        Self::of_boot(boot)
    }
}

impl Disk {
    /// The door in this boot of the machine.
    pub(super) fn of_boot(boot: u64) -> Self {
        Self {
            boot,
            #[cfg(test)]
            kill: kill::Kill::default(),
        }
    }

    /// Which boot of the machine this is.
    pub(super) fn boot(&self) -> u64 {
        self.boot
    }

    /// The next call happens, unless the process is dead.
    fn step(&self) -> io::Result<()> {
        #[cfg(test)]
        self.kill.step()?;
        Ok(())
    }

    /// A new file, open for reading and writing.
    pub(super) fn create(&self, (dir, name): At<'_>) -> io::Result<File> {
        self.step()?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(dir, name, flags, Mode::from_bits_truncate(0o600))?.into())
    }

    /// A new directory.
    pub(super) fn make_directory(&self, (dir, name): At<'_>) -> io::Result<()> {
        self.step()?;
        Ok(mkdirat(dir, name, Mode::from_bits_truncate(0o700))?)
    }

    /// A new whiteout.
    pub(super) fn make_whiteout(&self, (dir, name): At<'_>) -> io::Result<()> {
        self.step()?;
        Ok(mknodat(dir, name, SFlag::S_IFCHR, Mode::empty(), 0)?)
    }

    /// A rename, in one of the ways of `renameat2`.
    pub(super) fn rename(&self, from: At<'_>, to: At<'_>, how: RenameFlags) -> io::Result<()> {
        self.step()?;
        Ok(renameat2(from.0, from.1, to.0, to.1, how)?)
    }

    /// One more name of a file.
    pub(super) fn link(&self, from: At<'_>, to: At<'_>) -> io::Result<()> {
        self.step()?;
        Ok(linkat(from.0, from.1, to.0, to.1, AtFlags::empty())?)
    }

    /// Takes a name away from a file or whiteout.
    pub(super) fn unlink(&self, (dir, name): At<'_>) -> io::Result<()> {
        self.step()?;
        Ok(unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes an empty directory.
    pub(super) fn remove_directory(&self, (dir, name): At<'_>) -> io::Result<()> {
        self.step()?;
        Ok(unlinkat(dir, name, UnlinkatFlags::RemoveDir)?)
    }

    pub(super) fn set_xattr(&self, file: &File, name: &OsStr, value: &[u8]) -> io::Result<()> {
        self.step()?;
        file.set_xattr(name, value)
    }

    pub(super) fn remove_xattr(&self, file: &File, name: &OsStr) -> io::Result<()> {
        self.step()?;
        file.remove_xattr(name)
    }

    /// `None`: the time stays as it is.
    pub(super) fn set_times(
        &self,
        file: &File,
        accessed: Option<SystemTime>,
        modified: Option<SystemTime>,
    ) -> io::Result<()> {
        self.step()?;
        let spec = |time: Option<SystemTime>| time.map_or(TimeSpec::UTIME_OMIT, time_spec);
        Ok(futimens(file, &spec(accessed), &spec(modified))?)
    }

    pub(super) fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        self.step()?;
        file.set_len(len)
    }

    pub(super) fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.step()?;
        file.write_all_at(bytes, offset)
    }

    pub(super) fn allocate(&self, file: &File, how: FallocateFlags, offset: i64, len: i64) -> io::Result<()> {
        self.step()?;
        Ok(nix::fcntl::fallocate(file, how, offset, len)?)
    }
}

/// The instant as the kernel takes it.
fn time_spec(time: SystemTime) -> TimeSpec {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => TimeSpec::new(after.as_secs().cast_signed(), after.subsec_nanos().into()),
        Err(before) => {
            let before = before.duration();
            let nanos = i64::from(before.subsec_nanos());
            let borrowed = i64::from(nanos > 0);
            let seconds = -before.as_secs().cast_signed() - borrowed;
            TimeSpec::new(seconds, borrowed * 1_000_000_000 - nanos)
        }
    }
}

#[cfg(test)]
pub(super) mod kill {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Dies at a chosen call.
    #[derive(Debug, Clone)]
    pub(in crate::workspace) struct Kill(Arc<AtomicU64>);

    impl Default for Kill {
        fn default() -> Self {
            Self(Arc::new(AtomicU64::new(u64::MAX)))
        }
    }

    impl Kill {
        /// After so many more calls the process is dead.
        pub(in crate::workspace) fn after(&self, calls: u64) {
            self.0.store(calls, Ordering::SeqCst);
        }

        /// Whether it is.
        pub(in crate::workspace) fn is_dead(&self) -> bool {
            self.0.load(Ordering::SeqCst) == 0
        }

        pub(super) fn step(&self) -> io::Result<()> {
            let alive = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            alive.map(drop).map_err(|_| io::Error::other("killed"))
        }
    }
}
