//! Paths in JSON: as text when they are UTF-8, else as a list of byte values. For `#[serde(with = "...")]`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Bytes(Vec<u8>),
}

pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => serializer.serialize_str(text),
        None => Text::Bytes(path.as_os_str().as_bytes().to_vec()).serialize(serializer),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Ok(match Text::deserialize(deserializer)? {
        Text::Utf8(text) => PathBuf::from(text),
        Text::Bytes(bytes) => PathBuf::from(OsString::from_vec(bytes)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        #[serde(with = "super")]
        path: PathBuf,
    }

    #[test]
    fn every_path_survives() {
        for bytes in [&b"/mnt/a b"[..], "/mnt/\u{fc}".as_bytes(), b"/mnt/\xff\xfe"] {
            let holder = Holder { path: PathBuf::from(OsString::from_vec(bytes.to_vec())) };
            let json = serde_json::to_string(&holder).expect("encodes");
            assert_eq!(serde_json::from_str::<Holder>(&json).expect("decodes"), holder);
        }
    }
}
