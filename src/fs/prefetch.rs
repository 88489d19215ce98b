//! Bringing files into the cache before they are read.
//!
//! What is selected is a list of ranges of ranks, so it is walked in the order in which it lies in the packs: small files
//! are fetched in long requests, long ones run by run, some of each at once. Readers go first by the number of
//! requests: a prefetch has [`Selection`]'s jobs under way, of the many that the store takes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use futures_util::stream;
use globset::{GlobBuilder, GlobMatcher};
use tokio::sync::Semaphore;

use crate::cache::Filled;
use crate::format::{EntryBody, LeafItem};
use crate::repo::{Beside, SMALL_CONTENT_BYTES};
use crate::types::{Progress, RepoPath, Stage};

use super::ahead::LONGEST_RUN;
use super::error::FsError;
use super::node::Node;
use super::pinned::Place;
use super::tree::CommitTree;
use super::view::View;

/// Small files of one unit of work, in bytes: two requests of the longest kind.
const UNIT_BYTES: u64 = 16 << 20;

/// And in number: empty ones take no bytes.
const UNIT_FILES: usize = 4096;

/// What to bring.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// The file, or everything below the directory.
    Path(RepoPath),
    /// Files whose path in the commit matches. `*` and `?` stay within a directory, `**` does not.
    Glob(Arc<Glob>),
}

/// A pattern, and the directory that all of its matches lie in.
#[derive(Debug, Clone)]
pub struct Glob {
    text: String,
    matcher: GlobMatcher,
    below: RepoPath,
}

/// A text that is neither a path nor a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no path and no pattern: {why}")]
pub struct BadPattern {
    text: String,
    why: String,
}

impl Pattern {
    /// Reads a path in the commit or a glob; `.` and the empty text mean everything.
    ///
    /// # Errors
    /// [`BadPattern`].
    pub fn parse(text: &[u8]) -> Result<Self, BadPattern> {
        let shown = || String::from_utf8_lossy(text).into_owned();
        let bad = |why: String| BadPattern { text: shown(), why };
        let trimmed = text.strip_prefix(b"./").unwrap_or(text);
        let trimmed = trimmed.strip_suffix(b"/").unwrap_or(trimmed);
        if trimmed.is_empty() || trimmed == b"." {
            return Ok(Self::Path(RepoPath::ROOT));
        }
        let path = |bytes: &[u8]| RepoPath::new(bytes.to_vec()).map_err(|e| bad(e.to_string()));
        let Some(first) = trimmed.iter().position(|byte| b"*?[{".contains(byte)) else {
            return Ok(Self::Path(path(trimmed)?));
        };
        let below = match trimmed[..first].iter().rposition(|byte| *byte == b'/') {
            Some(end) => path(&trimmed[..end])?,
            None => RepoPath::ROOT,
        };
        let glob = std::str::from_utf8(trimmed).map_err(|_| bad("patterns are UTF-8".into()))?;
        let glob = GlobBuilder::new(glob).literal_separator(true).build();
        let matcher = glob.map_err(|e| bad(e.kind().to_string()))?.compile_matcher();
        Ok(Self::Glob(Arc::new(Glob { text: shown(), matcher, below })))
    }
}

/// What to bring, and how much of it at once.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Everything that any of these means; none means everything.
    pub patterns: Vec<Pattern>,
    /// Units of work at once, at least 1.
    pub jobs: usize,
    /// Whether what is brought stays in the cache until [`View::unpin`], or as long as the mount.
    pub pin: bool,
}

/// What a prefetch has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Prefetched {
    /// Files that are on this machine now.
    pub files: u64,
    /// Their sizes.
    pub bytes: u64,
    /// Whether it stopped because the cache had no more room.
    pub full: bool,
}

/// A part of the work.
enum Unit {
    Small(Vec<LeafItem>),
    Long(Node),
}

/// Ranks, and the pattern that the paths of their entries must match.
struct Part {
    ranks: Range<u64>,
    glob: Option<Arc<Glob>>,
}

