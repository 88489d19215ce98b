//! `atfs daemon`: what `atfs mount` starts in the background. Hidden: nobody types it.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use crate::daemon::{DaemonConfig, DiskSpace, Launch, LogTarget, StoreAccess, serve_detached, serve_managed};
use crate::types::ByteSize;

use super::args::GlobalArgs;
use super::config::{CacheSize, Config, Setting, Surroundings};
use super::error::{CliError, Exit};
use super::output::{Output, Verbosity};

/// Serve the mounts of one cache folder
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Limit of the cache
    #[arg(long, value_name = "SIZE")]
    cache_size: Option<String>,

    /// What the cache leaves free of its disk
    #[arg(long, value_name = "SIZE")]
    cache_floor: Option<String>,

    /// Run under a service manager: stay without mounts, log to standard error, say when it is ready
    #[arg(long)]
    service: bool,

    /// Exit after so many seconds without a mount
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    idle: u64,

    /// When told to stop, wait so many seconds for mounts in use
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    drain: u64,
}

/// Runs the command. It logs by itself, so there is no [`super::app::App`] around it.
pub(super) fn main(args: &Args, global: &GlobalArgs) -> ExitCode {
    match run(args, global) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            // A client that waits has been told; this is for the log.
            Output::new(Verbosity::Normal, global.color).error(&error);
            error.exit().into()
        }
    }
}

fn run(args: &Args, global: &GlobalArgs) -> Result<(), CliError> {
    let mut flags = global.flags();
    flags.set(Setting::CacheSize, "--cache-size", args.cache_size.as_ref());
    flags.set(Setting::CacheFloor, "--cache-floor", args.cache_floor.as_ref());
    let settings = Config::load(&Surroundings::real(), flags)?;
    let config = DaemonConfig {
        log: if args.service { LogTarget::Stderr } else { LogTarget::File },
        idle: Duration::from_secs(args.idle),
        drain: Duration::from_secs(args.drain),
        ..config(&settings)?
    };
    let serve = if args.service { serve_managed } else { serve_detached };
    serve(config).map_err(|error| CliError::failed(error.to_string()))
}

/// How a daemon runs with these settings, in the background.
///
/// # Errors
/// No place for the cache or the state.
pub(super) fn config(settings: &Config) -> Result<DaemonConfig, CliError> {
    let (cache_dir, state_dir) = (settings.cache_dir()?, settings.state_dir()?);
    Ok(DaemonConfig {
        log: LogTarget::File,
        log_filter: settings.text(Setting::Log),
        cache_limit: space(settings.cache_size()),
        cache_floor: settings.cache_floor().map(space),
        ..DaemonConfig::new(cache_dir, state_dir)
    })
}

/// A size as the daemon knows it.
pub(super) fn space(size: CacheSize) -> DiskSpace {
    match size {
        CacheSize::Bytes(ByteSize(bytes)) => DiskSpace::Bytes(bytes),
        CacheSize::Percent(percent) => DiskSpace::PercentOfDisk(percent),
    }
}

/// How a daemon runs with these settings in the process of `atfs mount -f`: it logs to standard error.
///
/// # Errors
/// As [`config`].
pub(super) fn foreground(settings: &Config) -> Result<DaemonConfig, CliError> {
    Ok(DaemonConfig { log: LogTarget::Stderr, ..config(settings)? })
}

/// How `atfs mount` starts a daemon with the settings of this run.
///
/// # Errors
/// The program's own path is unknown; no place for the cache or the state.
pub(super) fn launch(settings: &Config) -> Result<Launch, CliError> {
    let program = std::env::current_exe()
        .map_err(|e| CliError::failed("cannot find the program atfs itself").caused_by(e))?;
    let mut arguments: Vec<OsString> = vec!["daemon".into()];
    for (flag, dir) in [("--cache-dir", settings.cache_dir()?), ("--state-dir", settings.state_dir()?)] {
        arguments.extend([flag.into(), dir.into_os_string()]);
    }
    // As they were written: a size that is shown is rounded.
    for (flag, setting) in [("--cache-size", Setting::CacheSize), ("--cache-floor", Setting::CacheFloor)] {
        if let Some(text) = settings.text(setting) {
            arguments.extend([flag.into(), text.into()]);
        }
    }
    Ok(Launch { program, arguments })
}

/// What the daemon needs to know to reach the store as this command would: the settings as AWS's own variables.
pub(super) fn store_access(config: &Config) -> StoreAccess {
    let mut access = StoreAccess::from_environment();
    access.endpoint_url = config.text(Setting::EndpointUrl);
    for (setting, variable) in [
        (Setting::Region, "AWS_REGION"),
        (Setting::AwsProfile, "AWS_PROFILE"),
        (Setting::CaBundle, "AWS_CA_BUNDLE"),
    ] {
        if let Some(value) = config.text(setting) {
            access.environment.insert(variable.into(), value);
        }
    }
    access
}
