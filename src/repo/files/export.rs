//! A part of a commit to a local directory: a plain copy, which another run goes on with.
//!
//! Must always be true: a file gets its name only when it is whole and every chunk of it was verified; nothing is written
//! outside the target (`place`). A file whose size, time, mode and owner are already right is taken for one that an earlier run
//! wrote. What a run that was killed left unfinished, the next one removes.
//!
//! Nothing is flushed file by file, as with `cp`; but at the end the file system is, once, so a run that reported success is on the
//! disk. A power cut before that can leave, on file systems that do not order sizes behind data (ext4, xfs and btrfs do), a
//! file of the right size without its bytes, which the next run would not see.
//!
//! Directories are made open for us and get their modes and times at the end, deepest first.
//! Memory: [`AT_ONCE`] jobs of about [`JOB_BYTES`] each (a long file has two windows of it, and up to 8 chunks beside them), and
//! some 200 bytes per directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::task::spawn_blocking;

use crate::format::{Content, Entry, EntryBody, LeafItem, XattrList, Xattrs};
use crate::repo::content::{pieces, read, read_short};
use crate::repo::{RepoError, Snapshot};
use crate::types::{Progress, RepoPath, Stage};

use super::local::local;
use super::place::{Finish, LeftOut, Owner, Place};

/// Jobs at once: while some wait for the store others write.
const AT_ONCE: usize = 6;

/// Content of one job: short files that lie together are fetched with one request, long ones in windows of this.
const JOB_BYTES: u64 = 8 << 20;

/// Files of one job: empty ones have no bytes to bound them.
const JOB_FILES: usize = 512;

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportSummary {
    /// Files written.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Files that were there already.
    pub present: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Files and directories whose extended attributes the target's file system does not take.
    pub without_xattrs: u64,
    /// Entries whose owner could not be restored though that was asked for.
    pub without_owners: u64,
}

/// Whether files get the owners that they have in the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// As root, and `tar` and `cp -a` then do so too.
    Restore,
    /// The copy belongs to whoever makes it.
    Leave,
}

impl Owners {
    fn of(self, item: &LeafItem) -> Option<Owner> {
        let Entry { uid, gid, .. } = item.entry;
        (self == Self::Restore).then_some(Owner { uid, gid })
    }
}

/// A file to be written.
struct ToWrite {
    place: Place,
    item: LeafItem,
    /// The name that it gets; its own unless the user gave another.
    name: RepoPath,
}

/// Writes what is at `path` to `to`: a directory's content into the directory `to`, which is made if need be; a file or
/// link to `to`, or into it when it is a directory.
///
/// # Errors
/// [`RepoError::NoSuchPath`]; [`RepoError::Local`] naming a local path; damage naming the object, a missing object, any failure of
/// the store. What was written before stays, and another run goes on with it.
pub async fn export(
    snapshot: &Snapshot,
    path: &RepoPath,
    to: &Path,
    owners: Owners,
    progress: Arc<dyn Progress>,
) -> Result<ExportSummary, RepoError> {
    let mut exporting =
        Exporting { snapshot, owners, progress: &*progress, summary: ExportSummary::default() };
    progress.begin(Stage::Download, None, None);
    exporting.run(path, to).await?;
    progress.end(Stage::Download);
    Ok(exporting.summary)
}

struct Exporting<'a> {
    snapshot: &'a Snapshot,
    owners: Owners,
    progress: &'a dyn Progress,
    summary: ExportSummary,
}

