//! Who is killed while it waits for us goes at once, and Ctrl-C ends a wait.
//!
//! The kernel would tell of signals with FUSE_INTERRUPT, which fuser answers with ENOSYS. From then on the kernel tells
//! nothing, and what is worse, a program that is killed in a look-up or a listing stays until it has its answer (state D). So
//! a request that has to wait looks itself, now and then, at the signals of the thread that made it, and is answered EINTR
//! when one of them ends the wait. Other readers lose nothing: what is fetched belongs to all who wait for it, and a reader
//! whose page was to come with the request of another asks for it itself.
//!
//! Only signals that people and supervisors send to end a program count. Timers, children and the like do not: programs
//! do not expect that they break reads of files.

use std::future::Future;
use std::time::Duration;

use fuser::Request;

use crate::fs::error::FsError;

/// How often a request that waits looks at signals. Twice must they be seen: one that another thread of the program takes
/// is gone by then. So an interrupted program goes within two of these.
const LOOK: Duration = Duration::from_millis(250);

/// Signals that end a wait, if they are pending and neither blocked nor ignored.
const ENDING: [i32; 5] = [libc::SIGKILL, libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGHUP];

/// The thread that made a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    /// 0 where it is none of this process's namespace: then nothing is known of its signals.
    thread: u32,
}

impl Asker {
    pub(super) fn of(request: &Request) -> Self {
        Self { thread: request.pid() }
    }

    /// The answer of `work`, unless the asker is interrupted while it waits.
    ///
    /// # Errors
    /// Those of `work`; [`FsError::Interrupted`].
    pub(super) async fn unless_interrupted<T>(
        self,
        work: impl Future<Output = Result<T, FsError>>,
    ) -> Result<T, FsError> {
        tokio::select! {
            biased;
            answer = work => answer,
            () = self.interrupted() => Err(FsError::Interrupted),
        }
    }

    async fn interrupted(self) {
        let mut seen = false;
        loop {
            tokio::time::sleep(LOOK).await;
            let status = format!("/proc/{}/status", self.thread);
            // It takes no disk; who is gone has no signals.
            let now =
                self.thread != 0 && std::fs::read_to_string(status).is_ok_and(|status| ends_a_wait(&status));
            if seen && now {
                return;
            }
            seen = now;
        }
    }
}

/// Whether a thread with this `/proc/*/status` has a signal that ends its wait.
fn ends_a_wait(status: &str) -> bool {
    let set = |name: &str| {
        let hex = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        hex.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
    };
    let pending = (set("SigPnd") | set("ShdPnd")) & !set("SigBlk") & !set("SigIgn");
    ENDING.iter().any(|signal| pending & (1 << (signal - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_end_a_wait() {
        let status = |own: u64, shared: u64, blocked: u64, ignored: u64| {
            format!(
                "Name:\tcat\nSigQ:\t1/9\nSigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\n\
                 SigIgn:\t{ignored:016x}\nSigCgt:\t0000000000000000\n"
            )
        };
        let bit = |signal: i32| 1u64 << (signal - 1);
        for signal in ENDING {
            assert!(ends_a_wait(&status(bit(signal), 0, 0, 0)));
            assert!(ends_a_wait(&status(0, bit(signal) | bit(libc::SIGALRM), 0, 0)));
            assert!(!ends_a_wait(&status(0, bit(signal), bit(signal), 0)));
            assert!(!ends_a_wait(&status(0, bit(signal), 0, bit(signal))));
        }
        for signal in [libc::SIGALRM, libc::SIGCHLD, libc::SIGURG, libc::SIGPROF, libc::SIGWINCH] {
            assert!(!ends_a_wait(&status(bit(signal), bit(signal), 0, 0)));
        }
        assert!(!ends_a_wait("") && !ends_a_wait("SigPnd:\tx\n"));
    }

    #[test]
    fn the_kernel_writes_it_like_that() {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("Linux");
        for name in ["SigPnd:", "ShdPnd:", "SigBlk:", "SigIgn:"] {
            assert!(status.lines().any(|line| line.starts_with(name)), "{name} is not in {status}");
        }
        assert!(!ends_a_wait(&status));
    }
}