/// Why nothing, or not everything, was brought.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrefetchError {
    /// A path that was named and that the commit does not have.
    #[error("{path} does not exist")]
    NothingThere {
        /// `url@revision:path`.
        path: String,
    },
    /// The mount shows several commits.
    #[error("a mount of the whole repository cannot be fetched ahead: name one version")]
    SeveralCommits,
    /// This machine has no cache.
    #[error("there is no cache to fetch into; the daemon's log says why")]
    NoCache,
    /// The repository or the disk.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl View {
    /// Brings what is selected into the cache, of the commit that is shown.
    ///
    /// # Errors
    /// [`PrefetchError`]; what was brought before stays.
    pub async fn prefetch(
        self: Arc<Self>,
        selection: Selection,
        progress: Arc<dyn Progress>,
    ) -> Result<Prefetched, PrefetchError> {
        let tree = self.shown_tree().ok_or(PrefetchError::SeveralCommits)?;
        let limit = self.cache().ok_or(PrefetchError::NoCache)?.stats().bytes_limit;
        let parts = tree.parts(&selection.patterns).await?;
        progress.begin(Stage::Download, None, None);
        let state = Arc::new(State::new(selection.jobs.max(1), selection.pin));
        // Handles of their own instead of borrows: only so can a task of the runtime run this.
        let units = stream::unfold(Walk::new(tree.clone(), parts), |mut walk| async move {
            let unit = walk.next().await.transpose()?;
            Some((unit, walk))
        });
        let mut done = std::pin::pin!(
            units
                .map(|unit| {
                    let (view, tree, state) = (self.clone(), tree.clone(), state.clone());
                    async move {
                        match state.is_full.load(Ordering::Relaxed) {
                            true => Ok((0, 0)),
                            false => view.bring(&tree, unit?, &state).await,
                        }
                    }
                })
                .buffer_unordered(state.jobs)
        );
        let mut sum = Prefetched::default();
        while let Some(brought) = done.next().await {
            let (files, bytes) = brought?;
            sum.files += files;
            sum.bytes += bytes;
            progress.advance(Stage::Download, files, bytes);
            // More than the cache holds would only push out what came first.
            if sum.bytes > limit {
                state.is_full.store(true, Ordering::Relaxed);
            }
        }
        progress.end(Stage::Download);
        sum.full = state.is_full.load(Ordering::Relaxed);
        Ok(sum)
    }

    /// Brings one unit; says how many files and bytes are here now.
    async fn bring(&self, tree: &Arc<CommitTree>, unit: Unit, state: &State) -> Result<(u64, u64), FsError> {
        match unit {
            Unit::Long(node) => {
                let size = node.item.entry.size();
                let Some(_place) = self.pin_if_asked(tree, [&*node.item], state) else { return Ok((0, 0)) };
                if self.fill(tree.clone(), node, state).await? == Filled::NoRoom {
                    state.is_full.store(true, Ordering::Relaxed);
                    return Ok((0, 0));
                }
                Ok((1, size))
            }
            Unit::Small(items) => {
                let snapshot = tree.snapshot();
                // Before it is fetched, so that nothing goes in between.
                let Some(_place) = self.pin_if_asked(tree, &items, state) else { return Ok((0, 0)) };
                snapshot.fetch(&Beside::of(&items)).await;
                for item in &items {
                    // Read once more on purpose: what a slab only claims to have is found here, not by its reader. What is
                    // still missing says why when it is read by itself.
                    if snapshot.small_at_hand(item).is_ok_and(|found| found.is_none()) {
                        let read = snapshot.read_small(item, &Beside::default()).await;
                        read.map_err(|source| tree.failed_item(item, source))?;
                    }
                }
                Ok((items.len() as u64, items.iter().map(|item| item.entry.size()).sum()))
            }
        }
    }

    /// Lets go of what was fetched ahead to stay; says how many entries of the cache that were.
    pub fn unpin(&self) -> usize {
        self.pinned().clear()
    }

    /// Pins what is about to be brought, if that was asked for; what is returned lives until it is there. `None`: no more may
    /// be pinned.
    fn pin_if_asked<'a>(
        &self,
        tree: &CommitTree,
        items: impl IntoIterator<Item = &'a LeafItem>,
        state: &State,
    ) -> Option<Option<Place>> {
        let Some(cache) = self.cache().filter(|_| state.pin) else { return Some(None) };
        let mut new = Vec::new();
        let mut bytes = 0;
        for item in items {
            if let Some(hold) = self.hold(tree, item).filter(|hold| !self.pinned().contains(hold)) {
                bytes += item.entry.size();
                new.push(hold);
            }
        }
        let place = Place::ask(cache, bytes);
        match &place {
            Some(_) => new.into_iter().for_each(|hold| self.pinned().add(hold)),
            None => state.is_full.store(true, Ordering::Relaxed),
        }
        place.map(Some)
    }

    /// Brings all of a long file: one by itself gets as many requests as a prefetch has jobs.
    async fn fill(&self, tree: Arc<CommitTree>, node: Node, state: &State) -> Result<Filled, FsError> {
        let Some((open, file)) = self.long_file(tree, node) else { return Ok(Filled::Whole) };
        let runs = file.size().div_ceil(LONGEST_RUN).min(state.jobs as u64) as usize;
        // Never closed; without a permit only more is under way than is meant to be.
        let _permit = state.runs.acquire_many(runs as u32).await;
        file.fill(0..file.size(), LONGEST_RUN, runs).await.map_err(|error| open.failed(error))
    }
}

/// What the units of one prefetch share.
struct State {
    /// Units of work at once.
    jobs: usize,
    /// Whether what is brought is to stay.
    pin: bool,
    /// Requests for long files: small ones come beside them.
    runs: Semaphore,
    /// The cache takes no more.
    is_full: AtomicBool,
}

impl State {
    fn new(jobs: usize, pin: bool) -> Self {
        Self { jobs, pin, runs: Semaphore::new(2 * jobs), is_full: AtomicBool::new(false) }
    }
}

