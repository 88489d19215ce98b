//! Holds the import direction of `src/`: a module imports only from rows below its own, siblings in a row never
//! import each other, and each foreign system has one door (FUSE, the S3 SDK, redb, moka, clap).
//!
//! The source is scanned as text: comments and string literals are cut, then every `crate::` and `super::` path
//! (also inside braces, over several lines) is resolved to the top-level module it reaches.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The rows, highest first. See `ARCHITECTURE.md`.
const ROWS: &[&[&str]] = &[
    &["cli"],
    &["daemon"],
    &["fs"],
    &["workspace"],
    &["repo"],
    &["format", "store", "meta", "cache"],
    &["types"],
];

/// Crates that only one part of the tree may name, and that part.
const DOORS: &[(&str, &str)] = &[
    ("fuser", "fs/fuse/"),
    ("aws_config", "store/"),
    ("aws_sdk_s3", "store/"),
    ("aws_smithy_types", "store/"),
    ("redb", "meta/"),
    ("moka", "cache/"),
    ("clap", "cli/"),
    ("indicatif", "cli/"),
];

/// Files that are imported by what is done with them, and never import it: below `src/`, and the modules beside them.
const BELOW: &[(&[&str], &[&str])] = &[(
    &[
        "cache/room.rs",
        "cache/accounts.rs",
        "cache/entry.rs",
        "cache/slab.rs",
        "cache/floor.rs",
        "cache/layout.rs",
    ],
    &[
        "check", "distrust", "durable", "evict", "file", "holdings", "hold", "keeper", "lend", "listing",
        "prune", "scan", "scrub", "small",
    ],
)];

/// Layers that compute and do no I/O, and what they therefore never name.
const PURE: &[&str] = &["types", "format"];
const IO: &[&str] = &["std::fs::", "std::net::", "std::process::", "tokio", "libc", "nix"];

#[test]
fn imports_point_downward() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let own = top_module(&file);
        let Some(own_row) = row(&own) else {
            if own != "lib" && own != "main" {
                wrong.push(format!("{}: module {own} is in no row of tests/layers.rs", file.display()));
            }
            continue;
        };
        for target in reached(&file, &text) {
            match row(&target) {
                _ if target == own => {}
                Some(r) if r > own_row => {}
                Some(_) => wrong.push(format!("{}: {own} must not import {target}", file.display())),
                None => wrong.push(format!("{}: `{target}` is no layer of the crate", file.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the direction:\n  {}", wrong.join("\n  "));
}

#[test]
fn foreign_systems_have_one_door() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let name = file.to_string_lossy().into_owned();
        for (krate, door) in DOORS {
            if !name.starts_with(door) && names_crate(&text, krate) {
                wrong.push(format!("{name}: only src/{door} may name {krate}"));
            }
        }
        if PURE.contains(&top_module(&file).as_str()) {
            for io in IO.iter().filter(|io| names_path(&text, io)) {
                wrong.push(format!("{name}: types and format do no I/O, so they never name {io}"));
            }
        }
    }
    assert!(wrong.is_empty(), "doors bypassed:\n  {}", wrong.join("\n  "));
}

#[test]
fn what_is_shared_does_not_import_what_is_done_with_it() {
    let sources = sources();
    let mut wrong = Vec::new();
    for (below, above) in BELOW {
        for name in *below {
            let (_, text) =
                sources.iter().find(|(file, _)| file == Path::new(name)).expect("the file is there");
            let mut found = BTreeSet::new();
            for (at, _) in text.match_indices("super::") {
                heads(&text[at + "super::".len()..], &mut found);
            }
            let found = above.iter().filter(|module| found.contains(**module));
            wrong.extend(found.map(|module| format!("src/{name} must not import {module}")));
        }
    }
    assert!(wrong.is_empty(), "imports against the direction:\n  {}", wrong.join("\n  "));
}

#[test]
fn the_scan_sees_what_it_must() {
    let file = Path::new("repo/refs/log.rs");
    let seen = |text: &str| {
        reached(file, &strip(text)).into_iter().filter(|m| m != "repo").collect::<Vec<_>>().join(" ")
    };
    assert_eq!(seen("use crate::store::Store;"), "store");
    assert_eq!(seen("use crate::{format::Commit,\n    types::{Name, RepoPath}};"), "format types");
    assert_eq!(seen("fn f() -> crate::daemon::X { super::super::super::cli::run() }"), "cli daemon");
    assert_eq!(seen("use super::super::RepoError; use super::log::X;"), "");
    assert_eq!(seen("// crate::cli\n/* crate::fs */ let s = \"crate::cli\"; /// [`crate::fs`]"), "");
    assert_eq!(seen("use crate::*;"), "*");
    assert_eq!(seen("let c = '\"'; use crate::fs::X; let d = b'\"';"), "fs");
    assert!(names_crate("use fuser::Session;", "fuser"));
    assert!(names_crate("type S = fuser::Session;", "fuser"));
    assert!(!names_crate("let confuser = fuser_args::x;", "fuser"));
}

/// Every source file below `src/`, relative, with comments and literals cut.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(&root).sort_by_file_name() {
        let entry = entry.expect("src is readable");
        if entry.path().extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(entry.path()).expect("source is UTF-8");
            let relative = entry.path().strip_prefix(&root).expect("below src").to_path_buf();
            files.push((relative, strip(&text)));
        }
    }
    assert!(files.len() > 20, "the scan found only {} files", files.len());
    files
}

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// `repo/refs/log.rs` -> `repo`; `main.rs` -> `main`.
fn top_module(file: &Path) -> String {
    let first = file.components().next().expect("not empty").as_os_str().to_string_lossy().into_owned();
    first.strip_suffix(".rs").map(str::to_owned).unwrap_or(first)
}

