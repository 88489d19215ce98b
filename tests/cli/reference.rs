//! `docs/cli.md` is what the program says of itself.

#[test]
fn the_reference_is_what_the_program_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
    let now = atfs::cli::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == now, "docs/cli.md is out of date: UPDATE_DOCS=1 cargo test --test cli reference");
}
