//! Where output goes: the result on stdout, everything else on stderr.
//!
//! Nothing is painted unless the destination is a terminal or `--color always` says so, and nothing is said by colour
//! alone. A reader that goes away (`atfs ls ... | head`) ends the command quietly.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::Mutex;

use anstyle::{AnsiColor, Style};

use super::error::CliError;
use super::names::Names;

/// Whether output is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How much is said on stderr beside the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verbosity {
    /// Errors only.
    Quiet,
    /// Warnings, summaries, progress.
    Normal,
    /// What is done, too.
    Verbose,
}

/// What a text means, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// Commit ids.
    Id,
    /// Branches and tags.
    Ref,
    /// Added, fine.
    Good,
    /// Changed, doubtful.
    Warn,
    /// Removed, broken.
    Bad,
    /// Headings.
    Strong,
    /// What one may skip.
    Faint,
    /// Directories, as `ls` paints them.
    Directory,
    /// Symbolic links, as `ls` paints them.
    Link,
    /// The next command.
    Hint,
}

impl Paint {
    fn style(self) -> Style {
        let fg = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Self::Id => fg(AnsiColor::Yellow),
            Self::Ref | Self::Hint | Self::Link => fg(AnsiColor::Cyan),
            Self::Good => fg(AnsiColor::Green),
            Self::Warn => fg(AnsiColor::Yellow).bold(),
            Self::Bad => fg(AnsiColor::Red).bold(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Directory => fg(AnsiColor::Blue).bold(),
        }
    }

    /// `text` in this colour if `on`.
    pub(super) fn on(self, text: &str, on: bool) -> String {
        let style = self.style();
        if on && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// Stdout and stderr as this run wants them.
#[derive(Debug)]
pub(super) struct Output {
    verbosity: Verbosity,
    /// How names are shown on stdout.
    pub(super) names: Names,
    color: bool,
    color_stderr: bool,
    stdout: Mutex<BufWriter<io::Stdout>>,
}

impl Output {
    /// Looks at the two streams once.
    pub(super) fn new(verbosity: Verbosity, color: Color) -> Self {
        let auto = |choice: anstream::ColorChoice| choice != anstream::ColorChoice::Never;
        let paint = |terminal: anstream::ColorChoice| match color {
            Color::Auto => auto(terminal),
            Color::Always => true,
            Color::Never => false,
        };
        Self {
            verbosity,
            names: if io::stdout().is_terminal() { Names::Escaped } else { Names::Raw },
            color: paint(anstream::AutoStream::choice(&io::stdout())),
            color_stderr: paint(anstream::AutoStream::choice(&io::stderr())),
            stdout: Mutex::new(BufWriter::with_capacity(64 << 10, io::stdout())),
        }
    }

    /// Whether progress and summaries are wanted.
    pub(super) fn is_quiet(&self) -> bool {
        self.verbosity == Verbosity::Quiet
    }

    /// Whether more is wanted than usual.
    pub(super) fn is_verbose(&self) -> bool {
        self.verbosity == Verbosity::Verbose
    }

    /// Whether stderr is painted.
    pub(super) fn colors_stderr(&self) -> bool {
        self.color_stderr
    }

    /// `text` painted for stdout.
    pub(super) fn paint(&self, paint: Paint, text: impl AsRef<str>) -> String {
        paint.on(text.as_ref(), self.color)
    }

    /// Bytes of the result, as they are.
    ///
    /// # Errors
    /// Stdout is closed (a quiet end) or cannot be written.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        self.with_stdout(|out| out.write_all(bytes))
    }

    /// One line of the result.
    ///
    /// # Errors
    /// As [`Output::bytes`].
    pub(super) fn line(&self, line: impl AsRef<[u8]>) -> Result<(), CliError> {
        self.with_stdout(|out| out.write_all(line.as_ref()).and_then(|()| out.write_all(b"\n")))
    }

    /// The result as one JSON document.
    ///
    /// # Errors
    /// As [`Output::bytes`].
    pub(super) fn json(&self, value: &impl serde::Serialize) -> Result<(), CliError> {
        self.with_stdout(|out| {
            serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
            out.write_all(b"\n")
        })
    }

    /// The result as one JSON array, one element a line, written as the elements come.
    pub(super) fn json_array(&self) -> JsonArray<'_> {
        JsonArray { output: self, empty: true }
    }

    /// Hands everything that was printed to the system. Dropping an `Output` does the same without a report.
    ///
    /// # Errors
    /// As [`Output::bytes`].
    pub(super) fn flush(&self) -> Result<(), CliError> {
        self.with_stdout(Write::flush)
    }

    /// A remark on stderr, unless `-q`.
    pub(super) fn note(&self, text: impl AsRef<str>) {
        self.stderr(Verbosity::Normal, text.as_ref());
    }

    /// A remark on stderr with `-v`.
    pub(super) fn detail(&self, text: impl AsRef<str>) {
        self.stderr(Verbosity::Verbose, text.as_ref());
    }

    /// A warning on stderr, unless `-q`.
    pub(super) fn warn(&self, text: impl AsRef<str>) {
        let head = Paint::Warn.on("warning", self.color_stderr);
        self.stderr(Verbosity::Normal, &format!("{head}: {}", text.as_ref()));
    }

    /// The command to run next, on stderr, unless `-q`.
    pub(super) fn hint(&self, text: impl AsRef<str>) {
        let head = Paint::Hint.on("hint", self.color_stderr);
        self.stderr(Verbosity::Normal, &format!("{head}: {}", text.as_ref()));
    }

    /// An error with its causes and hints, on stderr, always.
    pub(super) fn error(&self, error: &CliError) {
        // What was printed before the error belongs before it, should both go to one place.
        let _ = self.flush();
        self.stderr(Verbosity::Quiet, &error.render(self.color_stderr));
    }

    fn stderr(&self, at_least: Verbosity, text: &str) {
        if self.verbosity >= at_least {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(io::stderr().lock(), "{}", text.trim_end_matches('\n'));
        }
    }

    fn with_stdout<T>(
        &self,
        write: impl FnOnce(&mut BufWriter<io::Stdout>) -> io::Result<T>,
    ) -> Result<T, CliError> {
        write(&mut self.stdout.lock().unwrap_or_else(|e| e.into_inner())).map_err(CliError::stdout)
    }
}

/// A JSON array under way.
#[derive(Debug)]
pub(super) struct JsonArray<'a> {
    output: &'a Output,
    empty: bool,
}

impl JsonArray<'_> {
    /// One more element.
    ///
    /// # Errors
    /// As [`Output::bytes`].
    pub(super) fn push(&mut self, element: &impl serde::Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(element).map_err(|e| CliError::stdout(e.into()))?;
        let head = if self.empty { "[" } else { "," };
        self.empty = false;
        self.output.line(format!("{head}{text}"))
    }

    /// Closes the array.
    ///
    /// # Errors
    /// As [`Output::bytes`].
    pub(super) fn end(self) -> Result<(), CliError> {
        self.output.line(if self.empty { "[]" } else { "]" })
    }
}