impl CommitTree {
    /// What the patterns mean, in the order of the packs.
    async fn parts(&self, patterns: &[Pattern]) -> Result<Vec<Part>, PrefetchError> {
        let mut parts = Vec::new();
        for pattern in patterns {
            let (path, glob) = match pattern {
                Pattern::Path(path) => (path, None),
                Pattern::Glob(glob) => (&glob.below, Some(glob)),
            };
            let ranks = self.ranks_of(path, glob.map(|glob| &**glob)).await?;
            parts.push(Part { ranks, glob: glob.cloned() });
        }
        if parts.is_empty() {
            parts.push(Part { ranks: 0..self.totals().entries, glob: None });
        }
        parts.sort_by_key(|part| part.ranks.start);
        Ok(parts)
    }

    /// The ranks of a file, or of everything below a directory.
    async fn ranks_of(&self, path: &RepoPath, glob: Option<&Glob>) -> Result<Range<u64>, PrefetchError> {
        if path.is_root() {
            return Ok(0..self.totals().entries);
        }
        match self.find(path).await? {
            Some(node) if node.is_directory() => Ok(self.ranks_below(path).await?),
            Some(node) if glob.is_none() => Ok(node.rank()..node.rank() + 1),
            _ => {
                let pattern = glob.map_or_else(|| path.to_string(), |glob| glob.text.clone());
                Err(PrefetchError::NothingThere { path: format!("{}:{pattern}", self.address()) })
            }
        }
    }
}

/// The entries that are selected, in units.
struct Walk {
    tree: Arc<CommitTree>,
    parts: std::vec::IntoIter<Part>,
    part: Part,
    /// Behind the last rank that was looked at.
    done: u64,
    page: std::vec::IntoIter<Node>,
    small: Vec<LeafItem>,
    small_bytes: u64,
}

impl Walk {
    fn new(tree: Arc<CommitTree>, parts: Vec<Part>) -> Self {
        Self {
            tree,
            parts: parts.into_iter(),
            part: Part { ranks: 0..0, glob: None },
            done: 0,
            page: Vec::new().into_iter(),
            small: Vec::new(),
            small_bytes: 0,
        }
    }

    /// The next unit.
    async fn next(&mut self) -> Result<Option<Unit>, FsError> {
        while let Some(node) = self.entry().await? {
            let EntryBody::File { size, .. } = node.item.entry.body else { continue };
            if size >= SMALL_CONTENT_BYTES {
                return Ok(Some(Unit::Long(node)));
            }
            self.small.push(LeafItem::clone(&node.item));
            self.small_bytes += size;
            if self.small_bytes >= UNIT_BYTES || self.small.len() >= UNIT_FILES {
                return Ok(self.take());
            }
        }
        Ok(self.take())
    }

    fn take(&mut self) -> Option<Unit> {
        self.small_bytes = 0;
        let small = std::mem::take(&mut self.small);
        (!small.is_empty()).then_some(Unit::Small(small))
    }

    /// The next entry that is meant.
    async fn entry(&mut self) -> Result<Option<Node>, FsError> {
        loop {
            let glob = self.part.glob.clone();
            let meant = |node: &Node| {
                glob.as_ref()
                    .is_none_or(|glob| node.path().is_ok_and(|path| glob.matcher.is_match(path.to_string())))
            };
            if let Some(node) = self.page.find(meant) {
                return Ok(Some(node));
            }
            if self.part.ranks.is_empty() {
                let Some(mut part) = self.parts.next() else { return Ok(None) };
                if part.glob.is_none() {
                    // What an earlier part without a pattern has passed is not brought twice.
                    part.ranks.start = part.ranks.start.max(self.done);
                }
                self.part = part;
                continue;
            }
            let page = self.tree.page(self.part.ranks.clone()).await?;
            self.part.ranks.start = page.last().map_or(self.part.ranks.end, |last| last.rank() + 1);
            if glob.is_none() {
                self.done = self.part.ranks.start;
            }
            self.page = page.into_iter();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Pattern {
        Pattern::parse(text.as_bytes()).expect("a pattern")
    }

    #[test]
    fn paths_and_patterns_are_told_apart() {
        for (text, path) in [("", ""), (".", ""), ("./", ""), ("a/b/", "a/b"), ("./a", "a")] {
            assert!(
                matches!(parse(text), Pattern::Path(p) if p.to_string().trim_matches('/') == path),
                "{text}"
            );
        }
        for (text, below) in
            [("*.csv", ""), ("2026/**/a?.bin", "2026"), ("a/b/x{1,2}", "a/b"), ("a/[bc]/d", "a")]
        {
            let Pattern::Glob(glob) = parse(text) else { panic!("{text}") };
            assert_eq!(glob.below.to_string().trim_matches('/'), below, "{text}");
        }
        let Pattern::Glob(glob) = parse("2026/*.csv") else { panic!("a glob") };
        assert!(glob.matcher.is_match("2026/a.csv") && !glob.matcher.is_match("2026/b/a.csv"));
        let Pattern::Glob(glob) = parse("**/*.csv") else { panic!("a glob") };
        assert!(glob.matcher.is_match("a.csv") && glob.matcher.is_match("x/y/a.csv"));
        for bad in ["a/../b", "[", "a//b"] {
            assert!(Pattern::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
