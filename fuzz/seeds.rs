//! Valid objects to start from: the golden files, and frames that they lack.

use std::path::Path;

use atfs::format::{BlobKind, Compression, StoredBlob};

fn golden<const N: usize>(names: [&str; N]) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    names.map(|name| std::fs::read(folder.join(name)).expect("a golden file")).into()
}

pub(crate) fn tree_nodes() -> Vec<Vec<u8>> {
    golden(["tree-leaf.bin", "tree-interior.bin", "tree-empty.bin"])
}

pub(crate) fn manifest_nodes() -> Vec<Vec<u8>> {
    golden(["manifest-leaf.bin", "manifest-interior.bin"])
}

pub(crate) fn xattr_lists() -> Vec<Vec<u8>> {
    golden(["xattrs.bin"])
}

pub(crate) fn stored_blobs() -> Vec<Vec<u8>> {
    let mut seeds = golden(["blob-zstd.bin"]);
    for raw in [&b""[..], b"raw bytes", &b"0123456789".repeat(3_000), &[0; 200_000]] {
        for compression in [Compression::IfItPays, Compression::Never] {
            seeds.push(StoredBlob::pack(BlobKind::Chunk, [0; 32], raw, compression).stored.to_vec());
        }
    }
    seeds
}

pub(crate) fn index_objects() -> Vec<Vec<u8>> {
    golden(["pack-index.bin"])
}

pub(crate) fn packs() -> Vec<Vec<u8>> {
    golden(["pack-data.bin", "pack-meta.bin"])
}

pub(crate) fn commits() -> Vec<Vec<u8>> {
    golden(["commit.json"])
}

pub(crate) fn records() -> Vec<Vec<u8>> {
    golden([
        "record-birth.json",
        "record-move.json",
        "record-fence.json",
        "record-delete.json",
        "record-settings.json",
    ])
}

pub(crate) fn formats() -> Vec<Vec<u8>> {
    golden(["format.json"])
}

pub(crate) fn json() -> Vec<Vec<u8>> {
    let mut seeds = [records(), formats()].concat();
    for seed in &mut seeds {
        seed.pop();
    }
    seeds
        .push(br#"{"":[true,false,null,-1,18446744073709551615],"a":"\"\\\b\f\n\r\t\u0000\u001f"}"#.to_vec());
    seeds
}
