//! The daemon's log: lines of text in a file whose size is bounded.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

/// A log that has grown to this many bytes becomes `<name>.1`, and the one before it is dropped.
const MAX_BYTES: u64 = 8 << 20;

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// To the daemon's file.
    File,
    /// To standard error: in the foreground, under systemd.
    Stderr,
}

/// Sends the process's log lines to `target`. What is logged says `filter` (as `RUST_LOG` is written). A process logs to
/// one place: a second call changes nothing.
///
/// # Errors
/// The file cannot be opened.
pub(super) fn start(target: &LogTarget, file: &Path, filter: Option<&str>) -> io::Result<()> {
    let filter = EnvFilter::new(filter.unwrap_or("info"));
    // A line that cannot be written is lost. To say so on standard error, as is usual, panics when that is the same full
    // disk, and every later line with it.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).log_internal_errors(false);
    // An earlier call in this process (a test with two servers, say) keeps its target.
    let _ = match target {
        LogTarget::Stderr => builder.with_writer(io::stderr).try_init(),
        LogTarget::File => {
            let log = Bounded::open(file.to_owned(), MAX_BYTES)?;
            builder.with_ansi(false).with_writer(Mutex::new(log)).try_init()
        }
    };
    Ok(())
}

/// A file that starts anew when it is full.
#[derive(Debug)]
struct Bounded {
    path: PathBuf,
    file: File,
    written: u64,
    limit: u64,
}

impl Bounded {
    fn open(path: PathBuf, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let written = file.metadata()?.len();
        Ok(Self { path, file, written, limit })
    }
}

impl Write for Bounded {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.written > 0 && self.written + line.len() as u64 > self.limit {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            fs::rename(&self.path, old)?;
            *self = Self::open(self.path.clone(), self.limit)?;
        }
        // One write per line: lines of two processes never mix in a file opened for appending.
        self.file.write_all(line)?;
        self.written += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_log_never_outgrows_twice_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Bounded::open(path.clone(), 100).unwrap();
        for i in 0..50 {
            writeln!(log, "line {i:04}").unwrap();
        }
        let (new, old) =
            (fs::read_to_string(&path).unwrap(), fs::read_to_string(dir.path().join("log.1")).unwrap());
        assert!(new.len() <= 100 && old.len() <= 100);
        assert!(new.ends_with("line 0049\n"));
        assert!(old.lines().last().unwrap() < new.lines().next().unwrap());
        // A restart goes on behind what is there.
        let again = Bounded::open(path, 100).unwrap();
        assert_eq!(again.written, new.len() as u64);
    }
}