/// How many `super::` lead from the file's own module to the crate's root.
fn depth(file: &Path) -> usize {
    let parts = file.components().count();
    if file.file_name().is_some_and(|n| n == "mod.rs") { parts - 1 } else { parts }
}

/// Top-level modules that the text reaches. A `super` chain that ends inside the module is its own business; inside
/// an inline `mod tests` one more `super` is possible, which only makes the scan stricter, never blind.
fn reached(file: &Path, text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        if at == 0 || !is_word(text.as_bytes()[at - 1]) {
            heads(&text[at + "crate::".len()..], &mut found);
        }
    }
    let up = "super::".repeat(depth(file));
    for (at, _) in text.match_indices(&up) {
        let rest = &text[at + up.len()..];
        let begins = at == 0 || !matches!(text.as_bytes()[at - 1], b':' | b'_' | b'a'..=b'z');
        if begins && !rest.starts_with("super::") {
            let mut heads_found = BTreeSet::new();
            heads(rest, &mut heads_found);
            found.extend(heads_found.into_iter().filter(|h| row(h).is_some()));
        }
    }
    found
}

/// The first name behind `crate::`, or every first name of a `{...}` list.
fn heads(rest: &str, found: &mut BTreeSet<String>) {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    if rest.starts_with('*') {
        found.insert("*".into());
    } else if let Some(list) = rest.strip_prefix('{') {
        let (mut level, mut start) = (0, true);
        for (at, c) in list.char_indices() {
            match c {
                '{' => level += 1,
                '}' if level == 0 => break,
                '}' => level -= 1,
                ',' if level == 0 => start = true,
                c if c.is_whitespace() => {}
                _ if start && level == 0 => {
                    found.insert(word(&list[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    } else {
        found.insert(word(rest));
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether `krate` stands in the text as a path's first part (`krate::...`) or as `use krate;`.
fn names_crate(text: &str, krate: &str) -> bool {
    text.match_indices(krate).any(|(at, _)| {
        let before = at == 0 || (!is_word(text.as_bytes()[at - 1]) && !text[..at].ends_with("::"));
        let after = &text[at + krate.len()..];
        before && (after.starts_with("::") || (text[..at].ends_with("use ") && after.starts_with([';', ' '])))
    })
}

fn names_path(text: &str, path: &str) -> bool {
    match path.strip_suffix("::") {
        Some(module) => names_crate(text, module),
        None => names_crate(text, path),
    }
}

/// Cuts line and block comments, string and character literals: what is left is code.
fn strip(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if let Some(hashes) = raw_string(rest).filter(|_| at == 0 || !is_word(bytes[at - 1])) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').expect("raw string") + 1;
            at += rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len());
        } else if bytes[at] == b'"' {
            let mut end = at + 1;
            while end < bytes.len() && bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            at = end + 1;
            out.push('"');
        } else if let Some(length) = char_literal(rest) {
            at += length;
            out.push(' ');
        } else {
            let c = rest.chars().next().expect("not at the end");
            out.push(c);
            at += c.len_utf8();
        }
    }
    out
}

/// `r"`, `r#"`, `br##"`: the number of hashes.
fn raw_string(rest: &str) -> Option<usize> {
    let tail = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = tail.chars().take_while(|c| *c == '#').count();
    tail[hashes..].starts_with('"').then_some(hashes)
}

/// The length of a character literal; `None` for a lifetime.
fn char_literal(rest: &str) -> Option<usize> {
    let tail = rest.strip_prefix('\'')?;
    if let Some(escape) = tail.strip_prefix('\\') {
        return escape.get(1..).and_then(|t| t.find('\'')).map(|end| end + 4);
    }
    let c = tail.chars().next()?;
    tail[c.len_utf8()..].starts_with('\'').then(|| c.len_utf8() + 2)
}
