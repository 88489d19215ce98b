//! The bytes of a file of the upper: what is local, what its origin shows.
//!
//! A byte is the origin's if it lies before the visible length and in no local range; else it is the file's own. The visible length only
//! shrinks: cutting a file and making it longer again shows zeros, never what was cut off.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::fcntl::FallocateFlags;

use crate::types::Spans;

use super::layer::Layer;
use super::ranges::{self, Ranges};
use super::record::{Holder, Origin, Record, Visible};

/// A file of the upper, open to be written. Not for several threads at once.
#[derive(Debug)]
pub struct Local {
    layer: Arc<Layer>,
    file: File,
    record: Record,
    ranges: Option<Ranges>,
}

/// Whose the bytes of a range are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The file's own.
    Own(Range<u64>),
    /// Its origin's.
    Origins(Range<u64>),
}

impl Local {
    /// The file, open for reading and writing, as its layer has it.
    pub(super) fn new(layer: Arc<Layer>, file: File, mut record: Record) -> io::Result<Self> {
        let visible = record.origin.as_ref().map(Origin::visible).unwrap_or_default();
        let ranges =
            visible.ranges.map(|number| Ranges::open(&layer.ranges_path(number), &layer.disk)).transpose()?;
        // Who shrank it may have died before he said so.
        let len = visible.len.min(file.metadata()?.len());
        record.origin = record.origin.map(|origin| origin.showing(Visible { len, ..visible }));
        Ok(Self { layer, file, record, ranges })
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn visible(&self) -> Visible {
        self.record.origin.as_ref().map(Origin::visible).unwrap_or_default()
    }

    /// The bytes of `range`, in order, by whose they are; cut off at the end of the file.
    pub fn parts(&self, range: Range<u64>) -> io::Result<Vec<Whose>> {
        let range = range.start..range.end.min(self.size()?);
        let visible = range.start.min(self.visible().len)..range.end.min(self.visible().len);
        let none = Spans::default();
        let local = self.ranges.as_ref().map_or(&none, Ranges::local);
        let mut parts = Vec::new();
        let mut at = range.start;
        for gap in local.gaps(visible) {
            if at < gap.start {
                parts.push(Whose::Own(at..gap.start));
            }
            at = gap.end;
            parts.push(Whose::Origins(gap));
        }
        if at < range.end {
            parts.push(Whose::Own(at..range.end));
        }
        Ok(parts)
    }

    /// Fills `buf` with own bytes.
    pub fn read_own(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    /// Writes; the file grows if need be.
    pub fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.ready_ranges(offset)?;
        self.layer.disk.write(&self.file, bytes, offset)?;
        self.note(offset..offset + bytes.len() as u64, ranges::Bytes::Written)
    }

    /// Cuts the file off, or makes it longer with zeros.
    pub fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.layer.disk.set_len(&self.file, len)?;
        let visible = self.visible();
        if len < visible.len {
            let shown = Visible { len, ranges: visible.ranges.filter(|_| len > 0) };
            // One that shows nothing any more may still say the attributes.
            let origin =
                self.record.origin.take().filter(|_| len > 0 || self.record.xattrs == Holder::Origin);
            self.record.origin = origin.map(|origin| origin.showing(shown));
            self.record.write(&self.layer.disk, &self.file)?;
            if shown.ranges.is_none() && self.ranges.take().is_some() {
                self.layer.drop_ranges(visible.ranges);
            }
        }
        Ok(())
    }

    /// `fallocate`: room for a range, or zeros in it.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for what moves bytes about.
    pub fn allocate(&mut self, how: FallocateFlags, range: Range<u64>) -> io::Result<()> {
        let zeros = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_ZERO_RANGE;
        if !(how - zeros - FallocateFlags::FALLOC_FL_KEEP_SIZE).is_empty() {
            return Err(nix::errno::Errno::EOPNOTSUPP.into());
        }
        let makes_zeros = how.intersects(zeros);
        if makes_zeros {
            self.ready_ranges(range.start)?;
        }
        let (offset, len) = (range.start.cast_signed(), (range.end - range.start).cast_signed());
        self.layer.disk.allocate(&self.file, how, offset, len)?;
        if makes_zeros { self.note(range, ranges::Bytes::Zeros) } else { Ok(()) }
    }

    /// Returns when everything is on the disk that was written.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        self.ranges.as_mut().map_or(Ok(()), |ranges| ranges.sync(&self.layer.disk))
    }

    /// Sees to it that there is a log for a change from `offset` on, if one is needed.
    fn ready_ranges(&mut self, offset: u64) -> io::Result<()> {
        let visible = self.visible();
        let Some(origin) = self.record.origin.take() else { return Ok(()) };
        if offset >= visible.len || self.ranges.is_some() {
            self.record.origin = Some(origin);
            return Ok(());
        }
        let (number, made) = self.layer.make_ranges()?;
        let before = origin.clone();
        self.record.origin = Some(origin.showing(Visible { ranges: Some(number), ..visible }));
        if let Err(error) = self.record.write(&self.layer.disk, &self.file) {
            self.record.origin = Some(before);
            return Err(error);
        }
        self.ranges = Some(made);
        Ok(())
    }

    /// Notes what of a range the origin would show otherwise.
    fn note(&mut self, range: Range<u64>, what: ranges::Bytes) -> io::Result<()> {
        let end = range.end.min(self.visible().len);
        match &mut self.ranges {
            Some(ranges) if range.start < end => ranges.add(&self.layer.disk, range.start..end, what),
            _ => Ok(()),
        }
    }
}
