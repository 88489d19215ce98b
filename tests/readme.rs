//! The README shows code that runs: what stands there is what `scripts/dataloader` runs.

#[test]
fn the_data_loader_in_the_readme_is_the_one_that_is_run() {
    let readme = include_str!("../README.md");
    let example = include_str!("../docs/examples/dataloader.py");
    assert!(
        readme.contains(&format!("```python\n{example}```")),
        "README.md and docs/examples/dataloader.py differ"
    );
}
