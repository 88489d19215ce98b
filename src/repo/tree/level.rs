//! One level of a tree under construction: items go in, nodes come out where the cut rule says.

use crate::format::{ChildItem, LeafItem, NodeCutter};

/// What a level is made of.
pub(super) trait Piece {
    /// What the cut rule counts.
    fn cut_size(&self) -> usize;

    /// Tells the cutter; true when the node ends behind this piece.
    fn push_to(&self, cutter: &mut NodeCutter) -> bool;
}

impl Piece for LeafItem {
    fn cut_size(&self) -> usize {
        LeafItem::cut_size(self)
    }

    fn push_to(&self, cutter: &mut NodeCutter) -> bool {
        cutter.push_leaf(self)
    }
}

impl Piece for ChildItem {
    fn cut_size(&self) -> usize {
        ChildItem::cut_size(self)
    }

    fn push_to(&self, cutter: &mut NodeCutter) -> bool {
        cutter.push_child(self)
    }
}

/// The right edge of one level.
#[derive(Debug)]
pub(super) struct Level<P> {
    cutter: NodeCutter,
    open: Vec<P>,
    /// Pieces taken so far.
    received: u64,
}

/// The nodes that one piece completed: one that had to end before it, one that ended behind it.
#[derive(Debug)]
pub(super) struct Ended<P> {
    pub(super) before: Option<Vec<P>>,
    pub(super) behind: Option<Vec<P>>,
}

impl<P: Piece> Level<P> {
    pub(super) fn new(seed: [u8; 32], level: u8) -> Self {
        Self { cutter: NodeCutter::new(seed, level), open: Vec::new(), received: 0 }
    }

    /// Whether the next piece begins a node.
    pub(super) fn is_at_start(&self) -> bool {
        self.open.is_empty()
    }

    /// Pieces taken so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn push(&mut self, piece: P) -> Ended<P> {
        self.received += 1;
        let before = self.cutter.must_end_before(piece.cut_size()).then(|| {
            self.cutter.restart();
            std::mem::take(&mut self.open)
        });
        let ends = piece.push_to(&mut self.cutter);
        self.open.push(piece);
        let behind = ends.then(|| std::mem::take(&mut self.open));
        Ended { before, behind }
    }

    /// The last node: what is still open, perhaps nothing.
    pub(super) fn take_rest(&mut self) -> Vec<P> {
        self.cutter.restart();
        std::mem::take(&mut self.open)
    }
}
