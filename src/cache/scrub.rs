//! Reading complete contents again, to find what the disk has let rot.
//!
//! A complete content goes to the kernel, which reads it without anybody looking. So a thread in the background reads
//! them all over again, past the page cache (what is in memory says nothing about the disk, and must not be driven out), and
//! compares with the sums. What does not match is taken off the disk; whoever reads it next fetches it. A program that the kernel
//! serves from such a file at that moment reads on in it until it closes it: the kernel cannot be told.
//!
//! The background goes at [`BYTES_PER_SECOND`], behind everybody else's reads, once in [`EVERY`]; where it is lies in
//! `v1/scrub`, so that daemons that live for minutes get through as well. [`super::check`] does the reading, and the same at once
//! and at full speed on demand.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::check::Finding;
use super::idle;
use super::keeper::Stop;
use super::layout::SHARDS;
use super::room::Room;

/// A hundredth of what an SSD reads; a TB takes 15 hours.
const BYTES_PER_SECOND: u64 = 20 << 20;

/// A pass begins so long after the one before began.
const EVERY: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often the background looks whether its time has come: clocks are set, machines sleep.
const LOOK: Duration = Duration::from_secs(3600);

/// How often it looks whether the directory has been read: what nobody has counted cannot be taken off the disk.
const SCAN_LOOK: Duration = Duration::from_millis(100);

/// How far the background is: `v1/scrub`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pass {
    /// When it began, in seconds since 1970.
    began: u64,
    /// The shard to look at next; [`SHARDS`]: it is over.
    next: u16,
}

impl Pass {
    fn parse(text: &str) -> Option<Self> {
        let (began, next) = text.trim_end().split_once(' ')?;
        let (began, next) = (began.parse().ok()?, next.parse().ok()?);
        (next <= SHARDS).then_some(Self { began, next })
    }

    /// How long to wait before it goes on.
    fn wait(&self, now: u64) -> Duration {
        // A clock that was set back does not put it off for years.
        let since = if now >= self.began { Duration::from_secs(now - self.began) } else { EVERY };
        if self.next < SHARDS { Duration::ZERO } else { EVERY.saturating_sub(since) }
    }
}

impl std::fmt::Display for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} {}", self.began, self.next)
    }
}

/// Goes over all complete contents, for as long as the cache is open.
pub(super) fn run(room: &Room, stop: &Stop) {
    idle::yield_the_disk();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut at = room.layout.read_scrub().and_then(|text| Pass::parse(&text)).unwrap_or_else(|| {
        // A new cache has nothing that could have rotted.
        let over = Pass { began: now(), next: SHARDS };
        room.layout.write_scrub(&over.to_string());
        over
    });
    loop {
        let wait = if room.is_scanned() { at.wait(now()) } else { SCAN_LOOK };
        if !wait.is_zero() {
            if stop.wait(wait.min(LOOK)) {
                return;
            }
            continue;
        }
        if at.next >= SHARDS {
            at = Pass { began: now(), next: 0 };
        }
        let keys = room.layout.contents_of(at.next as u8);
        let any = !keys.is_empty();
        for key in keys {
            let mut pace = |bytes: u64| {
                let time = Duration::from_nanos(bytes * 1_000_000_000 / BYTES_PER_SECOND);
                if stop.wait(time) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            if stop.is_told() || matches!(room.check_content(&key, &mut pace), Finding::Stopped) {
                return;
            }
        }
        at.next += 1;
        // A write per shard, where there was something to read.
        if any || at.next == SHARDS {
            room.layout.write_scrub(&at.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pass_goes_on_where_it_was_and_waits_when_it_is_over() {
        let under_way = Pass { began: 1000, next: 7 };
        assert_eq!(Pass::parse(&under_way.to_string()), Some(under_way));
        assert_eq!(under_way.wait(5000), Duration::ZERO);
        let over = Pass { began: 1000, next: SHARDS };
        assert_eq!(over.wait(1000), EVERY);
        assert_eq!(over.wait(1000 + EVERY.as_secs()), Duration::ZERO);
        assert_eq!(over.wait(10), Duration::ZERO, "the clock was set back");
        for bad in ["", "1", "x 3", "1 257", "1 -1"] {
            assert_eq!(Pass::parse(bad), None, "{bad}");
        }
    }
}
