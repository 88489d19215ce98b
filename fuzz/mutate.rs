//! A seeded mutator: one to eight small changes of a valid input, now and then a splice of two.

/// Numbers at which lengths and counts break.
const INTERESTING: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x3fff,
    0x4000,
    0xffff,
    0x10_0000,
    0x40_0000,
    u32::MAX as u64,
    1 << 43,
    i64::MAX as u64,
    u64::MAX,
];

pub(crate) struct Mutator(u64);

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// A mutation of one of the inputs.
    pub(crate) fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        if self.below(8) == 0 {
            let other = &corpus[self.below(corpus.len())];
            let (at, from) = (self.below(bytes.len() + 1), self.below(other.len() + 1));
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        for _ in 0..1 + self.below(8) {
            self.change(&mut bytes);
            // Most single changes are refused; a few of them together always are.
            if self.below(3) > 0 {
                break;
            }
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let len = (1 + self.below(16)).min(bytes.len() - at);
        match self.below(11) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.next() as u8,
            2 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(1),
            3 if at < bytes.len() => bytes[at] = bytes[at].wrapping_sub(1),
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(at..at + len)),
            6 => bytes.insert(at, self.next() as u8),
            7 => {
                let again = bytes[at..at + len].to_vec();
                let _ = bytes.splice(at..at, again).count();
            }
            8 => {
                let number = INTERESTING[self.below(INTERESTING.len())];
                let mut varint = Vec::new();
                let mut rest = number;
                while rest >= 0x80 {
                    varint.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                varint.push(rest as u8);
                let _ = bytes.splice(at..at + varint.len().min(bytes.len() - at), varint).count();
            }
            9 => {
                let number = INTERESTING[self.below(INTERESTING.len())].to_le_bytes();
                let width = [1, 4, 8][self.below(3)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            _ => {
                // The texts of JSON: another number, quote, escape or bracket.
                const TEXTS: [&str; 12] = [
                    "0",
                    "-1",
                    "1e9",
                    "18446744073709551616",
                    "\"",
                    "\\u0000",
                    "\\n",
                    "{}",
                    "[]",
                    ",",
                    "null",
                    "é",
                ];
                let text = TEXTS[self.below(TEXTS.len())];
                let _ = bytes.splice(at..at + len.min(self.below(3)), text.bytes()).count();
            }
        }
    }
}