impl Exporting<'_> {
    async fn run(&mut self, path: &RepoPath, to: &Path) -> Result<(), RepoError> {
        let random = self.snapshot.repository().services().random.clone();
        let top = match path.is_root() {
            true => None,
            false => match self.snapshot.get(path).await? {
                Some(found) => Some(found.item),
                None => {
                    let revision = self.snapshot.id().short();
                    return Err(RepoError::NoSuchPath { path: path.clone(), revision });
                }
            },
        };
        if let Some(item) = top.as_ref().filter(|item| !matches!(item.entry.body, EntryBody::Directory)) {
            return self.one(item, to).await;
        }
        let target = to.to_owned();
        let root = blocking(move || Place::root(&target, random)).await?;
        let mut directories: Vec<(RepoPath, Finish)> = Vec::new();
        if let Some(item) = &top {
            directories.push((RepoPath::ROOT, self.finish(item).await?));
        }
        let mut jobs = FuturesUnordered::new();
        let mut ranks = self.snapshot.subtree(path).await?;
        while !ranks.is_empty() {
            let page = self.snapshot.page(ranks.clone()).await?;
            // A page holds at least one entry of a range that is not empty.
            ranks.start = page.last().map_or(ranks.end, |found| found.rank + 1);
            for found in &page {
                if matches!(found.item.entry.body, EntryBody::Directory) {
                    let below = relative(&found.item, path)?;
                    directories.push((below, self.finish(&found.item).await?));
                    self.summary.directories += 1;
                }
            }
            let (place, base, owners) = (root.clone(), path.clone(), self.owners);
            let items = page.into_iter().map(|found| found.item).collect();
            let prepared = blocking(move || prepare(&place, &base, items, owners)).await?;
            self.left_out(prepared.left_out);
            self.summary.symlinks += prepared.symlinks;
            self.summary.present += prepared.present.0;
            self.progress.advance(Stage::Download, prepared.present.0, prepared.present.1);
            for job in grouped(prepared.files) {
                while jobs.len() >= AT_ONCE {
                    self.ended(jobs.next().await)?;
                }
                jobs.push(write(self.snapshot, job, self.owners));
            }
        }
        while !jobs.is_empty() {
            self.ended(jobs.next().await)?;
        }
        drop(jobs);
        let left_out = blocking(move || {
            let left_out = finish_all(&root, &directories)?;
            root.sync()?;
            Ok(left_out)
        });
        self.left_out(left_out.await?);
        Ok(())
    }

    /// A single file or link.
    async fn one(&mut self, item: &LeafItem, to: &Path) -> Result<(), RepoError> {
        let bad = |reason: &str| RepoError::BadPath { path: to.display().to_string(), reason: reason.into() };
        let own = RepoPath::new(item.key.name().as_bytes())?;
        let (dir, name) = if to.is_dir() {
            (to.to_owned(), own)
        } else {
            use std::os::unix::ffi::OsStrExt;
            let name = to.file_name().ok_or_else(|| bad("is no name for a file"))?;
            let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (PathBuf::from(dir), RepoPath::new(name.as_bytes())?)
        };
        let random = self.snapshot.repository().services().random.clone();
        let place = blocking(move || Place::root(&dir, random)).await?;
        if let EntryBody::Symlink { target } = &item.entry.body {
            let (target, mtime, owner) = (target.clone(), item.entry.mtime, self.owners.of(item));
            self.summary.symlinks += 1;
            let made = blocking(move || {
                let left_out = place.symlink(last(&name)?, &target, mtime, owner)?;
                place.sync()?;
                Ok(left_out)
            });
            self.left_out(made.await?);
            return Ok(());
        }
        let file = ToWrite { place: place.clone(), item: item.clone(), name };
        let written = write(self.snapshot, vec![file], self.owners).await;
        self.ended(Some(written))?;
        blocking(move || place.sync()).await
    }

    async fn finish(&self, item: &LeafItem) -> Result<Finish, RepoError> {
        finish_of(self.snapshot, item, self.owners).await
    }

    fn left_out(&mut self, LeftOut { xattrs, owners }: LeftOut) {
        self.summary.without_xattrs += xattrs;
        self.summary.without_owners += owners;
    }

    fn ended(&mut self, job: Option<Result<ExportSummary, RepoError>>) -> Result<(), RepoError> {
        let Some(job) = job else { return Ok(()) };
        let done = job?;
        self.summary.files += done.files;
        self.summary.bytes += done.bytes;
        self.summary.without_xattrs += done.without_xattrs;
        self.summary.without_owners += done.without_owners;
        self.progress.advance(Stage::Download, done.files, done.bytes);
        Ok(())
    }
}

/// What a page of entries comes to.
#[derive(Default)]
struct Prepared {
    files: Vec<ToWrite>,
    symlinks: u64,
    /// Files, and bytes in them.
    present: (u64, u64),
    left_out: LeftOut,
}

/// Makes directories and links, and finds out which files are missing. Entries are in key order: a directory comes before
/// what is in it.
fn prepare(
    root: &Place,
    base: &RepoPath,
    items: Vec<LeafItem>,
    owners: Owners,
) -> Result<Prepared, RepoError> {
    let mut prepared = Prepared::default();
    let mut open = (RepoPath::ROOT, root.clone());
    for item in items {
        let path = relative(&item, base)?;
        let parent = path.parent().unwrap_or_default();
        if parent != open.0 {
            open = (parent.clone(), root.below(&parent)?);
        }
        let name = item.key.name();
        match &item.entry.body {
            EntryBody::Directory => open.1.make_directory(name)?,
            EntryBody::Symlink { target } => {
                prepared.left_out += open.1.symlink(name, target, item.entry.mtime, owners.of(&item))?;
                prepared.symlinks += 1;
            }
            EntryBody::File { size, .. } => {
                let Entry { mode, mtime, .. } = item.entry;
                if open.1.has_file(name, *size, (mode, mtime), owners.of(&item))? {
                    prepared.present.0 += 1;
                    prepared.present.1 += size;
                } else {
                    let name = RepoPath::new(name.as_bytes())?;
                    prepared.files.push(ToWrite { place: open.1.clone(), item, name });
                }
            }
        }
    }
    Ok(prepared)
}

/// Modes and times of directories, deepest first: a directory comes behind its parent in the list.
fn finish_all(root: &Place, directories: &[(RepoPath, Finish)]) -> Result<LeftOut, RepoError> {
    let mut left_out = LeftOut::default();
    for (path, finish) in directories.iter().rev() {
        left_out += root.below(path)?.finish(finish)?;
    }
    Ok(left_out)
}

