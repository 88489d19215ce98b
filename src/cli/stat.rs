//! `atfs stat`: all that is known of one path of a version.

use crate::format::{Content, EntryBody, LeafItem, XattrList};
use crate::types::{Address, ByteSize, CommitId};

use super::app::App;
use super::args::{FormatArgs, address_parser};
use super::entry::{self, JsonEntry};
use super::error::CliError;
use super::hint::Explain;
use super::names::escape;
use super::open;
use super::output::Paint;
use super::text::{JsonCommit, mtime_exact};

/// Show all that is known of a path, or of a version
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The hash of a file up to 1 MiB is its BLAKE3, as `b3sum` prints it; above that it names the list of
its chunks: equal hashes mean equal bytes.

Examples:
  atfs stat s3://pathology/slides@main:2026/a.svs
  atfs stat --json s3://pathology/slides@v1 | jq .totals.files")]
pub(super) struct Args {
    /// What to look at: REPOSITORY[@REVISION[:PATH]]
    #[arg(value_parser = address_parser())]
    address: Address,

    #[command(flatten)]
    format: FormatArgs,
}

#[derive(serde::Serialize)]
struct JsonStat {
    commit: CommitId,
    inode: u64,
    #[serde(flatten)]
    entry: JsonEntry,
    content: &'static str,
    xattrs: Vec<JsonXattr>,
}

#[derive(serde::Serialize)]
struct JsonXattr {
    name: String,
    value: String,
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let (snapshot, path) = open::snapshot(app, &args.address).await?;
    let (url, out) = (&args.address.url, &app.out);
    if path.is_root() {
        let (id, commit) = (snapshot.id(), snapshot.commit());
        if args.format.is_json() {
            return out.json(&JsonCommit::new(id, commit));
        }
        super::show::header(app, id, commit)?;
        out.line("")?;
        return out.line(super::show::totals(commit));
    }
    let found = snapshot.get(&path).await.explain(url)?;
    let found = found.ok_or_else(|| entry::missing(&path, &args.address))?;
    let item = &found.item;
    let xattrs = snapshot.xattrs(item).await.explain(url)?;
    if args.format.is_json() {
        return out.json(&JsonStat {
            commit: snapshot.id(),
            inode: found.rank,
            entry: JsonEntry::new(&path, item),
            content: content(item),
            xattrs: json_xattrs(&xattrs),
        });
    }
    let field = |name: &str, value: String| out.line(format!("{name:<10}{value}"));
    field("path", escape(path.as_bytes()).into_owned())?;
    field("commit", out.paint(Paint::Id, snapshot.id().short()))?;
    field("kind", entry::kind(item.entry.kind()).to_owned())?;
    if let EntryBody::Symlink { target } = &item.entry.body {
        field("target", escape(target).into_owned())?;
    }
    let size = item.entry.size();
    field("size", if size < 1024 { format!("{size}") } else { format!("{size} ({})", ByteSize(size)) })?;
    field("mode", format!("{:04o} ({})", item.entry.mode, entry::mode(item)))?;
    field("owner", format!("{}:{}", item.entry.uid, item.entry.gid))?;
    field("modified", mtime_exact(item.entry.mtime))?;
    if let Some(hash) = item.entry.content_hash() {
        field("hash", hash)?;
        field("content", content(item).to_owned())?;
    }
    for (name, value) in &xattrs.0 {
        field("xattr", format!("{}={}", escape(name), escape(value)))?;
    }
    Ok(())
}

/// How a file's bytes are kept.
fn content(item: &LeafItem) -> &'static str {
    let EntryBody::File { content, .. } = &item.entry.body else { return "none" };
    match content {
        Content::Empty => "empty",
        Content::Inline(_) => "inline",
        Content::Chunk(_) => "one chunk",
        Content::Manifest(_) => "chunks",
        Content::External(_) => "external object",
    }
}

fn json_xattrs(list: &XattrList) -> Vec<JsonXattr> {
    let one = |(name, value): &(Vec<u8>, Vec<u8>)| JsonXattr {
        name: escape(name).into_owned(),
        value: escape(value).into_owned(),
    };
    list.0.iter().map(one).collect()
}
