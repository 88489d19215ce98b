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
    use proptest::prelude::*;

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

    /// What `docs/format.md` says under "Where files are cut", word for word, but for the table of MD5 sums.
    fn cut_as_documented(data: &[u8], ChunkerParameters { min, average, max }: ChunkerParameters) -> usize {
        const MASK: [u64; 15] = [
            0x0000_0190_0035_3000,
            0x0000_5900_0353_0000,
            0x0000_d900_0353_0000,
            0x0000_d901_0353_0000,
            0x0000_d903_0353_0000,
            0x0000_d903_1353_0000,
            0x0000_d90f_0353_0000,
            0x0000_d903_0353_7000,
            0x0000_d907_0353_7000,
            0x0000_d907_0753_7000,
            0x0000_d917_0753_7000,
            0x0000_d917_4753_7000,
            0x0000_d917_6753_7000,
            0x0000_d937_6753_7000,
            0x0000_d937_7753_7000,
        ];
        let (gear, _) = fastcdc::v2020::get_gear_with_seed(0);
        let k = f64::from(average).log2().round() as usize;
        let (strict, loose) = (MASK[k + 1 - 9], MASK[k - 1 - 9]);
        let (min, average, max) = (min as usize, average as usize, max as usize);
        let n = data.len();
        if n <= min {
            return n;
        }
        let n = n.min(max);
        let center = average.min(n);
        let mut h = 0_u64;
        for i in min..n / 2 * 2 {
            h = (h << 1).wrapping_add(gear[usize::from(data[i])]);
            let mask = if i < center / 2 * 2 { strict } else { loose };
            if h & mask == 0 {
                return i;
            }
        }
        n
    }

    /// Parameters that `format.json` may hold, those at the edges often.
    fn parameters() -> impl Strategy<Value = ChunkerParameters> {
        let near = |edge: u32| (edge.saturating_sub(8)..=edge + 8).boxed();
        let length = || {
            prop_oneof![
                near(1024),
                near(1448),
                near(1 << 20),
                near(4 << 20),
                0..=8192_u32,
                0..=(5 << 20) as u32,
                any::<u32>(),
            ]
        };
        (length(), length(), length()).prop_map(|(min, average, max)| ChunkerParameters { min, average, max })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, max_global_rejects: 1_000_000, ..Default::default() })]

        /// What our check lets through, FastCDC takes (it asserts its bounds in builds like this one) and cuts as documented.
        #[test]
        fn what_format_json_may_say_is_what_fastcdc_takes(
            chunker in parameters().prop_filter("refused", |chunker| chunker.check().is_ok()),
            seed in any::<u64>(),
            len in 0..(300_usize << 10),
            zeros in any::<bool>(),
        ) {
            let data = if zeros { vec![0; len] } else { split_mix(seed, len) };
            let (mut at, mut cutter) = (0, Chunker::new(&data[..], chunker));
            while let Some(chunk) = cutter.next_chunk().expect("memory does not fail") {
                prop_assert_eq!(chunk.len(), cut_as_documented(&data[at..], chunker), "at {}", at);
                at += chunk.len();
            }
            prop_assert_eq!(at, len);
        }
    }

    /// The crate's own bounds, and its choice of masks, at the ends of ours.
    #[test]
    fn the_bounds_lie_within_those_of_fastcdc() {
        use fastcdc::v2020::{AVERAGE_MAX, AVERAGE_MIN, MAXIMUM_MAX, MAXIMUM_MIN, MINIMUM_MAX, MINIMUM_MIN};
        let ok = |min, average, max| ChunkerParameters { min, average, max }.check().is_ok();
        for (min, average, max) in [(1024, 1026, 1028), (1 << 20, (4 << 20) - 2, 4 << 20)] {
            assert!(ok(min, average, max));
            assert!((MINIMUM_MIN..=MINIMUM_MAX).contains(&(min as usize)));
            assert!((AVERAGE_MIN..=AVERAGE_MAX).contains(&(average as usize)));
            assert!((MAXIMUM_MIN..=MAXIMUM_MAX).contains(&(max as usize)));
            let parameters = ChunkerParameters { min, average, max };
            let data = split_mix(5, 9 << 20);
            let mut cutter = Chunker::new(&data[..], parameters);
            for _ in 0..3 {
                assert!(cutter.next_chunk().expect("memory does not fail").is_some());
            }
        }
        for (min, average, max) in [
            (1022, 2048, 4096),
            (1025, 2048, 4096),
            (1024, 1024, 4096),
            (1024, 2049, 4096),
            (1024, 2048, 2048),
            (1024, 2048, 4097),
            ((1 << 20) + 2, 2 << 20, 4 << 20),
            (1024, 2048, (4 << 20) + 2),
            (0, 0, 0),
            (u32::MAX, u32::MAX, u32::MAX),
        ] {
            assert!(!ok(min, average, max), "{min} {average} {max}");
        }
    }
}
