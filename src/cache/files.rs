//! What is done to a file of the cache, whichever it is.

use std::fs::{self, DirBuilder, File, FileTimes, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A last use older than that is written down when an entry is opened. The order of eviction after a
/// restart is that exact; more often would be a write per open.
const USE_RESOLUTION: Duration = Duration::from_secs(60);

/// Notes the use of a file that was just opened, where the order of eviction after a restart finds it.
pub(super) fn note_use(file: &File, metadata: &Metadata) {
    let now = SystemTime::now();
    let recent =
        metadata.accessed().is_ok_and(|used| now.duration_since(used).is_ok_and(|age| age < USE_RESOLUTION));
    if !recent {
        // Nothing else hangs on it.
        let _ = file.set_times(FileTimes::new().set_accessed(now));
    }
}

/// Opens a file of the cache: never what a link points at.
pub(super) fn open_read_only(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Gives a file its name in a shard, which is made if it is not there.
pub(super) fn rename_into(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if let Some(shard) = to.parent() {
                // Another thread may make it as well.
                let _ = DirBuilder::new().mode(0o700).create(shard);
            }
            fs::rename(from, to)
        }
        done => done,
    }
}
