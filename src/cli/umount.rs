//! `atfs umount`: take mounts away.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::daemon::mount::{FS_TYPE, MountError, MountTable, Unmount};
use crate::daemon::{DaemonError, client};
use crate::types::RepoUrl;

use super::app::App;
use super::error::CliError;
use super::hint::Explain;

/// A busy mount is tried again so often: nobody tells when its last file is closed, and each try looks through /proc.
const AGAIN: Duration = Duration::from_millis(250);

/// Take mounts away
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A mount that programs use stays, and the error names them. --timeout waits for them to end; --lazy
does not wait: the mount disappears at once, and what they have open stays readable until they
close it.

Examples:
  atfs umount /data/slides
  atfs umount --timeout 60 /data/slides    wait up to a minute for programs that use it
  atfs umount --lazy /data/slides          do not wait for them
  atfs umount --all")]
pub(super) struct Args {
    /// Where it is mounted
    #[arg(value_name = "DIR", required_unless_present = "all", value_hint = clap::ValueHint::DirPath)]
    dirs: Vec<PathBuf>,

    /// Take it out of the tree at once; programs that use it keep what they have open
    #[arg(short, long, conflicts_with = "timeout")]
    lazy: bool,

    /// Wait so many seconds, in all, for programs that use it; then give up and name them
    #[arg(long, value_name = "SECONDS", default_value = "0", hide_default_value = true, value_parser = seconds)]
    timeout: Duration,

    /// Every mount of atfs on this machine
    #[arg(short, long, conflicts_with = "dirs")]
    all: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let cache_dir = app.config()?.cache_dir()?;
    let end = Instant::now() + args.timeout;
    let dirs = if args.all { every_mount()? } else { args.dirs.clone() };
    let nowhere = RepoUrl::Local(PathBuf::new());
    let mut failed = None;
    for dir in &dirs {
        let done = match args.lazy {
            true => client::unmount(&cache_dir, dir, Unmount::Lazy),
            false => when_idle(&cache_dir, dir, end, app),
        };
        match done.explain(&nowhere) {
            Ok(()) => app.out.detail(format!("{} is unmounted", dir.display())),
            // The others are unmounted all the same.
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    app.out.error(&earlier);
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Unmounts as soon as nobody uses it, until `end`; says once for whom it waits.
///
/// # Errors
/// [`MountError::Busy`] when somebody still does at `end`; as [`client::unmount`].
pub(super) fn when_idle(cache_dir: &Path, dir: &Path, end: Instant, app: &App) -> Result<(), DaemonError> {
    let mut said = false;
    loop {
        let busy = match client::unmount(cache_dir, dir, Unmount::WhenIdle) {
            Err(DaemonError::Mount(busy @ MountError::Busy { .. })) => busy,
            done => return done,
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(busy.into());
        }
        if !std::mem::replace(&mut said, true) {
            app.out.note(format!("{busy}; waiting up to {} s", left.as_secs_f64().ceil()));
        }
        std::thread::sleep(AGAIN.min(left));
    }
}

/// Any number of seconds up to a day: beyond that somebody has mistaken the unit.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("write a number of seconds, from 0 to 86400".into()),
    }
}

/// Innermost first, so that a mount inside another goes before it.
fn every_mount() -> Result<Vec<PathBuf>, CliError> {
    let table =
        MountTable::read().map_err(|e| CliError::failed("the mount table cannot be read").caused_by(e))?;
    let ours = table.entries().filter(|entry| entry.fs_type == FS_TYPE);
    let mut dirs: Vec<PathBuf> = ours.map(|entry| entry.mount_point.clone()).collect();
    dirs.reverse();
    Ok(dirs)
}
