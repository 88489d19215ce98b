//! How values read in text: times, commits in one line, columns that line up.

use unicode_width::UnicodeWidthStr;

use crate::format::{Commit, Mtime};
use crate::types::{CommitId, Timestamp};

use super::names::escape;

/// `2026-11-23 10:00:00 UTC`.
pub(super) fn time(time: Timestamp) -> String {
    format!("{} UTC", seconds(time))
}

/// `2026-11-23 10:00`, in UTC: for columns.
pub(super) fn minute(time: Timestamp) -> String {
    seconds(time)[..16].to_owned()
}

/// A file's modification time with its nanoseconds, RFC 3339.
pub(super) fn mtime_exact(mtime: Mtime) -> String {
    format!("{}.{:09}Z", seconds(timestamp(mtime)).replace(' ', "T"), mtime.nanos)
}

/// A file's modification time, to the microsecond; years outside 1 to 9999 are shown as the nearest of them.
pub(super) fn timestamp(mtime: Mtime) -> Timestamp {
    let micros = i64::from(mtime.nanos / 1000);
    Timestamp::from_micros(mtime.seconds.saturating_mul(1_000_000).saturating_add(micros))
}

fn seconds(time: Timestamp) -> String {
    // `Timestamp` has one spelling: 19 characters to the second.
    time.to_string()[..19].replace('T', " ")
}

/// The first line of a message, harmless on a terminal.
pub(super) fn subject(message: &str) -> String {
    escape(message.lines().next().unwrap_or("").as_bytes()).into_owned()
}

/// `text` filled with blanks to `width` columns of a terminal.
pub(super) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// A commit in JSON, the same wherever one is printed.
#[derive(Debug, serde::Serialize)]
pub(super) struct JsonCommit<'a> {
    id: CommitId,
    parents: &'a [CommitId],
    author: &'a str,
    time: Timestamp,
    message: &'a str,
    metadata: &'a std::collections::BTreeMap<String, String>,
    totals: crate::format::Totals,
}

impl<'a> JsonCommit<'a> {
    /// The commit `id`.
    pub(super) fn new(id: CommitId, commit: &'a Commit) -> Self {
        let Commit { parents, author, time, message, metadata, totals, .. } = commit;
        Self { id, parents, author, time: *time, message, metadata, totals: *totals }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_columns() {
        let at: Timestamp = "2026-11-23T10:00:07.5Z".parse().unwrap();
        assert_eq!(time(at), "2026-11-23 10:00:07 UTC");
        assert_eq!(minute(at), "2026-11-23 10:00");
        let mtime = Mtime { seconds: -1, nanos: 999_999_999 };
        assert_eq!(mtime_exact(mtime), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(mtime_exact(Mtime { seconds: i64::MAX, nanos: 0 }), "9999-12-30T21:59:59.000000000Z");
        assert_eq!(pad("日本", 6), "日本  ");
        assert_eq!(pad("longer", 2), "longer");
        assert_eq!(subject("one\x1b\ntwo"), "one\\x1b");
    }
}
