//! What every command is given: output, settings, and a runtime that ends on Ctrl-C.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::args::GlobalArgs;
use super::config::{Config, Setting, Surroundings};
use super::error::CliError;
use super::output::{Output, Verbosity};
use super::progress::Meter;

/// How long threads that still hash or write may go on after the command has ended. What they do then is of no
/// consequence: an object that nothing refers to.
const LINGER: Duration = Duration::from_millis(200);

/// One run of the program.
#[derive(Debug)]
pub(super) struct App {
    /// Stdout and stderr.
    pub(super) out: Output,
    /// The system around us.
    pub(super) around: Surroundings,
    global: GlobalArgs,
}

impl App {
    /// Looks at flags and surroundings; fails nowhere, so that `help` and `doctor` work on a machine that is set up wrongly.
    pub(super) fn new(global: GlobalArgs) -> Self {
        let verbosity = match (global.quiet, global.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, _) => Verbosity::Verbose,
        };
        let app = Self { out: Output::new(verbosity, global.color), around: Surroundings::real(), global };
        app.start_log();
        app
    }

    /// The settings.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(super) fn config(&self) -> Result<Config, CliError> {
        Config::load(&self.around, self.global.flags())
    }

    /// The settings, with one more from a flag of the command.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(super) fn config_with(
        &self,
        setting: Setting,
        flag: &'static str,
        value: Option<&str>,
    ) -> Result<Config, CliError> {
        let mut flags = self.global.flags();
        flags.set(setting, flag, value);
        Config::load(&self.around, flags)
    }

    /// Shows progress on stderr until it is dropped; nothing with `-q`.
    pub(super) fn meter(&self) -> Option<Meter> {
        (!self.out.is_quiet()).then(Meter::start)
    }

    /// Runs `work` to its end or to Ctrl-C (or SIGTERM), whichever is first.
    ///
    /// # Errors
    /// Those of `work`; [`CliError::interrupted`].
    pub(super) fn block_on<T>(&self, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        self.block_on_until_done(async {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return work.await;
            };
            tokio::select! {
                result = work => result,
                _ = interrupt.recv() => Err(CliError::interrupted()),
                _ = terminate.recv() => Err(CliError::interrupted()),
            }
        })
    }

    /// The same for work that has its own answer to signals.
    ///
    /// # Errors
    /// Those of `work`.
    pub(super) fn block_on_until_done<T>(
        &self,
        work: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| CliError::failed("cannot start the threads of the runtime").caused_by(e))?;
        let result = runtime.block_on(work);
        runtime.shutdown_timeout(LINGER);
        result
    }

    /// The log goes to stderr. Warnings are always shown (`-q`: errors), since they name objects and remedies.
    fn start_log(&self) {
        let by_flags = match (self.global.quiet, self.global.verbose) {
            (true, _) => "error",
            (_, 0) => "warn",
            (_, 1) => "warn,atfs=info",
            (_, 2) => "warn,atfs=debug",
            _ => "debug,atfs=trace",
        };
        let set = self.config().ok().and_then(|config| config.text(Setting::Log));
        let filter = set.filter(|_| self.global.verbose == 0).unwrap_or_else(|| by_flags.to_owned());
        let filter = tracing_subscriber::EnvFilter::try_new(filter)
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
        // Only one subscriber can be set in a process; a second `App` (in tests) keeps the first.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_target(self.global.verbose > 1)
            .with_ansi(self.out.colors_stderr())
            .try_init();
    }
}
