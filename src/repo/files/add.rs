//! Local files and trees to edits, their content stored.
//!
//! Must always be true: the edits name a file only with the bytes that it had at one moment (`content::writer`), and when
//! they are given out everything that they refer to is durable. What is at other paths of the tree is left alone; a directory
//! of the tree is never replaced by something else, because that would need everything in it removed.
//!
//! Memory: see `walk` and `content::writer` for what is under way. Beyond that a file costs what its edit does (see
//! `Edits`), and one with a chunk what `content::known` keeps of it.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};

use crate::format::{Entry, EntryBody, EntryHints, EntryKind, LeafItem, Mtime, PackKind, TreeKey, Xattrs};
use crate::repo::change::Referenced;
use crate::repo::content::{Input, Known, Output, Pipeline, Sink, Stored};
use crate::repo::{Edits, Placed, RepoError, Snapshot};
use crate::types::{Location, Progress, RepoPath, Stage};

use super::Skipped;
use super::local::{Attributes, LocalFile};
use super::walk::{Found, walk};

/// Found and not yet looked at: the walk runs ahead of the reading by no more than this.
const FOUND_AHEAD: usize = 1024;

/// Permissions of directories that lie above what is added and do not exist yet.
const NEW_DIRECTORY_MODE: u16 = 0o755;

/// One local file or tree, and what it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddItem {
    /// The local path. A symbolic link is added as one.
    pub from: PathBuf,
    /// The path in the tree that it gets: not its parent. The root: what is in the directory `from` goes there.
    pub to: RepoPath,
}

/// What was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddSummary {
    /// Regular files.
    pub files: u64,
    /// Directories, those above what was added not counted.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes in the files.
    pub bytes: u64,
    /// Bytes that had to be stored for them, compressed; the rest was there.
    pub new_bytes: u64,
    /// Devices that were passed over.
    pub skipped_devices: u64,
    /// Pipes that were passed over.
    pub skipped_fifos: u64,
    /// Sockets that were passed over.
    pub skipped_sockets: u64,
}

/// Edits whose content is durable.
#[derive(Debug)]
pub struct Added {
    /// What is to be at which paths.
    pub edits: Edits,
    /// The packs that the content needs, for [`crate::repo::change::Change::commit`].
    pub referenced: Referenced,
    /// Counts.
    pub summary: AddSummary,
}

/// Stores `items` and makes the edits that put them into the tree of `base`.
///
/// # Errors
/// [`RepoError::Local`] naming a local file that cannot be read or that changed twice while it was read;
/// [`RepoError::BadPath`] for a path that cannot be added; [`RepoError::Path`] for names that are too long; any failure of the store.
pub async fn add(
    base: &Snapshot,
    items: Vec<AddItem>,
    progress: Arc<dyn Progress>,
) -> Result<Added, RepoError> {
    // Once for its errors, before anything is stored.
    make_parents(base, &items, &mut Edits::new()).await?;
    for stage in [Stage::Scan, Stage::Hash, Stage::Upload] {
        progress.begin(stage, None, None);
    }
    let repository = base.repository();
    let known = Arc::new(Known::new(repository));
    let mut sink = Sink::new(repository, known.clone(), progress.clone());

    let (found_sender, found) = mpsc::channel(FOUND_AHEAD);
    let walked = (items.clone(), progress.clone());
    spawn_blocking(move || walk(&walked.0, &found_sender, &*walked.1));
    let (sender, inputs) = mpsc::channel(1);
    let mut comparer = JoinSet::new();
    comparer.spawn(compare(base.clone(), known.clone(), found, sender));
    let mut pipeline = Pipeline::start(inputs, known, repository.format().chunker);

    let mut adding = Adding::default();
    while let Some(output) = pipeline.next(&mut sink).await? {
        adding.take(output, &mut sink, &*progress).await?;
    }
    if !adding.done {
        // Only if a thread of ours died.
        let source = std::io::Error::other("the walk ended early");
        return Err(RepoError::Local { action: "reading", path: "local files".into(), source });
    }
    let Adding { mut edits, mut summary, .. } = adding;
    make_parents(base, &items, &mut edits).await?;
    let stored = sink.finish().await?;
    summary.new_bytes = stored.new_bytes;
    for stage in [Stage::Scan, Stage::Hash, Stage::Upload] {
        progress.end(stage);
    }
    Ok(Added { edits, referenced: referenced(&stored), summary })
}

fn referenced(stored: &Stored) -> Referenced {
    let of = |kind| stored.packs.iter().filter(move |pack| pack.kind == kind).map(|pack| pack.id);
    Referenced {
        data: of(PackKind::Data).chain(stored.reused.iter().copied()).collect(),
        meta: of(PackKind::Meta).collect(),
    }
}

/// Looks at what the base has at each path, so that content that is there is not stored again.
async fn compare(
    base: Snapshot,
    known: Arc<Known>,
    mut found: mpsc::Receiver<Found>,
    inputs: mpsc::Sender<Input<LocalFile, Found>>,
) {
    while let Some(found) = found.recv().await {
        let input = match compared(&base, &known, &found).await {
            Err(error) => Input::Other(Found::Failed(error)),
            Ok(()) => match found {
                Found::File(file) => Input::File(file),
                other => Input::Other(other),
            },
        };
        if inputs.send(input).await.is_err() {
            return;
        }
    }
}

