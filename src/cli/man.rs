//! `atfs man`: manual pages, one per command, from the definition of the command line.

use std::path::{Path, PathBuf};

use super::app::App;
use super::error::CliError;

/// Write the manual pages into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  atfs man /usr/local/share/man/man1")]
pub(super) struct Args {
    /// The folder; made if it does not exist
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
}

/// Runs the command.
pub(super) fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let failed = |path: &Path, error| CliError::failed(format!("writing {}: {error}", path.display()));
    std::fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, error))?;
    let mut command = super::help::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, &mut pages);
    for (file, page) in &pages {
        let path = args.dir.join(file);
        std::fs::write(&path, page).map_err(|error| failed(&path, error))?;
        app.out.line(path.as_os_str().as_encoded_bytes())?;
    }
    Ok(())
}

/// `atfs.1`, `atfs-ls.1`, `atfs-branch-create.1`, ... and what they hold.
fn collect(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) {
    let source = format!("atfs {}", env!("CARGO_PKG_VERSION"));
    let man = clap_mangen::Man::new(command.clone()).source(source).manual("atfs");
    let mut page = Vec::new();
    // Writing into memory cannot fail.
    if man.render(&mut page).is_ok() {
        pages.push((man.get_filename(), page));
    }
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        collect(sub, pages);
    }
}
