//! Manifests as they are written: chunks in file order, cut into nodes level by level while they come.
//!
//! One open node per level is all that is held, so a file of any length takes a few hundred KiB. Nodes that the base
//! holds are not stored again: of a file that was appended to, only the last node of each level is new.

use crate::format::{BlobKind, ChunkItem, ManifestChild, ManifestCutter, ManifestNode};
use crate::repo::RepoError;
use crate::types::{Location, ManifestId};

use super::sink::Sink;

/// Builds one manifest.
#[derive(Debug, Default)]
pub(in crate::repo) struct ManifestBuilder {
    chunks: Vec<ChunkItem>,
    cutter: ManifestCutter,
    /// Levels 1 and up. Where a node has ended there is a level above it, so the last one has only its open node.
    levels: Vec<Level>,
}

#[derive(Debug, Default)]
struct Level {
    open: Vec<ManifestChild>,
    cutter: ManifestCutter,
}

impl ManifestBuilder {
    /// Takes the next chunk.
    ///
    /// # Errors
    /// As [`Sink::put_meta`].
    pub(in crate::repo) async fn push(&mut self, chunk: ChunkItem, sink: &mut Sink) -> Result<(), RepoError> {
        self.chunks.push(chunk);
        if self.cutter.push(chunk.id.as_bytes()) {
            let node = ManifestNode::Leaf(std::mem::take(&mut self.chunks));
            let child = store(&node, sink).await?;
            self.push_child(0, child, sink).await?;
        }
        Ok(())
    }

    /// The root, which names the content; `None` when no chunk was pushed.
    ///
    /// # Errors
    /// As [`Sink::put_meta`].
    pub(in crate::repo) async fn finish(
        mut self,
        sink: &mut Sink,
    ) -> Result<Option<(ManifestId, Option<Location>)>, RepoError> {
        if !self.chunks.is_empty() {
            let node = ManifestNode::Leaf(std::mem::take(&mut self.chunks));
            let child = store(&node, sink).await?;
            if self.levels.is_empty() {
                return Ok(Some((child.id, child.hint)));
            }
            self.push_child(0, child, sink).await?;
        }
        for at in 0.. {
            let Some(level) = self.levels.get_mut(at) else { break };
            let mut children = std::mem::take(&mut level.open);
            let top = at + 1 == self.levels.len();
            if top && children.len() == 1 {
                // A level above a single node is none: that node is the root.
                return Ok(children.pop().map(|child| (child.id, child.hint)));
            }
            if !children.is_empty() {
                let child = store(&interior(at, children), sink).await?;
                if top {
                    return Ok(Some((child.id, child.hint)));
                }
                self.push_child(at + 1, child, sink).await?;
            }
        }
        Ok(None)
    }

    /// Takes a child into the open node of `levels[at]`, and on upwards while nodes end.
    async fn push_child(
        &mut self,
        mut at: usize,
        mut child: ManifestChild,
        sink: &mut Sink,
    ) -> Result<(), RepoError> {
        loop {
            if at == self.levels.len() {
                self.levels.push(Level::default());
            }
            let level = &mut self.levels[at];
            level.open.push(child);
            if !level.cutter.push(child.id.as_bytes()) {
                return Ok(());
            }
            let children = std::mem::take(&mut level.open);
            child = store(&interior(at, children), sink).await?;
            at += 1;
        }
    }
}

/// The node of `levels[at]`.
fn interior(at: usize, children: Vec<ManifestChild>) -> ManifestNode {
    // 128^7 chunks are more than a file can have, so the level fits.
    let level = u8::try_from(at + 1).unwrap_or(u8::MAX);
    ManifestNode::Interior { level, children }
}

async fn store(node: &ManifestNode, sink: &mut Sink) -> Result<ManifestChild, RepoError> {
    let (id, blob) = node.encode();
    let (chunks, bytes) = node.totals();
    let hint = sink.put_meta(BlobKind::ManifestNode, *id.as_bytes(), &blob).await?;
    Ok(ManifestChild { id, chunks, bytes, hint })
}
