//! A read that failed after a long wait is not waited for twice.
//!
//! When the pages that the kernel asks for ahead do not come, it asks once more, for the page that the program wants. So a
//! program would wait for two deadlines of the store, one after the other, before it hears of the error. The second question
//! is known by what it asks for and when; it gets [`SECOND_WAIT`], in which a store that is back has answered long ago.

use std::future::{Future, pending};
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::fs::error::FsError;
use crate::fs::inode::Ino;
use crate::fs::recent::Recent;

/// A failure that came sooner costs nobody anything.
const LONG: Duration = Duration::from_secs(5);

/// The kernel asks again at once, which on a machine with too much to do may be seconds. Whoever asks later has decided so,
/// and is given all the time there is.
const AT_ONCE: Duration = Duration::from_secs(5);

/// How long the second question may take.
const SECOND_WAIT: Duration = Duration::from_secs(5);

/// Failures that are remembered, at least: of as many files as programs read at once.
const REMEMBERED: usize = 1024;

/// The reads of a mount that failed lately.
#[derive(Debug)]
pub(super) struct Failures(Recent<Ino, (Range<u64>, Instant)>);

impl Failures {
    pub(super) fn new() -> Self {
        Self(Recent::new(REMEMBERED))
    }

    /// The answer of `work`, which reads the bytes `range` of a file; in time, if the same was waited for in vain just now.
    ///
    /// # Errors
    /// Those of `work`; [`FsError::StillNoAnswer`].
    pub(super) async fn in_time<T>(
        &self,
        ino: Ino,
        range: Range<u64>,
        work: impl Future<Output = Result<T, FsError>>,
    ) -> Result<T, FsError> {
        let begun = Instant::now();
        let answer = tokio::select! {
            biased;
            answer = work => answer,
            () = self.end_of_wait(ino, &range, begun) => Err(FsError::StillNoAnswer),
        };
        if matches!(answer, Err(FsError::Repo { .. } | FsError::Cache { .. })) && begun.elapsed() > LONG {
            self.0.put(ino, (range, Instant::now()));
        }
        answer
    }

    async fn end_of_wait(&self, ino: Ino, range: &Range<u64>, begun: Instant) {
        if self.0.get(&ino).is_some_and(|failed| is_second(&failed, range, begun)) {
            tokio::time::sleep(SECOND_WAIT).await;
        } else {
            pending().await
        }
    }
}

/// Whether a read of `range` that begins at `now` is the kernel's second question after `failed`.
fn is_second(failed: &(Range<u64>, Instant), range: &Range<u64>, now: Instant) -> bool {
    let (of, at) = failed;
    range.start < of.end && of.start < range.end && now.saturating_duration_since(*at) < AT_ONCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_at_once_are_asked_for_a_second_time() {
        let now = Instant::now();
        let failed = (4096..20_000, now);
        for (range, second) in
            [(4096..8192, true), (16_384..24_000, true), (0..4096, false), (20_000..30_000, false)]
        {
            assert_eq!(is_second(&failed, &range, now), second, "{range:?}");
        }
        assert!(is_second(&failed, &(4096..8192), now + AT_ONCE / 2));
        assert!(!is_second(&failed, &(4096..8192), now + AT_ONCE));
    }
}
