//! `atfs show`: one commit, and what it changed.

use crate::format::Commit;
use crate::types::{ByteSize, CommitId};

use super::app::App;
use super::error::CliError;
use super::names::escape;
use super::output::Paint;
use super::text::time;

/// The head of a commit, as git prints it.
pub(super) fn header(app: &App, id: CommitId, commit: &Commit) -> Result<(), CliError> {
    let out = &app.out;
    out.line(out.paint(Paint::Id, format!("commit {}", id.short())))?;
    if commit.parents.len() > 1 {
        let parents: Vec<String> = commit.parents.iter().map(CommitId::short).collect();
        out.line(format!("Merge:  {}", parents.join(" ")))?;
    }
    out.line(format!("Author: {}", escape(commit.author.as_bytes())))?;
    out.line(format!("Date:   {}", time(commit.time)))?;
    for (key, value) in &commit.metadata {
        out.line(format!("Meta:   {}={}", escape(key.as_bytes()), escape(value.as_bytes())))?;
    }
    if !commit.message.trim().is_empty() {
        out.line("")?;
        for line in commit.message.trim_end().lines() {
            out.line(format!("    {}", escape(line.as_bytes())).trim_end())?;
        }
    }
    Ok(())
}

/// `3 entries, 2 files, 1.2 GiB`.
pub(super) fn totals(commit: &Commit) -> String {
    let totals = commit.totals;
    let plural = |n: u64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    format!(
        "{}, {}, {}",
        plural(totals.entries, "entry", "entries"),
        plural(totals.files, "file", "files"),
        ByteSize(totals.bytes)
    )
}
