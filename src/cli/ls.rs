//! `atfs ls`: what is in a directory of a version.

use crate::format::{EntryKind, LeafItem};
use crate::repo::Snapshot;
use crate::types::{Address, RepoPath};

use super::app::App;
use super::args::{FormatArgs, address_parser};
use super::entry::{self, JsonEntry};
use super::error::CliError;
use super::hint::Explain;
use super::open;

/// List a directory of a version
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atfs ls s3://pathology/slides
  atfs ls -l s3://pathology/slides@v1:2026
  atfs ls -R s3://pathology/slides@main:2026 | wc -l
  atfs ls -R --json /srv/repos/slides | jq -r 'select(.[].size > 1e9)'")]
pub(super) struct Args {
    /// What to list: REPOSITORY[@REVISION[:PATH]]
    #[arg(value_parser = address_parser())]
    address: Address,

    /// With mode, owner, group, size and time (UTC)
    #[arg(short, long)]
    long: bool,

    /// With everything below: one path per line, from the directory named
    #[arg(short = 'R', long)]
    recursive: bool,

    /// Only the entry itself, when it is a directory
    #[arg(short, long, conflicts_with = "recursive")]
    directory: bool,

    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let (snapshot, path) = open::snapshot(app, &args.address).await?;
    let url = &args.address.url;
    let mut list = List { app, args, array: args.format.is_json().then(|| app.out.json_array()), width: 1 };
    if !path.is_root() {
        let item = entry::existing(&snapshot, &path, &args.address).await?;
        if args.directory || item.entry.kind() != EntryKind::Directory {
            list.print(&[(path.clone(), path.as_bytes().to_vec(), item)])?;
            return list.end();
        }
    } else if args.directory {
        return Err(CliError::usage("the root of a version has no entry of its own"));
    }
    let ranks = match args.recursive {
        true => snapshot.subtree(&path).await,
        false => snapshot.children(&path).await,
    };
    list.range(&snapshot, &path, ranks.explain(url)?).await?;
    list.end()
}

struct List<'a> {
    app: &'a App,
    args: &'a Args,
    array: Option<super::output::JsonArray<'a>>,
    /// Digits of the largest size so far: columns may widen, never jump back.
    width: usize,
}

impl List<'_> {
    async fn range(
        &mut self,
        snapshot: &Snapshot,
        base: &RepoPath,
        ranks: std::ops::Range<u64>,
    ) -> Result<(), CliError> {
        let url = &self.args.address.url;
        let mut next = ranks.start;
        while next < ranks.end {
            let page = snapshot.page(next..ranks.end).await.explain(url)?;
            let Some(last) = page.last() else { break };
            next = last.rank + 1;
            let mut items = Vec::with_capacity(page.len());
            for found in page {
                let path = entry::path_of(&found.item, url)?;
                let shown = match path.strip_prefix(base) {
                    Some(below) => below.as_bytes().to_vec(),
                    None => path.as_bytes().to_vec(),
                };
                items.push((path, shown, found.item));
            }
            self.print(&items)?;
        }
        Ok(())
    }

    fn print(&mut self, items: &[(RepoPath, Vec<u8>, LeafItem)]) -> Result<(), CliError> {
        let digits = |item: &LeafItem| item.entry.size().to_string().len();
        self.width = items.iter().map(|(_, _, item)| digits(item)).max().unwrap_or(1).max(self.width);
        for (path, shown, item) in items {
            match &mut self.array {
                Some(array) => array.push(&JsonEntry::new(path, item))?,
                None if self.args.long => {
                    self.app.out.line(entry::long_line(self.app, shown, item, self.width))?;
                }
                None => self.app.out.line(entry::painted_name(self.app, shown, item))?,
            }
        }
        Ok(())
    }

    fn end(self) -> Result<(), CliError> {
        self.array.map_or(Ok(()), super::output::JsonArray::end)
    }
}
