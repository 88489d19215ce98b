//! `atfs export`: a plain copy of a version, or of a part of one.

use std::path::PathBuf;
use std::sync::Arc;

use crate::repo::files::{Owners, export};
use crate::types::{Address, ByteSize, NoProgress, Progress};

use super::app::App;
use super::args::{FormatArgs, address_parser};
use super::entry;
use super::error::CliError;
use super::hint::Explain;
use super::open;

/// Copy a version, or a part of one, to a plain directory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The content of a directory goes into DIR, which is made if it does not exist; a file goes to DIR,
as its new name. The same command again continues a run that was interrupted, and removes what that
one left unfinished. As root owners are restored (as with `tar` and `cp -a`), else the copy is
yours. When the command has succeeded, the copy is on the disk.

Examples:
  atfs export s3://pathology/slides@v1 ./slides-v1
  atfs export s3://pathology/slides@v1:2026/labels.csv labels.csv")]
pub(super) struct Args {
    /// What to copy: REPOSITORY[@REVISION[:PATH]]
    #[arg(value_parser = address_parser())]
    address: Address,

    /// Where to: a directory, or for a single file its new name
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    to: PathBuf,

    /// As root too: the copy belongs to you, not to the owners of the files in the repository
    #[arg(long)]
    no_owners: bool,

    #[command(flatten)]
    format: FormatArgs,
}

#[derive(serde::Serialize)]
struct JsonExported {
    files: u64,
    bytes: u64,
    present: u64,
    directories: u64,
    symlinks: u64,
    without_xattrs: u64,
    without_owners: u64,
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let (snapshot, path) = open::snapshot(app, &args.address).await?;
    if !path.is_root() {
        // For the error: it knows the address as it was typed.
        entry::existing(&snapshot, &path, &args.address).await?;
    }
    let meter = app.meter().map(Arc::new);
    let progress: Arc<dyn Progress> = match &meter {
        Some(meter) => Arc::clone(meter) as _,
        None => Arc::new(NoProgress),
    };
    let owners = match nix::unistd::geteuid().is_root() && !args.no_owners {
        true => Owners::Restore,
        false => Owners::Leave,
    };
    let exported = export(&snapshot, &path, &args.to, owners, progress).await;
    if let Some(meter) = meter {
        meter.finish();
    }
    let summary = exported.explain(&args.address.url)?;
    if args.format.is_json() {
        return app.out.json(&JsonExported {
            files: summary.files,
            bytes: summary.bytes,
            present: summary.present,
            directories: summary.directories,
            symlinks: summary.symlinks,
            without_xattrs: summary.without_xattrs,
            without_owners: summary.without_owners,
        });
    }
    let place = args.to.display();
    app.out.note(format!("{} files ({}) written to {place}", summary.files, ByteSize(summary.bytes)));
    if summary.present > 0 {
        app.out.note(format!("{} files were there already", summary.present));
    }
    if summary.without_owners > 0 {
        let n = summary.without_owners;
        app.out.warn(format!(
            "the file system there does not let root give files away: {n} entries do not have their owners"
        ));
    }
    if summary.without_xattrs > 0 {
        let n = summary.without_xattrs;
        app.out.warn(format!(
            "the file system there takes no extended attributes: {n} entries are without theirs"
        ));
    }
    Ok(())
}
