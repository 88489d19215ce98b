//! What the cache asks of the machine: in which boot it runs, and that what was written reaches the disk. A seam: tests
//! start the machine anew, and let its disk fail, without doing either.

use std::fmt;
use std::fs::{self, File};
use std::io;

/// The machine that the cache runs on.
pub trait Machine: Send + Sync + fmt::Debug {
    /// Names the boot of the machine; `None` when it cannot be told, and then nothing is known to be of this one.
    fn boot_id(&self) -> Option<String>;

    /// Returns when everything that was written before to the file system of `file` is on the disk.
    ///
    /// # Errors
    /// Something was not, and may be lost.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// This machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn boot_id(&self) -> Option<String> {
        fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().filter(|id| !id.is_empty())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        Ok(nix::unistd::syncfs(file)?)
    }
}
