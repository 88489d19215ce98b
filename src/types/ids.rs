//! One type per kind of thing that is named by bytes. Two ids of different kinds never compare, mix or convert
//! silently; each says in one sentence what its identity means.

use std::fmt;
use std::str::FromStr;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: expected {digits} lower-case hexadecimal digits")]
pub struct IdError {
    kind: &'static str,
    text: String,
    digits: usize,
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

/// Strict: lower case only, so that an id has exactly one spelling in keys and records.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    fn digit(c: u8) -> Option<u8> {
        match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        }
    }
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Wraps bytes that are known to be such an id.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The id in full, in lower-case hexadecimal: its one spelling in keys and records.
            pub fn to_hex(&self) -> String {
                to_hex(&self.0)
            }

            /// The first 12 digits, for people.
            pub fn short(&self) -> String {
                to_hex(&self.0[..6])
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                from_hex(text).map(Self).ok_or_else(|| IdError {
                    kind: $kind,
                    text: text.chars().take(80).collect(),
                    digits: 2 * $len,
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.to_hex())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.to_hex())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        id_type!($(#[$doc])* $name, 32, $kind);

        impl $name {
            /// The id of `bytes`: their BLAKE3 hash.
            pub fn of(bytes: &[u8]) -> Self {
                Self(*blake3::hash(bytes).as_bytes())
            }
        }
    };
}

hash_id!(
    /// A commit: BLAKE3 of its canonical JSON. Equal ids mean the same tree, parents, author, time and message.
    CommitId, "commit id"
);
hash_id!(
    /// A tree node: BLAKE3 of its hashed body. Equal ids mean the same entries (where they lie may differ).
    NodeId, "tree node id"
);
hash_id!(
    /// A manifest node: BLAKE3 of its hashed body. A root manifest id names the content of one file above 1 MiB.
    ManifestId, "manifest id"
);
hash_id!(
    /// A chunk: BLAKE3 of its raw (uncompressed) bytes.
    ChunkId, "chunk id"
);
hash_id!(
    /// A list of extended attributes too long to stand in its entry: BLAKE3 of its encoding.
    XattrsId, "xattrs id"
);
hash_id!(
    /// A record of a ref log: BLAKE3 of the stored bytes of the record.
    RecordHash, "record hash"
);
id_type!(
    /// A pack: 16 random bytes, so that a pack's name never comes back after it was collected.
    PackId, 16, "pack id"
);
id_type!(
    /// 16 random bytes that tell one attempt from every other.
    Nonce, 16, "nonce"
);

/// Which repository this is: a version-4 UUID made by `atfs init`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RepoUuid(uuid::Uuid);

impl RepoUuid {
    /// No repository: never drawn, since a drawn one has version bits.
    pub const NIL: Self = Self(uuid::Uuid::nil());

    /// A UUID from 16 random bytes (version and variant bits are set here).
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for RepoUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RepoUuid {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self).map_err(|_| IdError {
            kind: "repository uuid",
            text: text.chars().take(80).collect(),
            digits: 32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_has_one_spelling() {
        let id = ChunkId::of(b"x");
        assert_eq!(id.to_hex().parse::<ChunkId>(), Ok(id));
        assert!(id.to_hex().to_uppercase().parse::<ChunkId>().is_err());
        assert!("00".parse::<ChunkId>().is_err());
        assert!("é".repeat(32).parse::<ChunkId>().is_err());
    }

    #[test]
    fn the_empty_chunk_has_the_published_blake3_hash() {
        assert_eq!(
            ChunkId::of(b"").to_hex(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }
}