/// Files to jobs: short ones together, long ones alone.
fn grouped(files: Vec<ToWrite>) -> Vec<Vec<ToWrite>> {
    let (mut jobs, mut open, mut bytes) = (Vec::new(), Vec::new(), 0);
    for file in files {
        if is_long(&file.item) {
            jobs.push(vec![file]);
            continue;
        }
        bytes += file.item.entry.size();
        open.push(file);
        if bytes >= JOB_BYTES || open.len() >= JOB_FILES {
            jobs.push(std::mem::take(&mut open));
            bytes = 0;
        }
    }
    if !open.is_empty() {
        jobs.push(open);
    }
    jobs
}

fn is_long(item: &LeafItem) -> bool {
    matches!(&item.entry.body, EntryBody::File { content: Content::Manifest(_) | Content::External(_), .. })
}

/// Writes the files of one job.
async fn write(snapshot: &Snapshot, job: Vec<ToWrite>, owners: Owners) -> Result<ExportSummary, RepoError> {
    let mut summary = ExportSummary::default();
    let mut left_out = LeftOut::default();
    let (long, short): (Vec<_>, Vec<_>) = job.into_iter().partition(|file| is_long(&file.item));
    for file in long {
        summary.files += 1;
        summary.bytes += file.item.entry.size();
        left_out += write_long(snapshot, file, owners).await?;
    }
    let contents = read_short(snapshot.repository().blobs(), short.iter().map(|file| &file.item)).await?;
    let mut ready = Vec::new();
    for (file, content) in short.into_iter().zip(contents) {
        summary.files += 1;
        summary.bytes += content.len() as u64;
        let finish = finish_of(snapshot, &file.item, owners).await?;
        ready.push((file, content, finish));
    }
    let written = blocking(move || {
        let mut left_out = LeftOut::default();
        for (file, content, finish) in &ready {
            let mut new = file.place.new_file(last(&file.name)?)?;
            new.write(content)?;
            left_out += new.finish(finish)?;
        }
        Ok(left_out)
    });
    left_out += written.await?;
    Ok(ExportSummary { without_xattrs: left_out.xattrs, without_owners: left_out.owners, ..summary })
}

/// Writes a long file, a window after the other: the next one is fetched while one is written.
async fn write_long(snapshot: &Snapshot, file: ToWrite, owners: Owners) -> Result<LeftOut, RepoError> {
    let ToWrite { place, item, name } = file;
    let blobs = snapshot.repository().blobs();
    let finish = finish_of(snapshot, &item, owners).await?;
    let size = item.entry.size();
    // Windows end where chunks do, so that none is fetched twice.
    let window = async |offset: u64| {
        let end = offset.saturating_add(JOB_BYTES).min(size);
        let end = pieces(blobs, &item, offset..end).await?.last().map_or(end, |piece| piece.end);
        read(blobs, &item, offset, usize::try_from(end - offset).unwrap_or(usize::MAX)).await
    };
    let mut new = blocking(move || place.new_file(last(&name)?)).await?;
    let (mut offset, mut bytes) = (0, window(0).await?);
    loop {
        offset += bytes.len() as u64;
        let writing = blocking(move || {
            let mut new = new;
            new.write(&bytes)?;
            Ok(new)
        });
        if offset >= size {
            new = writing.await?;
            break;
        }
        (new, bytes) = futures_util::try_join!(writing, window(offset))?;
        if bytes.is_empty() {
            // Cannot be: the manifest's sums were checked against the size.
            return Err(local("writing", Path::new("a file"), std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
    blocking(move || new.finish(&finish)).await
}

async fn finish_of(snapshot: &Snapshot, item: &LeafItem, owners: Owners) -> Result<Finish, RepoError> {
    let xattrs = match item.entry.xattrs {
        Xattrs::None => XattrList::default(),
        _ => snapshot.xattrs(item).await?,
    };
    let Entry { mode, mtime, .. } = item.entry;
    Ok(Finish { mode, mtime, owner: owners.of(item), xattrs })
}

/// The path below the exported directory.
fn relative(item: &LeafItem, base: &RepoPath) -> Result<RepoPath, RepoError> {
    let path = item.key.to_path().map_err(RepoError::Unstorable)?;
    // Entries of the subtree of `base` lie below it.
    Ok(path.strip_prefix(base).unwrap_or_default())
}

fn last(name: &RepoPath) -> Result<crate::types::Name<'_>, RepoError> {
    name.name().ok_or_else(|| RepoError::BadPath { path: "/".into(), reason: "is no name for a file".into() })
}

/// Runs what may wait for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RepoError> + Send + 'static,
) -> Result<T, RepoError> {
    spawn_blocking(work).await.unwrap_or_else(|died| {
        Err(RepoError::Local {
            action: "writing",
            path: "a file".into(),
            source: std::io::Error::other(died),
        })
    })
}
