//! `atfs umount`: take mounts away.

use std::path::PathBuf;

use crate::daemon::client;
use crate::daemon::mount::{FS_TYPE, MountTable, Unmount};
use crate::types::RepoUrl;

use super::app::App;
use super::error::CliError;
use super::hint::Explain;

/// Unmount
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atfs umount /data/slides
  atfs umount --lazy /data/slides     also while programs use it
  atfs umount --all")]
pub(super) struct Args {
    /// Where it is mounted
    #[arg(value_name = "DIR", required_unless_present = "all", value_hint = clap::ValueHint::DirPath)]
    dirs: Vec<PathBuf>,

    /// Take it out of the tree at once; programs that use it keep what they have open
    #[arg(short, long)]
    lazy: bool,

    /// Every mount of atfs on this machine
    #[arg(short, long, conflicts_with = "dirs")]
    all: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let cache_dir = app.config()?.cache_dir()?;
    let how = if args.lazy { Unmount::Lazy } else { Unmount::WhenIdle };
    let dirs = if args.all { every_mount()? } else { args.dirs.clone() };
    let nowhere = RepoUrl::Local(PathBuf::new());
    let mut failed = None;
    for dir in &dirs {
        match client::unmount(&cache_dir, dir, how).explain(&nowhere) {
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

/// Innermost first, so that a mount inside another goes before it.
fn every_mount() -> Result<Vec<PathBuf>, CliError> {
    let table =
        MountTable::read().map_err(|e| CliError::failed("the mount table cannot be read").caused_by(e))?;
    let ours = table.entries().filter(|entry| entry.fs_type == FS_TYPE);
    let mut dirs: Vec<PathBuf> = ours.map(|entry| entry.mount_point.clone()).collect();
    dirs.reverse();
    Ok(dirs)
}
