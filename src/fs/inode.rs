//! Inode numbers: slot and number, computed, never stored.
//!
//! A mount shows one or more commits, each in a *slot*. In a slot, number 1 is the root and number `rank + 2` the
//! entry with that rank, so an inode number says by itself which entry of which commit it means: there is no
//! inode table, memory does not grow with `find`, and a restarted daemon finds every inode again. Bytes behind an
//! inode number never change, because neither a commit nor the commit of a slot ever does.
//!
//! ```text
//!  63      44 43                     0
//! +----------+------------------------+
//! |   slot   |  1, or rank + 2        |    FUSE's root is slot 0, number 1
//! | VIRTUAL  |  slot << 8 | file      |    the `.atfs` directory of a slot and what is in it
//! +----------+------------------------+
//! ```
//! The highest slots are never used, so that every number fits a signed 64-bit integer as well.

use std::fmt;

/// Bits of the number within a slot.
const NUMBER_BITS: u32 = 44;

/// The reserved slot of the `.atfs` directories.
const VIRTUAL: u64 = (1 << 19) - 1;

/// An inode number as the kernel sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(u64);

/// Which commit of a mount, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u32);

/// The `.atfs` directory and its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Virtual {
    /// `.atfs` itself.
    Directory,
    /// `.atfs/commit`.
    Commit,
    /// `.atfs/ref`.
    Ref,
    /// `.atfs/url`.
    Url,
    /// `.atfs/stats`.
    Stats,
}

/// What an inode number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inode {
    /// The root of a slot.
    Root(Slot),
    /// The entry with this rank.
    Entry(Slot, u64),
    /// The slot's `.atfs` directory or one of its files.
    Virtual(Slot, Virtual),
}

impl Slot {
    /// The first slot: the commit of a single-ref mount, the list of refs of a whole-repository mount.
    pub const FIRST: Self = Self(0);

    /// How many slots a mount can have. Far below what the number holds: each slot pins a commit in memory.
    pub const LIMIT: usize = 1 << 16;

    /// The slot with this index; `None` from [`Slot::LIMIT`] on.
    pub fn new(index: usize) -> Option<Self> {
        (index < Self::LIMIT).then_some(Self(index as u32))
    }

    /// The slot with this number; `None` from 2^19 - 1 on, where inode numbers end. For those who drop slots again.
    pub fn numbered(index: usize) -> Option<Self> {
        (index < VIRTUAL as usize).then_some(Self(index as u32))
    }

    /// The index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Virtual {
    const ALL: [Self; 5] = [Self::Directory, Self::Commit, Self::Ref, Self::Url, Self::Stats];

    /// The files in `.atfs`, by name.
    pub const FILES: [(&'static str, Self); 4] =
        [("commit", Self::Commit), ("ref", Self::Ref), ("url", Self::Url), ("stats", Self::Stats)];
}

impl Ino {
    /// FUSE's root: the root of the first slot.
    pub const ROOT: Self = Self(1);

    /// A number as it came from the kernel.
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The number for the kernel.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// The root of `slot`.
    pub fn root(slot: Slot) -> Self {
        Self(u64::from(slot.0) << NUMBER_BITS | 1)
    }

    /// The entry with `rank` in `slot`; `None` for a rank beyond 2^44 - 3 (no commit is that large).
    pub fn entry(slot: Slot, rank: u64) -> Option<Self> {
        let number = rank.checked_add(2)?;
        (number >> NUMBER_BITS == 0).then_some(Self(u64::from(slot.0) << NUMBER_BITS | number))
    }

    /// The `.atfs` directory of `slot`, or one of its files.
    pub fn of_virtual(slot: Slot, file: Virtual) -> Self {
        Self(VIRTUAL << NUMBER_BITS | u64::from(slot.0) << 8 | file as u64)
    }

    /// The slot that it belongs to; `None` as for [`Ino::meaning`].
    pub fn slot(self) -> Option<Slot> {
        match self.meaning()? {
            Inode::Root(slot) | Inode::Entry(slot, _) | Inode::Virtual(slot, _) => Some(slot),
        }
    }

    /// What the number means; `None` for one that this module never made.
    pub fn meaning(self) -> Option<Inode> {
        let (slot, number) = (self.0 >> NUMBER_BITS, self.0 & ((1 << NUMBER_BITS) - 1));
        if slot == VIRTUAL {
            let file = *Virtual::ALL.get((number & 0xff) as usize)?;
            return Some(Inode::Virtual(Slot::numbered((number >> 8) as usize)?, file));
        }
        let slot = Slot::numbered(slot as usize)?;
        match number {
            0 => None,
            1 => Some(Inode::Root(slot)),
            _ => Some(Inode::Entry(slot, number - 2)),
        }
    }
}

impl fmt::Debug for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some(inode) => write!(f, "{inode:?}"),
            None => write!(f, "Ino({:#x})", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_says_what_it_means() {
        let last = Slot::new(Slot::LIMIT - 1).expect("the last slot");
        for slot in [Slot::FIRST, Slot(1), last] {
            assert_eq!(Ino::root(slot).meaning(), Some(Inode::Root(slot)));
            for rank in [0, 1, 1 << 40, (1 << 44) - 3] {
                let ino = Ino::entry(slot, rank).expect("fits");
                assert_eq!(ino.meaning(), Some(Inode::Entry(slot, rank)));
                assert!(i64::try_from(ino.raw()).is_ok());
            }
            for file in Virtual::ALL {
                let ino = Ino::of_virtual(slot, file);
                assert_eq!(ino.meaning(), Some(Inode::Virtual(slot, file)));
                assert!(i64::try_from(ino.raw()).is_ok());
            }
        }
        assert_eq!(Ino::root(Slot::FIRST), Ino::ROOT);
    }

    #[test]
    fn numbers_that_were_never_made_mean_nothing() {
        assert_eq!(Ino::entry(Slot::FIRST, (1 << 44) - 2), None);
        assert_eq!(Ino::entry(Slot::FIRST, u64::MAX), None);
        assert_eq!(Slot::new(Slot::LIMIT), None);
        for raw in [0, 3 << NUMBER_BITS, u64::MAX, VIRTUAL << NUMBER_BITS | 5, 1 << 60] {
            assert_eq!(Ino::from_raw(raw).meaning(), None, "{raw:#x}");
        }
    }
}
