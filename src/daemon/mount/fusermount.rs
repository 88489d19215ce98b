//! Mounting without root: the setuid helper `fusermount3` mounts for us and hands the device back over a socket.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{MountError, Unmount};
use crate::daemon::descriptor;

const PROGRAM: &str = "fusermount3";

/// Mounts on `path` with fusermount3's option text.
///
/// # Errors
/// [`MountError::NotPermitted`] without the program, [`MountError::Fusermount`] with what it said.
pub(super) fn mount(path: &Path, options: &str) -> Result<File, MountError> {
    let (ours, theirs) = UnixStream::pair().map_err(|e| MountError::system("mounting on", path, e))?;
    // The helper finds its end of the socket as its standard input, which needs no inheritable descriptor here.
    let child = Command::new(PROGRAM)
        .args(["-o", options, "--"])
        .arg(path)
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| no_program(path, e))?;
    let device = descriptor::receive(&ours, &mut [0; 1]);
    let output =
        child.wait_with_output().map_err(|e| MountError::system("waiting for fusermount3 on", path, e))?;
    match device {
        Ok((_, Some(device))) if output.status.success() => Ok(File::from(device)),
        _ => Err(said(path, &output.stderr)),
    }
}

/// Unmounts `path`.
///
/// # Errors
/// As [`mount`]; [`MountError::Busy`].
pub(super) fn unmount(path: &Path, how: Unmount) -> Result<(), MountError> {
    let mut command = Command::new(PROGRAM);
    command.args(if how == Unmount::Lazy { &["-u", "-z", "--"][..] } else { &["-u", "--"] });
    let output = command.arg(path).stdin(Stdio::null()).output().map_err(|e| no_program(path, e))?;
    if output.status.success() {
        return Ok(());
    }
    if String::from_utf8_lossy(&output.stderr).contains("busy") {
        return Err(MountError::Busy { path: path.into(), holders: super::holders(path) });
    }
    Err(said(path, &output.stderr))
}

fn no_program(path: &Path, error: io::Error) -> MountError {
    match error.kind() {
        io::ErrorKind::NotFound => MountError::NotPermitted { path: path.into() },
        _ => MountError::system("running fusermount3 for", path, error),
    }
}

fn said(path: &Path, stderr: &[u8]) -> MountError {
    let text = String::from_utf8_lossy(stderr);
    let message = match text.trim() {
        "" => "it gave no reason".to_owned(),
        text => text.lines().next().unwrap_or(text).trim_start_matches("fusermount3: ").to_owned(),
    };
    MountError::Fusermount { path: path.into(), message }
}
