//! The root of a whole-repository mount: one directory `<name>@<revision>` per ref.
//!
//! Listing shows branches and tags; looking up resolves any revision (`slides@main~2`, `slides@3fa9c1`). A directory is
//! pinned to the commit that its name meant when it was first looked up, for the life of the mount: its slot never
//! shows another. Only names that begin with `<name>@` and can be revisions ask the store. `/` is shown as `_2F`.
//!
//! A listing hands out inode numbers, so it reserves a slot per ref, without resolving it and so without pinning; a
//! look-up of something that does not exist reserves nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::SystemTime;

use crate::repo::{RepoError, Repository};
use crate::types::{RefKind, Revision};

use super::attr::{Attr, Owner};
use super::error::FsError;
use super::inode::{Ino, Slot};
use super::node::{Lifetime, Listed, Node, Room};
use super::recent::Recent;
use super::tree::CommitTree;

/// The directory of refs.
#[derive(Debug)]
pub(super) struct RefsRoot {
    repository: Repository,
    /// The repository's URL.
    url: String,
    /// What the directories' names begin with: `slides@`.
    prefix: String,
    owner: Owner,
    recent: Arc<Recent<Ino, Node>>,
    mounted: SystemTime,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    by_name: HashMap<String, Slot>,
    /// Index i is slot i + 1: slot 0 is this directory itself.
    all: Vec<Arc<Pin>>,
}

/// A slot: reserved for a name, and pinned to a commit once that name was looked up.
#[derive(Debug)]
struct Pin {
    name: String,
    tree: OnceLock<Arc<CommitTree>>,
}

impl RefsRoot {
    pub(super) fn new(
        repository: Repository,
        url: String,
        name: &str,
        owner: Owner,
        recent: Arc<Recent<Ino, Node>>,
    ) -> Self {
        let prefix = format!("{name}@");
        let mounted = SystemTime::now();
        Self { repository, url, prefix, owner, recent, mounted, slots: Mutex::default() }
    }

    /// What `stat` shows of the directory.
    pub(super) fn attr(&self) -> Attr {
        Attr::of_directory(Ino::ROOT, self.owner, self.mounted)
    }

    /// The commit of a slot. A slot that a listing reserved is pinned now.
    ///
    /// # Errors
    /// [`FsError::Stale`] for a slot that does not exist; as [`RefsRoot::lookup`].
    pub(super) async fn tree(&self, slot: Slot) -> Result<Arc<CommitTree>, FsError> {
        let stale = FsError::Stale(Ino::root(slot));
        let Some(index) = slot.index().checked_sub(1) else { return Err(stale) };
        let Some(pin) = self.lock().all.get(index).cloned() else { return Err(stale) };
        match pin.tree.get() {
            Some(tree) => Ok(tree.clone()),
            None => self.lookup(pin.name.as_bytes()).await?.ok_or(stale),
        }
    }

    /// What a slot shows of itself without being pinned by it.
    pub(super) fn attr_of_slot(&self, slot: Slot) -> Attr {
        Attr::of_directory(Ino::root(slot), self.owner, self.mounted)
    }

    /// The commit that the directory `name` shows; `None` when `name` means none.
    ///
    /// # Errors
    /// [`FsError::Ambiguous`], [`FsError::TooManyRefs`], [`FsError::Repo`].
    pub(super) async fn lookup(&self, name: &[u8]) -> Result<Option<Arc<CommitTree>>, FsError> {
        let Some(revision) = self.revision(name) else { return Ok(None) };
        let name = String::from_utf8_lossy(name).into_owned();
        if let Some(tree) = self.pin(&name).and_then(|(_, pin)| pin.tree.get().cloned()) {
            return Ok(Some(tree));
        }
        let resolved = match self.repository.resolve(&revision).await {
            Ok(resolved) => resolved,
            Err(RepoError::UnknownRevision { .. } | RepoError::NoSuchRef { .. }) => return Ok(None),
            Err(error @ RepoError::AmbiguousPrefix { .. }) => {
                return Err(FsError::Ambiguous(Box::new(error)));
            }
            Err(source) => {
                return Err(FsError::Repo {
                    path: format!("{}@{revision}", self.url),
                    source: Arc::new(source),
                });
            }
        };
        let (slot, pin) = self.reserve(&name)?;
        // Of two look-ups at once the first pins; both show its commit.
        let tree = pin.tree.get_or_init(|| {
            let address = format!("{}@{revision}", self.url);
            let snapshot = self.repository.snapshot(&resolved);
            Arc::new(CommitTree::new(slot, snapshot, address, self.owner, self.recent.clone()))
        });
        Ok(Some(tree.clone()))
    }

