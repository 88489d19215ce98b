//! A bounded reader of bytes, and the sinks that encoders write to.
//!
//! Numbers inside hashed structures are varints: unsigned LEB128, seven bits a byte, lowest first, at most ten
//! bytes, shortest form only; so a number has one encoding. Signed numbers are zigzag-mapped first.

use super::FormatError;

/// Takes values off the front of a slice; never reads behind its end, never allocates.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// A reader of `bytes`, which are (part of) a `what`.
    pub(super) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    /// Bytes not yet taken.
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// A broken rule of the structure being read.
    pub(super) fn malformed(&self, rule: impl Into<String>) -> FormatError {
        FormatError::malformed(self.what, rule)
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or(FormatError::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (taken, rest) =
            self.rest.split_first_chunk().ok_or(FormatError::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    pub(super) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Four bytes, little-endian.
    pub(super) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    pub(super) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A varint in its shortest form.
    pub(super) fn varint(&mut self) -> Result<u64, FormatError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.malformed("a varint exceeds 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.malformed("a varint is longer than it needs to be"));
                }
                return Ok(value);
            }
        }
        Err(self.malformed("a varint is longer than ten bytes"))
    }

    /// A varint that must not exceed `max`; `name` is what it counts.
    pub(super) fn varint_to(&mut self, max: u64, name: &str) -> Result<u64, FormatError> {
        let value = self.varint()?;
        if value > max {
            return Err(self.malformed(format!("{name} is {value}, at most {max} is possible")));
        }
        Ok(value)
    }

    /// A 32-bit varint; `name` is what it counts.
    pub(super) fn varint_u32(&mut self, name: &str) -> Result<u32, FormatError> {
        let value = self.varint_to(u64::from(u32::MAX), name)?;
        u32::try_from(value).map_err(|_| self.malformed(name))
    }

    /// A length that must not exceed `max`, then as many bytes.
    pub(super) fn sized(&mut self, max: usize, name: &str) -> Result<&'a [u8], FormatError> {
        let len = self.varint_to(max as u64, name)?;
        self.take(usize::try_from(len).map_err(|_| self.malformed(name))?)
    }

    /// A zigzag-mapped signed varint.
    pub(super) fn zigzag(&mut self) -> Result<i64, FormatError> {
        let mapped = self.varint()?;
        Ok((mapped >> 1).cast_signed() ^ -(mapped & 1).cast_signed())
    }

    /// Everything must have been taken.
    pub(super) fn finish(&self) -> Result<(), FormatError> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(self.malformed(format!("{more} bytes follow its end"))),
        }
    }
}

/// Where encoders write: a buffer, or a mere count, so that a length is never computed by a second formula.
pub(super) trait Sink {
    /// Appends bytes.
    fn bytes(&mut self, bytes: &[u8]);

    /// Appends one byte.
    fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    /// Appends a varint.
    fn varint(&mut self, mut value: u64) {
        let mut encoded = [0; 10];
        let mut len = 0;
        loop {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            encoded[len] = if value == 0 { low } else { low | 0x80 };
            len += 1;
            if value == 0 {
                break;
            }
        }
        self.bytes(&encoded[..len]);
    }

    /// Appends a length as a varint, then the bytes.
    fn sized(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.bytes(bytes);
    }

    /// Appends a signed number, zigzag-mapped.
    fn zigzag(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }
}

impl Sink for Vec<u8> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts instead of writing.
#[derive(Debug, Default)]
pub(super) struct Counter(pub(super) usize);

impl Sink for Counter {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_one_spelling() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), 1 << 63, u64::MAX] {
            let mut bytes = Vec::new();
            bytes.varint(value);
            let mut cursor = Cursor::new("number", &bytes);
            assert_eq!(cursor.varint(), Ok(value));
            assert_eq!(cursor.finish(), Ok(()));
            let mut count = Counter::default();
            count.varint(value);
            assert_eq!(count.0, bytes.len());
        }
        let over_64_bits = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        for bad in [&[0x80][..], &[0x80, 0x00], &[0xff, 0x80, 0x00], &[0x80; 11], &over_64_bits, &[]] {
            assert!(Cursor::new("number", bad).varint().is_err(), "{bad:x?}");
        }
    }

    #[test]
    fn zigzag_keeps_small_numbers_short() {
        for (value, first) in [(0, 0), (-1, 1), (1, 2), (-2, 3)] {
            let mut bytes = Vec::new();
            bytes.zigzag(value);
            assert_eq!(bytes, [first]);
        }
        for value in [i64::MIN, i64::MIN + 1, -1_000_000_007, i64::MAX] {
            let mut bytes = Vec::new();
            bytes.zigzag(value);
            assert_eq!(Cursor::new("number", &bytes).zigzag(), Ok(value));
        }
    }
}
