//! `atfs cat`: the bytes of files of a version, verified, on standard output.

use crate::format::EntryKind;
use crate::types::Address;

use super::app::App;
use super::args::address_parser;
use super::entry;
use super::error::CliError;
use super::hint::{Explain, quoted};
use super::open;

/// Read at a time: a few chunks, so that the store is asked for enough at once.
const STEP: usize = 8 << 20;

/// Write the content of files to standard output
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every byte is checked against its hash before it is written.

Examples:
  atfs cat s3://pathology/slides@v1:labels.csv | head
  atfs cat /srv/repos/slides@main~1:labels.csv > before.csv")]
pub(super) struct Args {
    /// The files: REPOSITORY[@REVISION]:PATH
    #[arg(value_name = "ADDRESS", required = true, value_parser = address_parser())]
    addresses: Vec<Address>,
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    for address in &args.addresses {
        let url = &address.url;
        let (snapshot, path) = open::snapshot(app, address).await?;
        if path.is_root() {
            return Err(CliError::usage(format!("{address} names no file"))
                .hint(format!("`atfs cat {}`", quoted(&format!("{url}@main:PATH")))));
        }
        let item = entry::existing(&snapshot, &path, address).await?;
        match item.entry.kind() {
            EntryKind::File => {}
            EntryKind::Directory => {
                return Err(CliError::failed(format!("{path} is a directory"))
                    .hint(format!("`atfs ls {}`", quoted(&address.to_string()))));
            }
            EntryKind::Symlink => {
                return Err(CliError::failed(format!("{path} is a symbolic link"))
                    .hint(format!("`atfs stat {}` shows where it points", quoted(&address.to_string()))));
            }
        }
        let mut offset = 0;
        while offset < item.entry.size() {
            let bytes = snapshot.read(&item, offset, STEP).await.explain(url)?;
            if bytes.is_empty() {
                break;
            }
            offset += bytes.len() as u64;
            app.out.bytes(&bytes)?;
        }
    }
    Ok(())
}
