//! Starting a daemon in the background, and being told when it listens.
//!
//! The client runs the same program with the daemon's command and reads one line from its standard output: ready, or why
//! not. So a daemon that cannot start is an error of the command that needed it, not a silence in a log.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::DaemonError;
use super::folder::Folder;
use super::notify::notify;
use super::protocol::StoreAccess;
use super::server::{DaemonConfig, Server};

/// A daemon that says nothing for so long does not start. It may wait for the lock of one that is going.
const START: Duration = Duration::from_secs(30);

/// How to start the daemon: the program and what makes it run [`serve_detached`] for the cache directory.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program, normally this very one.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// The line that a starting daemon says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Readiness {
    /// It listens.
    Ready,
    /// Another one listens.
    Taken,
    /// It cannot.
    Failed(String),
}

/// Starts a daemon and waits until it, or another, listens.
///
/// # Errors
/// [`DaemonError::NotStarted`].
pub(super) fn start(folder: &Folder, launch: &Launch) -> Result<(), DaemonError> {
    let not_started = |reason: String| DaemonError::NotStarted { reason, log: folder.log() };
    // A panic is said on standard error: it belongs into the log.
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(folder.log());
    let log = log.map_err(|source| DaemonError::Folder { action: "opening", path: folder.log(), source })?;
    let mut command = Command::new(&launch.program);
    // Each mount brings its own; the first client's must not serve the next one.
    for variable in StoreAccess::VARIABLES {
        command.env_remove(variable);
    }
    let mut child = command
        .args(&launch.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|e| not_started(format!("{}: {e}", launch.program.display())))?;
    let Some(output) = child.stdout.take() else { return Err(not_started("no pipe".into())) };
    let (send, receive) = mpsc::channel();
    // It reads the line, then waits for the daemon's end, so that a client that lives on leaves no zombie.
    let watch = move || {
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line).map(|_| line);
        let _ = send.send(read);
        let _ = child.wait();
    };
    let spawned = std::thread::Builder::new().name("watch-daemon".into()).spawn(watch);
    spawned.map_err(|e| not_started(e.to_string()))?;
    let line = match receive.recv_timeout(START) {
        Ok(Ok(line)) if !line.is_empty() => line,
        Ok(_) => return Err(not_started("it ended without saying why".into())),
        Err(_) => return Err(not_started(format!("it said nothing within {} s", START.as_secs()))),
    };
    match serde_json::from_str(&line) {
        Ok(Readiness::Ready | Readiness::Taken) => Ok(()),
        Ok(Readiness::Failed(reason)) => Err(not_started(reason)),
        Err(_) => Err(not_started(format!("it said {:?}", line.trim()))),
    }
}

/// The daemon's whole life in a process that a client started: says on standard output when it listens, leaves the
/// client's session and directory, serves, and returns when it is done.
///
/// # Errors
/// As [`Server::start`] and [`Server::run`]; the client has been told.
pub fn serve_detached(config: DaemonConfig) -> Result<(), DaemonError> {
    // Not the leader of a session already, unless it was started by hand: then it stays in it.
    let _ = nix::unistd::setsid();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let started = Server::start(config);
    let said = say(&match &started {
        Ok(_) => Readiness::Ready,
        Err(DaemonError::Taken { .. }) => Readiness::Taken,
        Err(error) => Readiness::Failed(error.to_string()),
    });
    let server = started?;
    if said.is_err() {
        // The client is gone; what it wanted may be wanted by the next. The daemon exits by itself if not.
        tracing::debug!("nobody waits for the daemon");
    }
    // It must not keep the client's directory busy.
    let _ = std::env::set_current_dir("/");
    server.run()
}

/// The daemon's whole life under a service manager, which is told when it listens; it stays without mounts.
///
/// # Errors
/// As [`Server::start`] and [`Server::run`].
pub fn serve_managed(config: DaemonConfig) -> Result<(), DaemonError> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let server = Server::start(DaemonConfig { idle: Duration::MAX, ..config })?;
    if let Err(error) = notify("READY=1") {
        tracing::warn!("the service manager cannot be told: {error}");
    }
    let _ = std::env::set_current_dir("/");
    server.run()
}

fn say(readiness: &Readiness) -> io::Result<()> {
    let mut out = io::stdout();
    serde_json::to_writer(&mut out, readiness)?;
    out.write_all(b"\n")?;
    out.flush()?;
    // The client reads no further; nothing else may go where its output went.
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(null)?;
    Ok(())
}