async fn compared(base: &Snapshot, known: &Known, found: &Found) -> Result<(), RepoError> {
    let (Found::File(LocalFile { key, .. }) | Found::Symlink(key, ..)) = found else { return Ok(()) };
    let path = key.to_path().map_err(RepoError::Unstorable)?;
    match base.get(&path).await? {
        Some(there) if there.item.entry.kind() == EntryKind::Directory => {
            Err(bad(&path, "is a directory there, which nothing else replaces"))
        }
        Some(there) => {
            known.learn(&there.item).await;
            Ok(())
        }
        None => Ok(()),
    }
}

#[derive(Debug, Default)]
struct Adding {
    edits: Edits,
    summary: AddSummary,
    done: bool,
}

impl Adding {
    async fn take(
        &mut self,
        output: Output<LocalFile, Found>,
        sink: &mut Sink,
        progress: &dyn Progress,
    ) -> Result<(), RepoError> {
        let (key, attributes, body, content) = match output {
            Output::File(written) => {
                self.summary.files += 1;
                self.summary.bytes += written.size;
                progress.advance(Stage::Hash, 1, written.size);
                let body = EntryBody::File { size: written.size, content: written.content };
                (written.source.key, written.meta.attributes, body, written.hint)
            }
            Output::Other(Found::Directory(key, attributes)) => {
                self.summary.directories += 1;
                (key, attributes, EntryBody::Directory, None)
            }
            Output::Other(Found::Symlink(key, attributes, target)) => {
                self.summary.symlinks += 1;
                (key, attributes, EntryBody::Symlink { target }, None)
            }
            Output::Other(Found::Skipped(kind)) => {
                match kind {
                    Skipped::Device => self.summary.skipped_devices += 1,
                    Skipped::Fifo => self.summary.skipped_fifos += 1,
                    Skipped::Socket => self.summary.skipped_sockets += 1,
                }
                return Ok(());
            }
            Output::Other(Found::Failed(error)) => return Err(error),
            Output::Other(Found::Done) => {
                self.done = true;
                return Ok(());
            }
            // Files come as such.
            Output::Other(Found::File(_)) => return Ok(()),
        };
        self.put(key, attributes, body, content, sink).await
    }

    async fn put(
        &mut self,
        key: TreeKey,
        attributes: Attributes,
        body: EntryBody,
        content: Option<Location>,
        sink: &mut Sink,
    ) -> Result<(), RepoError> {
        let Attributes { mode, uid, gid, mtime, xattrs } = attributes;
        let (xattrs, xattrs_place) = sink.put_xattrs(xattrs).await?;
        let entry = Entry { mode, uid, gid, mtime, xattrs, body };
        let item = LeafItem { key, entry, hints: EntryHints { content, xattrs: xattrs_place } };
        if let Some(Some(other)) = self.edits.get(&item.key)
            && !(other.is_directory() && item.entry.kind() == EntryKind::Directory)
        {
            let path = item.key.to_path().map_err(RepoError::Unstorable)?;
            return Err(bad(&path, "would be written twice"));
        }
        self.edits.put(item.key.clone(), item.into()).map_err(RepoError::Unstorable)
    }
}

/// Makes the directories above the items that are neither in the base nor in the edits.
async fn make_parents(base: &Snapshot, items: &[AddItem], edits: &mut Edits) -> Result<(), RepoError> {
    for item in items {
        let mut path = item.to.clone();
        while let Some(parent) = path.parent().filter(|parent| !parent.is_root()) {
            path = parent;
            let Some(key) = TreeKey::of(&path) else { break };
            if key.is_reserved() {
                return Err(bad(&path, "is kept for mounts"));
            }
            let is_directory = match edits.get(&key).flatten() {
                Some(placed) => Some(placed.is_directory()),
                None => base.get(&path).await?.map(|found| found.item.entry.kind() == EntryKind::Directory),
            };
            match is_directory {
                Some(true) => {}
                Some(false) => return Err(bad(&path, "is not a directory")),
                None => edits.put(key, new_directory(base)).map_err(RepoError::Unstorable)?,
            }
        }
    }
    Ok(())
}

fn new_directory(base: &Snapshot) -> Placed {
    let now = base.repository().services().clock.now().as_micros();
    let micros = now.rem_euclid(1_000_000);
    let entry = Entry {
        mode: NEW_DIRECTORY_MODE,
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        mtime: Mtime { seconds: now.div_euclid(1_000_000), nanos: micros as u32 * 1000 },
        xattrs: Xattrs::None,
        body: EntryBody::Directory,
    };
    Placed { entry, hints: EntryHints::default() }
}

fn bad(path: &RepoPath, reason: &str) -> RepoError {
    RepoError::BadPath { path: path.to_string(), reason: reason.to_owned() }
}
