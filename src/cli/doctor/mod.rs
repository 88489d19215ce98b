//! `atfs doctor`: what this machine and a repository's store can do, what they cannot, and what to change.
//!
//! Every check looks by itself and none stops another: a doctor that gives up at the first finding is of no use on
//! the machine that needs it. A check that fails means that something does not work; a warning, that it works worse.

mod clock;
mod disk;
mod machine;
mod memory;
mod store;

use std::path::PathBuf;

use crate::types::Address;

use super::app::App;
use super::args::{FormatArgs, address_parser};
use super::config::{Config, SETTINGS, Setting, Surroundings};
use super::error::{CliError, Exit};
use super::names::escape;
use super::output::Paint;
use super::text::pad;

/// Check this machine, its settings, and a repository's store
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atfs doctor
  atfs doctor s3://pathology/slides
  atfs doctor --json | jq '.checks[] | select(.state != \"ok\")'

The exit code is 3 when a check fails; warnings alone are 0.")]
pub(super) struct Args {
    /// A repository to check as well; its store is probed with objects of a few bytes
    #[arg(value_name = "REPOSITORY", value_parser = address_parser())]
    address: Option<Address>,

    /// Only look at the repository: write nothing to it
    #[arg(long, requires = "address")]
    read_only: bool,

    #[command(flatten)]
    format: FormatArgs,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// Works, only worse.
    Warn,
    /// Does not work.
    Fail,
}

/// What one check found.
#[derive(Debug, serde::Serialize)]
struct Check {
    topic: &'static str,
    name: &'static str,
    state: State,
    finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn ok(topic: &'static str, name: &'static str, finding: impl Into<String>) -> Self {
        Self { topic, name, state: State::Ok, finding: finding.into(), remedy: None }
    }

    fn warn(
        topic: &'static str,
        name: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self { topic, name, state: State::Warn, finding: finding.into(), remedy }
    }

    fn fail(
        topic: &'static str,
        name: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { state: State::Fail, ..Self::warn(topic, name, finding, remedy) }
    }
}

#[derive(serde::Serialize)]
struct JsonSetting {
    setting: &'static str,
    value: Option<String>,
    origin: String,
}

#[derive(serde::Serialize)]
struct Report {
    version: &'static str,
    files: Vec<PathBuf>,
    settings: Vec<JsonSetting>,
    checks: Vec<Check>,
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let mut checks = Vec::new();
    let config = match app.config() {
        Ok(config) => Some(config),
        Err(error) => {
            let (finding, remedy) = error.message_and_hint();
            checks.push(Check::fail("settings", "settings", finding, remedy));
            None
        }
    };
    machine::check(app, &mut checks);
    if let Some(config) = &config {
        disk::check(config, &mut checks);
    }
    clock::check(crate::types::Timestamp::from_micros(now_micros()), &mut checks);
    if let (Some(address), Some(config)) = (&args.address, &config) {
        let writes = if args.read_only { store::Writes::None } else { store::Writes::Probe };
        store::check(app, config, &address.url, writes, &mut checks).await;
    }
    let failed = checks.iter().filter(|check| check.state == State::Fail).count();
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        files: app.around.files(),
        settings: config.as_ref().map(|config| settings(config, &app.around)).unwrap_or_default(),
        checks,
    };
    if args.format.is_json() {
        app.out.json(&report)?;
    } else {
        print(app, &report)?;
    }
    match failed {
        0 => Ok(()),
        n => Err(CliError::new(Exit::Conflict, format!("{n} check{} failed", if n == 1 { "" } else { "s" }))),
    }
}

fn now_micros() -> i64 {
    use crate::types::Clock;
    crate::types::SystemClock.now().as_micros()
}

fn settings(config: &Config, around: &Surroundings) -> Vec<JsonSetting> {
    let one = |setting: Setting| {
        let (value, origin) = match (config.get(setting), elsewhere(setting, around)) {
            (Some((_, origin)), _) => (config.text(setting), origin.to_string()),
            (None, Some((value, variable))) => (Some(value), format!("environment {variable}")),
            (None, None) => (config.effective(setting), "not set".into()),
        };
        JsonSetting { setting: setting.name(), value, origin }
    };
    SETTINGS.iter().map(|(setting, _)| one(*setting)).collect()
}

/// What AWS's own variables say where our setting says nothing; a profile may say more, and shows in the address.
fn elsewhere(setting: Setting, around: &Surroundings) -> Option<(String, &'static str)> {
    let variables: &[&str] = match setting {
        Setting::EndpointUrl => &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
        Setting::Region => &["AWS_REGION", "AWS_DEFAULT_REGION"],
        Setting::AwsProfile => &["AWS_PROFILE"],
        Setting::CaBundle => &["AWS_CA_BUNDLE"],
        _ => &[],
    };
    let set = |name: &&'static str| Some((around.variable(name)?.to_string_lossy().into_owned(), *name));
    variables.iter().find_map(set)
}

fn print(app: &App, report: &Report) -> Result<(), CliError> {
    let out = &app.out;
    out.line(format!("atfs {}", report.version))?;
    if !report.settings.is_empty() {
        out.line(format!("\n{}", out.paint(Paint::Strong, "settings")))?;
        let shown = |s: &JsonSetting| escape(s.value.as_deref().unwrap_or("-").as_bytes()).into_owned();
        let width = report.settings.iter().map(|s| shown(s).chars().count()).max().unwrap_or(0);
        for setting in &report.settings {
            let origin = out.paint(Paint::Faint, &setting.origin);
            out.line(format!("  {:<14}{}  {origin}", setting.setting, pad(&shown(setting), width)))?;
        }
        for file in &report.files {
            let state = if file.exists() { "read" } else { "not there" };
            out.line(out.paint(Paint::Faint, format!("  {}: {state}", file.display())))?;
        }
    }
    let mut topic = "";
    for check in &report.checks {
        if check.topic != topic {
            topic = check.topic;
            out.line(format!("\n{}", out.paint(Paint::Strong, topic)))?;
        }
        let state = match check.state {
            State::Ok => out.paint(Paint::Good, "ok  "),
            State::Warn => out.paint(Paint::Warn, "warn"),
            State::Fail => out.paint(Paint::Bad, "FAIL"),
        };
        out.line(format!("  {state}  {:<14}{}", check.name, escape(check.finding.as_bytes())))?;
        if let Some(remedy) = &check.remedy {
            out.line(format!("        {:<14}{} {remedy}", "", out.paint(Paint::Hint, "→")))?;
        }
    }
    Ok(())
}
