//! Every key of the bucket is spelt here, and nowhere else. See `docs/format.md`, "Keys".

use crate::format::PackKind;
use crate::store::Key;
use crate::types::{CommitId, PackId, RefKind, RefName};

/// Highest number of a record in a log: keys hold its 12-digit complement, so that a listing shows the newest first.
pub const MAX_SEQ: u64 = 999_999_999_999;

/// `format.json`.
pub fn format() -> Key {
    Key::new("format.json")
}

/// What the keys of all records of a log begin with.
pub fn log_prefix(kind: RefKind, name: &RefName) -> String {
    format!("{}{}/", refs_prefix(kind), name.to_key())
}

/// What the keys of all branches' (or tags') logs begin with.
pub fn refs_prefix(kind: RefKind) -> &'static str {
    match kind {
        RefKind::Branch => "refs/heads/",
        RefKind::Tag => "refs/tags/",
    }
}

/// What the keys of the settings log begin with.
pub const SETTINGS_PREFIX: &str = "settings/";

/// What the keys of the collector's epochs begin with.
pub const GC_EPOCH_PREFIX: &str = "gc/epoch/";

/// Record `seq` (1 to [`MAX_SEQ`]) of the log with this prefix.
pub fn record(log_prefix: &str, seq: u64) -> Key {
    Key::new(format!("{log_prefix}{:012}.json", MAX_SEQ - seq.min(MAX_SEQ)))
}

/// The number of a record from its key; `None` when the key is not spelt as [`record`] does.
pub fn record_seq(log_prefix: &str, key: &Key) -> Option<u64> {
    let digits = key.as_str().strip_prefix(log_prefix)?.strip_suffix(".json")?;
    let valid = digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_digit());
    let seq = MAX_SEQ - digits.parse::<u64>().ok().filter(|_| valid)?;
    (seq > 0).then_some(seq)
}

/// A commit object.
pub fn commit(id: CommitId) -> Key {
    let hex = id.to_hex();
    Key::new(format!("commits/{}/{hex}.json", &hex[..2]))
}

/// What the keys of commits that begin with these digits (2 or more) begin with.
pub fn commit_prefix(digits: &str) -> String {
    format!("commits/{}/{digits}", &digits[..2])
}

/// A pack.
pub fn pack(kind: PackKind, id: PackId) -> Key {
    let folder = match kind {
        PackKind::Data => "data",
        PackKind::Meta => "meta",
    };
    let hex = id.to_hex();
    Key::new(format!("{folder}/{}/{hex}", &hex[..2]))
}

/// What the keys of all packs' index objects begin with.
pub const INDEX_PREFIX: &str = "index/";

/// The index object of a pack.
pub fn index(id: PackId) -> Key {
    let hex = id.to_hex();
    Key::new(format!("index/{}/{hex}", &hex[..2]))
}

/// Where the blobs of a repacked pack went.
pub fn moved(id: PackId) -> Key {
    Key::new(format!("moved/{}", id.to_hex()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_records_list_first() {
        let name = RefName::new("ingest/a").expect("valid");
        let prefix = log_prefix(RefKind::Branch, &name);
        assert_eq!(record(&prefix, 1).as_str(), "refs/heads/ingest_2Fa/999999999998.json");
        assert!(record(&prefix, 2) < record(&prefix, 1));
        for seq in [1, 2, MAX_SEQ] {
            assert_eq!(record_seq(&prefix, &record(&prefix, seq)), Some(seq));
        }
        for bad in
            ["x.json", "99999999999.json", "999999999999.json", "+99999999998.json", "999999999998.jso"]
        {
            assert_eq!(record_seq(&prefix, &Key::new(format!("{prefix}{bad}"))), None, "{bad}");
        }
    }
}
