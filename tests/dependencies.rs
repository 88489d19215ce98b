//! The dependency rules of `deny.toml`, checked offline from `cargo metadata`: licences, banned crates, two versions
//! of one crate, sources; and that `ARCHITECTURE.md` says of every direct dependency what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

#[test]
fn licences_are_allowed() {
    let rules = rules();
    let allowed: BTreeSet<&str> = strings(&rules["licenses"]["allow"]);
    let bad: Vec<String> = packages()
        .iter()
        .filter(|p| !spdx_allows(p.license.as_deref().unwrap_or(""), &allowed))
        .map(|p| format!("{} {}: {:?}", p.name, p.version, p.license))
        .collect();
    assert!(bad.is_empty(), "licences that deny.toml does not allow:\n  {}", bad.join("\n  "));
}

#[test]
fn no_banned_crate_and_no_unexplained_second_version() {
    let rules = rules();
    let entries = |key: &str| -> Vec<String> {
        let list = rules["bans"][key].as_array().expect("a list");
        list.iter().map(|e| e["crate"].as_str().expect("crate").to_owned()).collect()
    };
    let banned = entries("deny");
    let skipped: BTreeSet<String> = entries("skip").into_iter().collect();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        assert!(!banned.contains(&package.name), "{} is banned by deny.toml", package.name);
        versions.entry(package.name).or_default().insert(package.version);
    }
    let mut unused = skipped.clone();
    let mut bad = Vec::new();
    for (name, found) in versions.iter().filter(|(_, v)| v.len() > 1) {
        let explained: Vec<&String> = skipped
            .iter()
            .filter(|s| {
                s.split_once('@').is_some_and(|(n, v)| n == name && found.iter().any(|f| is_version(f, v)))
            })
            .collect();
        if found.len() > explained.len() + 1 {
            bad.push(format!("{name}: {found:?}"));
        }
        unused.retain(|s| !explained.contains(&s));
    }
    assert!(bad.is_empty(), "several versions of one crate (explain in deny.toml):\n  {}", bad.join("\n  "));
    assert!(unused.is_empty(), "deny.toml explains second versions that are gone: {unused:?}");
}

#[test]
fn everything_comes_from_crates_io() {
    let rules = rules();
    let allowed = strings(&rules["sources"]["allow-registry"]);
    for package in packages() {
        let known = package.source.strip_prefix("registry+").is_some_and(|s| allowed.contains(s));
        assert!(known, "{} {} comes from {}", package.name, package.version, package.source);
    }
}

#[test]
fn architecture_says_what_each_dependency_is_for() {
    let root = env!("CARGO_MANIFEST_DIR");
    let manifest: toml::Table =
        std::fs::read_to_string(format!("{root}/Cargo.toml")).expect("readable").parse().expect("TOML");
    let text = std::fs::read_to_string(format!("{root}/ARCHITECTURE.md")).expect("readable");
    let mut direct: BTreeSet<&String> = BTreeSet::new();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        direct.extend(manifest.get(section).and_then(|s| s.as_table()).into_iter().flat_map(|t| t.keys()));
    }
    let silent: Vec<_> = direct.into_iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(silent.is_empty(), "ARCHITECTURE.md does not say what these are for: {silent:?}");
}

#[test]
fn the_licence_reader_reads_expressions() {
    let allowed = BTreeSet::from(["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]);
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "MIT OR GPL-3.0",
        "(MIT OR GPL-3.0) AND Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "GPL-2.0 OR (MIT AND Apache-2.0)",
    ] {
        assert!(spdx_allows(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-3.0 OR ISC)", "MIT WITH x", "(MIT", "MIT MIT"]
    {
        assert!(!spdx_allows(bad, &allowed), "{bad}");
    }
}

struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: String,
}

/// Every package of the graph for Linux on x86-64, our own left out.
fn packages() -> Vec<Package> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let found: Vec<Package> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .filter(|p| !p["source"].is_null())
        .map(|p| Package {
            name: text(&p["name"]).expect("name"),
            version: text(&p["version"]).expect("version"),
            license: text(&p["license"]),
            source: text(&p["source"]).expect("source"),
        })
        .collect();
    assert!(found.len() > 50, "only {} packages", found.len());
    found
}

fn rules() -> toml::Table {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml");
    std::fs::read_to_string(path).expect("deny.toml").parse().expect("TOML")
}

fn strings(list: &toml::Value) -> BTreeSet<&str> {
    list.as_array().expect("a list").iter().map(|v| v.as_str().expect("a string")).collect()
}

/// Whether `0.10.4` is a `0.10`.
fn is_version(full: &str, prefix: &str) -> bool {
    full.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether an SPDX expression can be met with `allowed` licences alone. The old `MIT/Apache-2.0` means OR.
fn spdx_allows(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any_of(&tokens, &mut at, allowed).unwrap_or(false) && at == tokens.len()
}

fn any_of(tokens: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> Option<bool> {
    let mut result = all_of(tokens, at, allowed)?;
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        result |= all_of(tokens, at, allowed)?;
    }
    Some(result)
}

fn all_of(tokens: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> Option<bool> {
    let mut result = licence(tokens, at, allowed)?;
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        result &= licence(tokens, at, allowed)?;
    }
    Some(result)
}

fn licence(tokens: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> Option<bool> {
    let first = *tokens.get(*at)?;
    *at += 1;
    if first == "(" {
        let inside = any_of(tokens, at, allowed)?;
        let closed = tokens.get(*at) == Some(&")");
        *at += 1;
        return closed.then_some(inside);
    }
    if tokens.get(*at) == Some(&"WITH") {
        let exception = tokens.get(*at + 1)?;
        *at += 2;
        return Some(allowed.contains(format!("{first} WITH {exception}").as_str()));
    }
    Some(allowed.contains(first))
}
