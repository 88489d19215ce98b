//! Opening the FUSE device and mounting it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::unistd::{getgid, getuid};

use super::{Device, FS_TYPE, MountError, MountPoint, MountTable, Unmount, fusermount, unmount};

/// Who may enter a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// The user who mounted, and nobody else (not even root, for another user's mount).
    #[default]
    Owner,
    /// Everybody, as the modes of the files say (`allow_other`).
    Everybody,
}

/// How to mount.
#[derive(Debug, Clone)]
pub struct MountFlags {
    /// What the mount table shows as the source: the address.
    pub source: String,
    /// Who may enter.
    pub access: Access,
    /// The FUSE device, normally [`MountFlags::DEVICE`].
    pub device: PathBuf,
}

impl MountFlags {
    /// Where the FUSE device normally is.
    pub const DEVICE: &'static str = "/dev/fuse";
}

/// A mount whose descriptor nobody serves yet. Dropping it unmounts; [`FuseMount::keep`] leaves it mounted.
#[derive(Debug)]
pub struct FuseMount {
    point: MountPoint,
    device: File,
    number: Device,
    keep: bool,
}

/// Mounts a new FUSE connection on `point`, read-only: with mount(2) where that is permitted, else with fusermount3, which is
/// set to run as root: where root itself may not mount, it may not either. Until somebody
/// serves the descriptor, whoever looks at the mount point waits.
///
/// # Errors
/// [`MountError`].
pub fn open_fuse(point: MountPoint, flags: &MountFlags) -> Result<FuseMount, MountError> {
    let device = match mount_directly(point.path(), flags) {
        Err(MountError::NotPermitted { path }) if getuid().is_root() => {
            return Err(MountError::Confined { path });
        }
        Err(MountError::NotPermitted { .. }) => fusermount::mount(point.path(), &helper_options(flags))?,
        other => other?,
    };
    let mut mount = FuseMount { number: Device { major: 0, minor: 0 }, point, device, keep: false };
    // From here on a failure unmounts. The table is asked, not the mount point, which would wait for a server.
    let table =
        MountTable::read().map_err(|e| MountError::system("reading the mount table for", mount.path(), e))?;
    let entry = table.at(mount.path()).ok_or_else(|| MountError::NotMounted { path: mount.path().into() })?;
    mount.number = entry.device;
    Ok(mount)
}

fn mount_directly(path: &Path, flags: &MountFlags) -> Result<File, MountError> {
    let not_permitted = || MountError::NotPermitted { path: path.into() };
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(&flags.device);
    let device = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => MountError::NoDevice { path: flags.device.clone() },
        // The setuid helper may open what we may not.
        io::ErrorKind::PermissionDenied if !getuid().is_root() => not_permitted(),
        _ => match error.raw_os_error() {
            // A device node without a driver: the module is not loaded or the container may not use it.
            Some(libc::ENODEV | libc::ENXIO) => MountError::NoDevice { path: flags.device.clone() },
            _ => MountError::DeviceDenied { path: flags.device.clone(), source: error },
        },
    })?;
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        getuid(),
        getgid()
    );
    if flags.access == Access::Everybody {
        data.push_str(",allow_other");
    }
    let ms = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
    match nix::mount::mount(Some(flags.source.as_str()), path, Some(FS_TYPE), ms, Some(data.as_str())) {
        Ok(()) => Ok(device),
        Err(Errno::EPERM) => Err(not_permitted()),
        Err(Errno::ENODEV) => Err(MountError::NoDevice { path: flags.device.clone() }),
        // The kernel refuses a descriptor that is no FUSE device.
        Err(Errno::EINVAL) => Err(MountError::DeviceDenied {
            path: flags.device.clone(),
            source: io::Error::other("the kernel does not take it for a FUSE device"),
        }),
        Err(errno) => Err(MountError::system("mounting on", path, errno)),
    }
}

fn helper_options(flags: &MountFlags) -> String {
    // fusermount3 splits at commas that no backslash precedes.
    let source = flags.source.replace('\\', "\\\\").replace(',', "\\,");
    let mut options = format!("ro,nosuid,nodev,noatime,default_permissions,fsname={source},subtype=atfs");
    if flags.access == Access::Everybody {
        options.push_str(",allow_other");
    }
    options
}

impl FuseMount {
    /// The mount point.
    pub fn path(&self) -> &Path {
        self.point.path()
    }

    /// The file system's device number.
    pub fn number(&self) -> Device {
        self.number
    }

    /// The descriptor to be served.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// Leaves it mounted, now that it is served.
    pub fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for FuseMount {
    fn drop(&mut self) {
        if !self.keep {
            // Lazily, because nobody answers: a program that looked at it meanwhile would make it busy.
            let _ = unmount(self.point.path(), Unmount::Lazy);
        }
    }
}
