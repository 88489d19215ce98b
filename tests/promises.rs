//! Every promise in `docs/semantics.md` names a test that exists: a promise whose test was renamed or removed is found.

use std::path::Path;

#[test]
fn every_named_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/semantics.md")).expect("readable");
    let mut named = 0;
    let mut wrong = Vec::new();
    // `file.rs: test, test` or `file.rs` in the last column of a table.
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let Some(held_by) = line.trim_end_matches('|').rsplit(" | ").next() else { continue };
        for quoted in held_by.split('`').skip(1).step_by(2) {
            let (file, tests) = quoted.split_once(": ").unwrap_or((quoted, ""));
            let path = if file.starts_with("src/") { root.join(file) } else { root.join("tests").join(file) };
            let Ok(source) = std::fs::read_to_string(&path) else {
                wrong.push(format!("{file} does not exist"));
                continue;
            };
            for test in tests.split(", ").filter(|test| !test.is_empty()) {
                named += 1;
                if !source.contains(&format!("fn {test}(")) {
                    wrong.push(format!("{file} has no test {test}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "docs/semantics.md names tests that are not there:\n  {}", wrong.join("\n  "));
    assert!(named > 30, "only {named} tests are named: has the form of the table changed?");
}
