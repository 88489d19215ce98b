//! How much of its disk the cache may take, and how much it leaves.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::cache::CacheOptions;

/// An amount of disk space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskSpace {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the disk that the cache lies on, 1 to 100.
    PercentOfDisk(u8),
}

impl DiskSpace {
    /// In bytes, on the disk of `dir`.
    fn on(self, dir: &Path) -> io::Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::PercentOfDisk(percent) => {
                let disk = statvfs(dir)?;
                Ok(disk.blocks().saturating_mul(disk.fragment_size()) / 100 * u64::from(percent))
            }
        }
    }
}

/// How the cache in `dir` (which exists) is to behave.
///
/// # Errors
/// The file system of `dir` does not say how large it is.
pub fn cache_options(dir: &Path, limit: DiskSpace, floor: Option<DiskSpace>) -> io::Result<CacheOptions> {
    let floor_bytes = floor.map(|floor| floor.on(dir)).transpose()?;
    Ok(CacheOptions { floor_bytes, ..CacheOptions::new(limit.on(dir)?) })
}
