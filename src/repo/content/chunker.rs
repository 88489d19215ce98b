//! A file's bytes to chunks.
//!
//! The rule (`docs/format.md`): no bytes are no chunk; up to 512 bytes stand in the entry; up to 1 MiB are exactly one
//! chunk; longer content is cut by FastCDC (2020), whose state begins anew behind every cut. So cutting may begin at any
//! boundary, and the chunks behind it are those of a cut from the beginning.
//!
//! A cut depends on at most [`ChunkerParameters::max`] bytes from the last one, so a buffer of that length (and a
//! little more, so that it is not moved for every chunk) is all the memory it takes.

use std::io::{self, Read};

use bytes::Bytes;
use fastcdc::v2020::FastCDC;

use crate::format::ChunkerParameters;

/// Cuts what a reader gives, from a boundary on.
#[derive(Debug)]
pub(in crate::repo) struct Chunker<R> {
    reader: R,
    parameters: ChunkerParameters,
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
}

impl<R: Read> Chunker<R> {
    /// A chunker whose reader stands at a boundary: the beginning of the content, or behind a chunk of it.
    pub(in crate::repo) fn new(reader: R, parameters: ChunkerParameters) -> Self {
        Self { reader, parameters, buffer: Vec::new(), start: 0, ended: false }
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// The reader's.
    pub(in crate::repo) fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let ChunkerParameters { min, average, max } = self.parameters;
        let max = max as usize;
        if self.buffer.len() - self.start < max && !self.ended {
            self.fill(2 * max)?;
        }
        let rest = &self.buffer[self.start..];
        if rest.is_empty() {
            return Ok(None);
        }
        let window = &rest[..rest.len().min(max)];
        let mut chunker = FastCDC::new(window, min as usize, average as usize, max);
        let len = chunker.next().map_or(window.len(), |chunk| chunk.length);
        let chunk = Bytes::copy_from_slice(&window[..len]);
        self.start += len;
        Ok(Some(chunk))
    }

    /// The reader, for whoever wants to ask it something at the end.
    pub(in crate::repo) fn into_reader(self) -> R {
        self.reader
    }

    /// Moves the rest to the front and reads until the buffer holds `target` bytes or the reader ends.
    fn fill(&mut self, target: usize) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let missing = target - self.buffer.len();
        let read = self.reader.by_ref().take(missing as u64).read_to_end(&mut self.buffer)?;
        self.ended = read < missing;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator that `docs/format.md` states for its golden list.
    fn split_mix(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed;
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// Gives at most `step` bytes per call, as a pipe does.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(buf.len()).min(self.0.len());
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn chunks(reader: impl Read) -> Vec<Bytes> {
        let mut chunker = Chunker::new(reader, ChunkerParameters::DEFAULT);
        std::iter::from_fn(|| chunker.next_chunk().expect("memory does not fail")).collect()
    }

    /// The lengths that `tests/golden/chunks.txt` lists for `name`.
    fn golden(name: &str) -> Vec<usize> {
        let text = include_str!("../../../tests/golden/chunks.txt");
        let line = text.lines().find(|line| line.starts_with(name)).expect("listed");
        let (_, lengths) = line.rsplit_once(": ").expect("lengths");
        lengths.split(' ').map(|length| length.parse().expect("a number")).collect()
    }

    #[test]
    fn boundaries_are_those_of_the_golden_list_however_the_bytes_come() {
        for (name, data) in [
            ("random", split_mix(1, 24 << 20)),
            ("zeros", vec![0; 9 << 20]),
            ("odd", split_mix(3, (3 << 20) + 1)),
        ] {
            for step in [usize::MAX, 65_537] {
                let chunks = chunks(Slow(&data, step));
                assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), golden(name), "{name}");
                assert!(chunks.concat() == data, "{name}: every byte once, in order");
            }
        }
    }

    #[test]
    fn cutting_may_begin_at_any_boundary() {
        let data = split_mix(1, 12 << 20);
        let whole = chunks(&data[..]);
        let mut at = 0;
        for (n, chunk) in whole.iter().enumerate() {
            assert!(chunks(&data[at..]) == whole[n..], "from chunk {n}");
            at += chunk.len();
        }
        assert!(chunks(&data[..0]).is_empty());
    }
}
