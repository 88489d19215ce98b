//! One entry of a tree as `ls -l` and `stat` show it, in text and in JSON.

use crate::format::{EntryBody, EntryKind, LeafItem};
use crate::repo::{RepoError, Snapshot};
use crate::types::{Address, RepoPath, RepoUrl};

use super::app::App;
use super::args::revision_or_main;
use super::error::CliError;
use super::hint::Explain;
use super::names::JsonPath;
use super::output::Paint;
use super::text::{minute, mtime_exact, timestamp};

/// An entry in JSON, the same wherever one is printed.
#[derive(Debug, serde::Serialize)]
pub(super) struct JsonEntry {
    #[serde(flatten)]
    path: JsonPath,
    kind: &'static str,
    size: u64,
    mode: String,
    uid: u32,
    gid: u32,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<JsonPath>,
}

impl JsonEntry {
    /// The entry at `path`.
    pub(super) fn new(path: &RepoPath, item: &LeafItem) -> Self {
        let entry = &item.entry;
        Self {
            path: JsonPath::new(path.as_bytes()),
            kind: kind(entry.kind()),
            size: entry.size(),
            mode: format!("{:04o}", entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            mtime: mtime_exact(entry.mtime),
            hash: entry.content_hash(),
            target: match &entry.body {
                EntryBody::Symlink { target } => Some(JsonPath::new(target)),
                _ => None,
            },
        }
    }
}

/// `file`, `directory`, `symlink`.
pub(super) fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
        EntryKind::Symlink => "symlink",
    }
}

/// `drwxr-xr-x`.
pub(super) fn mode(item: &LeafItem) -> String {
    let (entry, mut text) = (&item.entry, String::with_capacity(10));
    text.push(match entry.kind() {
        EntryKind::File => '-',
        EntryKind::Directory => 'd',
        EntryKind::Symlink => 'l',
    });
    for shift in [6, 3, 0] {
        for (bit, letter) in [(4, 'r'), (2, 'w'), (1, 'x')] {
            text.push(if entry.mode >> shift & bit != 0 { letter } else { '-' });
        }
    }
    if entry.mode & 0o1000 != 0 {
        let last = if entry.mode & 1 != 0 { 't' } else { 'T' };
        text.replace_range(9..10, &last.to_string());
    }
    text
}

/// A line of `ls -l`: `name` is shown as the destination wants names; sizes are right-aligned in `size_width`.
pub(super) fn long_line(app: &App, name: &[u8], item: &LeafItem, size_width: usize) -> Vec<u8> {
    let entry = &item.entry;
    let when = minute(timestamp(entry.mtime));
    let (mode, size) = (mode(item), entry.size());
    let mut line =
        format!("{mode} {:>5} {:>5} {size:>size_width$} {when} ", entry.uid, entry.gid).into_bytes();
    line.extend(painted_name(app, name, item));
    if let EntryBody::Symlink { target } = &entry.body {
        line.extend(b" -> ");
        line.extend(&*app.out.names.show(target));
    }
    line
}

/// A name in the colours that `ls` uses.
pub(super) fn painted_name(app: &App, name: &[u8], item: &LeafItem) -> Vec<u8> {
    let shown = app.out.names.show(name);
    let paint = match item.entry.kind() {
        EntryKind::Directory => Paint::Directory,
        EntryKind::Symlink => Paint::Link,
        EntryKind::File => return shown.into_owned(),
    };
    match std::str::from_utf8(&shown) {
        Ok(text) => app.out.paint(paint, text).into_bytes(),
        Err(_) => shown.into_owned(),
    }
}

/// The entry at a path that must exist (and is not the root).
///
/// # Errors
/// No such path, naming the address to list; as every read.
pub(super) async fn existing(
    snapshot: &Snapshot,
    path: &RepoPath,
    address: &Address,
) -> Result<LeafItem, CliError> {
    let found = snapshot.get(path).await.explain(&address.url)?;
    match found {
        Some(found) => Ok(found.item),
        None => Err(missing(path, address)),
    }
}

/// A path that does not exist, explained.
pub(super) fn missing(path: &RepoPath, address: &Address) -> CliError {
    let error = RepoError::NoSuchPath { path: path.clone(), revision: revision_or_main(address).to_string() };
    match Err::<(), _>(error).explain(&address.url) {
        Err(error) => error,
        Ok(()) => CliError::failed(format!("{path} does not exist")),
    }
}

/// The path of an item.
///
/// # Errors
/// A key that is no path: damage.
pub(super) fn path_of(item: &LeafItem, url: &RepoUrl) -> Result<RepoPath, CliError> {
    item.key
        .to_path()
        .map_err(|error| CliError::failed(format!("a name in the tree of {url} is not valid: {error}")))
}
