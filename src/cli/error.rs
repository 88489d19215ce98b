//! Errors as a person meets them: what happened, why, and the command to run next; and the exit code for a script.
//!
//! ```text
//! error: branch dev does not exist in /srv/repos/slides
//!   cause: ...
//! hint: `atfs branch /srv/repos/slides list` shows the branches there are
//! ```

use std::error::Error;
use std::fmt::Write;
use std::io;

use super::names::escape;
use super::output::Paint;

/// How a command ended: the contract with scripts, listed in `docs/cli.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done.
    Done = 0,
    /// Failed; nothing was changed, or what was is stated.
    Failed = 1,
    /// The command line or the settings are wrong.
    Usage = 2,
    /// A conflict, or a check that failed.
    Conflict = 3,
    /// It could not be learnt whether the change took effect; the next command settles it.
    Unknown = 4,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

/// Why a command ended before its end.
#[derive(Debug)]
pub(super) struct CliError {
    exit: Exit,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    hints: Vec<String>,
    quiet: bool,
}

impl CliError {
    /// The command failed.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The command line or a setting is wrong.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// With this exit code.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), source: None, hints: Vec::new(), quiet: false }
    }

    /// Stdout cannot be written; a reader that went away is no failure.
    pub(super) fn stdout(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Self { quiet: true, ..Self::new(Exit::Done, "") }
        } else {
            Self::failed("the result could not be written to standard output").caused_by(source)
        }
    }

    /// The command was interrupted.
    pub(super) fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }

    /// With the error behind it.
    #[must_use]
    pub(super) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// With one more command to run next.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether there is nothing to say (the reader of our output went away).
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Message with causes, and the hints: for the doctor's findings, so without those that send to the doctor.
    pub(super) fn message_and_hint(&self) -> (String, String) {
        let cause =
            self.source.as_ref().map(ToString::to_string).filter(|cause| !self.message.contains(cause));
        let message = match cause {
            Some(cause) => format!("{}: {cause}", self.message),
            None => self.message.clone(),
        };
        let clauses = self.hints.iter().flat_map(|hint| hint.split("; "));
        let useful: Vec<&str> = clauses.filter(|clause| !clause.contains("`atfs doctor")).collect();
        match useful[..] {
            [] => (message, "docs/operating.md, \"When something fails\"".into()),
            _ => (message, useful.join("; ")),
        }
    }

    /// What `--json` shows on stderr is the same text: errors are for people, the exit code is for programs.
    pub(super) fn render(&self, color: bool) -> String {
        let mut text = format!("{}: {}", Paint::Bad.on("error", color), lines(&self.message));
        let mut said = self.message.clone();
        let mut cause: Option<&(dyn Error + 'static)> =
            self.source.as_deref().map(|e| e as &(dyn Error + 'static));
        while let Some(error) = cause {
            let message = error.to_string();
            // Many errors repeat their cause in their own text: one telling is enough.
            if !message.is_empty() && !said.contains(&message) {
                let _ = write!(text, "\n  {}: {}", Paint::Strong.on("cause", color), lines(&message));
                said = message;
            }
            cause = error.source();
        }
        for hint in &self.hints {
            let _ = write!(text, "\n{}: {}", Paint::Hint.on("hint", color), lines(hint));
        }
        text
    }
}

/// A message whose control characters are neutralised (names reach messages), line feeds apart.
fn lines(message: &str) -> String {
    let safe: Vec<_> = message.trim_end().split('\n').map(neutral).collect();
    safe.join("\n  ")
}

/// Messages are our own text with names in it, already escaped where the engine does so: here only what a terminal
/// would act on is escaped, a backslash stays one.
fn neutral(line: &str) -> String {
    line.split('\\').map(|part| escape(part.as_bytes()).into_owned()).collect::<Vec<_>>().join("\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_cause_hint() {
        let cause = io::Error::new(io::ErrorKind::NotFound, "no such host");
        let error = CliError::failed("cannot reach s3://x").caused_by(cause).hint("`atfs doctor s3://x`");
        assert_eq!(
            error.render(false),
            "error: cannot reach s3://x\n  cause: no such host\nhint: `atfs doctor s3://x`"
        );
        assert_eq!(error.exit(), Exit::Failed);
        assert!(error.render(true).contains("\x1b["));
    }

    #[test]
    fn the_doctor_does_not_send_to_the_doctor() {
        let remedy = |hint: &str| CliError::failed("x").hint(hint).message_and_hint().1;
        assert_eq!(
            remedy("check the name; `atfs doctor r` shows it; `aws s3 mb b`"),
            "check the name; `aws s3 mb b`"
        );
        assert_eq!(remedy("`atfs doctor r` tests the store"), "docs/operating.md, \"When something fails\"");
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = CliError::failed("reading a: no such file").caused_by(io::Error::other("no such file"));
        assert_eq!(error.render(false), "error: reading a: no such file");
    }

    #[test]
    fn a_message_cannot_move_the_cursor() {
        let error = CliError::failed("no \x1b[2J file \\x1b\nsecond line");
        assert_eq!(error.render(false), "error: no \\x1b[2J file \\x1b\n  second line");
    }

    #[test]
    fn a_reader_that_goes_away_is_no_failure() {
        let error = CliError::stdout(io::ErrorKind::BrokenPipe.into());
        assert!(error.is_quiet());
        assert_eq!(error.exit(), Exit::Done);
        assert_eq!(CliError::stdout(io::ErrorKind::StorageFull.into()).exit(), Exit::Failed);
    }
}
