//! What a test needs and a machine may lack: there it says `SKIPPED` and passes. `ATFS_REQUIRE_SERVERS=1` (set in CI)
//! makes that a failure.

use std::io::Write;

/// What was obtained, or `None` where it cannot be had.
pub fn or_skip<T>(what: &str, obtained: Result<T, String>) -> Option<T> {
    match obtained {
        Ok(value) => Some(value),
        Err(reason) if std::env::var_os("ATFS_REQUIRE_SERVERS").is_some_and(|value| value == "1") => {
            panic!("{what} is required and cannot be had: {reason}")
        }
        Err(reason) => {
            // Past the capturing of test output, so that it is seen.
            let _ = writeln!(std::io::stderr(), "SKIPPED: tests on {what}: {reason}");
            None
        }
    }
}