    /// The names that a listing shows now: every branch and tag, sorted.
    ///
    /// # Errors
    /// [`FsError::Repo`].
    pub(super) async fn names(&self) -> Result<Vec<String>, FsError> {
        let mut names = BTreeSet::new();
        for kind in [RefKind::Branch, RefKind::Tag] {
            let (refs, _) = self
                .repository
                .ref_names(kind)
                .await
                .map_err(|source| FsError::Repo { path: self.url.clone(), source: Arc::new(source) })?;
            names.extend(refs.iter().map(|name| format!("{}{}", self.prefix, name.to_key())));
        }
        // A name beyond 255 bytes cannot stand in a directory; the ref is reached by mounting it alone.
        Ok(names.into_iter().filter(|name| name.len() <= crate::types::MAX_NAME_BYTES).collect())
    }

    /// Lists `names` (of [`RefsRoot::names`]) from `from` on.
    pub(super) fn list(
        &self,
        names: &[String],
        from: u64,
        sink: &mut (dyn FnMut(Listed<'_>) -> Room + Send),
    ) {
        let dots: [(&[u8], u64); 2] = [(b".", 1), (b"..", 2)];
        for (name, next) in dots {
            let listed = Listed { name, attr: self.attr(), next, lifetime: Lifetime::None };
            if from < next && sink(listed) == Room::Full {
                return;
            }
        }
        for (index, name) in names.iter().enumerate().skip(from.saturating_sub(2) as usize) {
            // Without a slot there is no inode number to show; the look-up says why.
            let Ok((slot, _)) = self.reserve(name) else { continue };
            // The kernel asks again when the name is used: that look-up pins.
            let attr = self.attr_of_slot(slot);
            let listed =
                Listed { name: name.as_bytes(), attr, next: index as u64 + 3, lifetime: Lifetime::None };
            if sink(listed) == Room::Full {
                return;
            }
        }
    }

    /// Whether `name` can ever be found here.
    pub(super) fn may_exist(&self, name: &[u8]) -> bool {
        self.revision(name).is_some()
    }

    fn revision(&self, name: &[u8]) -> Option<Revision> {
        let text = std::str::from_utf8(name).ok()?;
        text.strip_prefix(&self.prefix)?.replace("_2F", "/").parse().ok()
    }

    fn pin(&self, name: &str) -> Option<(Slot, Arc<Pin>)> {
        let slots = self.lock();
        let slot = *slots.by_name.get(name)?;
        Some((slot, slots.all[slot.index() - 1].clone()))
    }

    fn reserve(&self, name: &str) -> Result<(Slot, Arc<Pin>), FsError> {
        let mut slots = self.lock();
        if let Some(slot) = slots.by_name.get(name) {
            return Ok((*slot, slots.all[slot.index() - 1].clone()));
        }
        let slot = Slot::new(slots.all.len() + 1)
            .ok_or_else(|| FsError::TooManyRefs { name: name.to_owned(), limit: Slot::LIMIT - 1 })?;
        let pin = Arc::new(Pin { name: name.to_owned(), tree: OnceLock::new() });
        slots.all.push(pin.clone());
        slots.by_name.insert(name.to_owned(), slot);
        Ok((slot, pin))
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        // Both fields change together, without anything between that could panic.
        self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
