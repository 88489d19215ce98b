//! Settings, and where each came from.
//!
//! A setting has one name: `cache_dir` in a file, `ATFS_CACHE_DIR` in the environment, `--cache-dir` as a flag. Later wins:
//! built-in default, `/etc/atfs/config.toml`, the user's `config.toml`, the environment, flags. Every value keeps its
//! origin, so that an error and `atfs doctor` can say which line to change. A name that nobody knows is an
//! error, not ignored: a misspelt setting that silently does nothing is found too late.

mod identity;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::types::ByteSize;

use super::error::CliError;

/// The settings there are, with what they are for: the order in which they are documented.
pub(super) const SETTINGS: &[(Setting, &str)] = &[
    (Setting::Author, "who commits, as `Name <mail>`; default: the user's name and user@host"),
    (Setting::CacheDir, "the cache of file contents, one per machine"),
    (Setting::CacheSize, "its limit, as 500GiB or as 80% of its disk"),
    (
        Setting::CacheFloor,
        "what the cache leaves free of its disk, as 10GiB or 5%; default: 5%, at most 1 GiB",
    ),
    (Setting::StateDir, "attempts in flight and other state that is not disposable"),
    (Setting::EndpointUrl, "the S3 endpoint, when it is not AWS"),
    (Setting::Region, "the S3 region"),
    (Setting::AwsProfile, "the profile in ~/.aws to use"),
    (Setting::CaBundle, "a PEM file with further certificate authorities for the endpoint"),
    (Setting::Log, "what is logged, such as info or atfs=debug"),
];

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Setting {
    /// Who commits.
    Author,
    /// The cache.
    CacheDir,
    /// Its limit.
    CacheSize,
    /// What it leaves free.
    CacheFloor,
    /// State that is not disposable.
    StateDir,
    /// S3 endpoint.
    EndpointUrl,
    /// S3 region.
    Region,
    /// Profile of the AWS tools.
    AwsProfile,
    /// Further certificate authorities.
    CaBundle,
    /// Log filter.
    Log,
}

impl Setting {
    /// Its name in files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Author => "author",
            Self::CacheDir => "cache_dir",
            Self::CacheSize => "cache_size",
            Self::CacheFloor => "cache_floor",
            Self::StateDir => "state_dir",
            Self::EndpointUrl => "endpoint_url",
            Self::Region => "region",
            Self::AwsProfile => "aws_profile",
            Self::CaBundle => "ca_bundle",
            Self::Log => "log",
        }
    }

    /// Its name in the environment.
    pub(super) fn variable(self) -> String {
        format!("ATFS_{}", self.name().to_ascii_uppercase())
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Built in.
    Default,
    /// This file.
    File(PathBuf),
    /// This variable of the environment.
    Environment(String),
    /// This flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// How much the cache may hold, or leaves free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CacheSize {
    /// So many bytes.
    Bytes(ByteSize),
    /// So many hundredths of its disk, 1 to 95.
    Percent(u8),
}

impl std::str::FromStr for CacheSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().strip_suffix('%') {
            // Above 95 % a disk has no room left for anything else, and most file systems slow down.
            Some(number) => match number.trim().parse() {
                Ok(percent @ 1..=95) => Ok(Self::Percent(percent)),
                _ => Err(format!("{text:?} is not a share of a disk: write 1% to 95%")),
            },
            None => text.parse().map(Self::Bytes).map_err(|e: crate::types::SizeError| e.to_string()),
        }
    }
}

impl fmt::Display for CacheSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Flags that set something for one command.
#[derive(Debug, Clone, Default)]
pub(super) struct Flags(Vec<(Setting, &'static str, OsString)>);

impl Flags {
    /// `value` given by `flag`, if it was.
    pub(super) fn set(&mut self, setting: Setting, flag: &'static str, value: Option<impl Into<OsString>>) {
        self.0.extend(value.map(|value| (setting, flag, value.into())));
    }
}

/// What the system offers to read settings from: a seam, so that tests have a machine of their own.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// The environment.
    pub(super) variables: BTreeMap<OsString, OsString>,
    /// Settings of the machine.
    pub(super) system_file: PathBuf,
    /// Whether this is the super-user, whose state lives under /var.
    pub(super) is_root: bool,
}

impl Surroundings {
    /// This machine, this process.
    pub(super) fn real() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            system_file: "/etc/atfs/config.toml".into(),
            is_root: nix::unistd::geteuid().is_root(),
        }
    }

    /// A variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&OsString> {
        self.variables.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty())
    }

    /// The folder for `xdg` (such as `XDG_CACHE_HOME`): that variable if absolute, else below the home folder.
    fn xdg(&self, xdg: &str, below_home: &str) -> Option<PathBuf> {
        let given = self.variable(xdg).map(PathBuf::from).filter(|path| path.is_absolute());
        given.or_else(|| Some(PathBuf::from(self.variable("HOME")?).join(below_home)))
    }

    /// The settings files, weakest first. `ATFS_CONFIG` names the only one to read; set and empty, none is read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        if let Some(only) = self.variables.get(std::ffi::OsStr::new("ATFS_CONFIG")) {
            return if only.is_empty() { Vec::new() } else { vec![only.into()] };
        }
        let user = self.xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("atfs/config.toml"));
        [Some(self.system_file.clone()), user].into_iter().flatten().collect()
    }
}

/// All settings of this run.
#[derive(Debug, Clone)]
pub(super) struct Config {
    values: BTreeMap<Setting, (OsString, Origin)>,
}

impl Config {
    /// Reads files and environment of `around`, then applies `flags`; checks every value.
    ///
    /// # Errors
    /// A file that cannot be read or is no TOML, an unknown name, a value of the wrong form: each names its origin.
    pub(super) fn load(around: &Surroundings, flags: Flags) -> Result<Self, CliError> {
        let mut config = Self { values: BTreeMap::new() };
        config.defaults(around);
        for file in around.files() {
            config.read_file(&file)?;
        }
        for (setting, _) in SETTINGS {
            let variable = setting.variable();
            if let Some(value) = around.variable(&variable) {
                config.values.insert(*setting, (value.clone(), Origin::Environment(variable)));
            }
        }
        for (setting, flag, value) in flags.0 {
            config.values.insert(setting, (value, Origin::Flag(flag)));
        }
        config.check()?;
        Ok(config)
    }

    /// The value of a setting and where it came from; `None` when it is not set and has no default.
    pub(super) fn get(&self, setting: Setting) -> Option<(&OsString, &Origin)> {
        self.values.get(&setting).map(|(value, origin)| (value, origin))
    }

    /// A setting as text.
    pub(super) fn text(&self, setting: Setting) -> Option<String> {
        self.get(setting).map(|(value, _)| value.to_string_lossy().into_owned())
    }

    /// A setting as a path, made absolute against the working directory.
    pub(super) fn path(&self, setting: Setting) -> Option<PathBuf> {
        let path = PathBuf::from(self.get(setting)?.0);
        Some(std::path::absolute(&path).unwrap_or(path))
    }

    /// The cache's folder.
    ///
    /// # Errors
    /// When there is no home folder to derive it from.
    pub(super) fn cache_dir(&self) -> Result<PathBuf, CliError> {
        self.folder(Setting::CacheDir)
    }

    /// The folder of attempts in flight.
    ///
    /// # Errors
    /// When there is no home folder to derive it from.
    pub(super) fn state_dir(&self) -> Result<PathBuf, CliError> {
        self.folder(Setting::StateDir)
    }

    /// The cache's limit.
    pub(super) fn cache_size(&self) -> CacheSize {
        // Checked by `load`.
        self.text(Setting::CacheSize).and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_CACHE_SIZE)
    }

    /// What the cache leaves free of its disk, if that was set.
    pub(super) fn cache_floor(&self) -> Option<CacheSize> {
        // Checked by `load`.
        self.text(Setting::CacheFloor).and_then(|text| text.parse().ok())
    }

    /// Who commits, as `Name <mail>`.
    pub(super) fn author(&self) -> String {
        self.text(Setting::Author).unwrap_or_else(identity::of_this_user)
    }

    /// What is used when the setting is not set, where that is not nothing.
    pub(super) fn effective(&self, setting: Setting) -> Option<String> {
        (setting == Setting::Author).then(|| self.author())
    }

    fn folder(&self, setting: Setting) -> Result<PathBuf, CliError> {
        self.path(setting).ok_or_else(|| {
            CliError::usage(format!("no place for {}: HOME is not set", setting.name()))
                .hint(format!("set {} to a folder of your own", setting.variable()))
        })
    }

    fn defaults(&mut self, around: &Surroundings) {
        let (cache, state) = match around.is_root {
            true => (Some("/var/cache/atfs".into()), Some("/var/lib/atfs".into())),
            false => (
                around.xdg("XDG_CACHE_HOME", ".cache").map(|dir| dir.join("atfs")),
                around.xdg("XDG_STATE_HOME", ".local/state").map(|dir| dir.join("atfs")),
            ),
        };
        let size = Some(PathBuf::from(DEFAULT_CACHE_SIZE.to_string()));
        for (setting, value) in
            [(Setting::CacheDir, cache), (Setting::StateDir, state), (Setting::CacheSize, size)]
        {
            self.values.extend(value.map(|value| (setting, (value.into_os_string(), Origin::Default))));
        }
    }

    fn read_file(&mut self, file: &Path) -> Result<(), CliError> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(CliError::usage(format!("cannot read the settings file {}", file.display()))
                    .caused_by(error));
            }
        };
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            CliError::usage(format!("the settings file {} is not valid TOML", file.display()))
                .caused_by(std::io::Error::other(error.to_string().trim_end().to_owned()))
        })?;
        for (name, value) in table {
            let Some((setting, _)) = SETTINGS.iter().find(|(setting, _)| setting.name() == name) else {
                let names: Vec<_> = SETTINGS.iter().map(|(setting, _)| setting.name()).collect();
                return Err(CliError::usage(format!("{}: unknown setting {name:?}", file.display()))
                    .hint(format!("the settings are {}", names.join(", "))));
            };
            let value = match value {
                toml::Value::String(text) => text,
                // `cache_size = 4096` is as good as "4096".
                toml::Value::Integer(number) => number.to_string(),
                other => {
                    let kind = other.type_str();
                    return Err(CliError::usage(format!(
                        "{}: {name} must be a text in quotes, not {kind}",
                        file.display()
                    )));
                }
            };
            self.values.insert(*setting, (value.into(), Origin::File(file.to_path_buf())));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), CliError> {
        for (setting, (value, origin)) in &self.values {
            let text = value.to_string_lossy();
            let problem = match setting {
                Setting::CacheSize | Setting::CacheFloor => text.parse::<CacheSize>().err(),
                Setting::Author => identity::problem(&text),
                Setting::EndpointUrl => (!text.starts_with("http://") && !text.starts_with("https://"))
                    .then(|| format!("{text:?} is not a URL: write http://host:port or https://host")),
                Setting::Log => tracing_subscriber::EnvFilter::try_new(&*text).err().map(|e| e.to_string()),
                Setting::CacheDir | Setting::StateDir => (!Path::new(value).is_absolute()
                    && matches!(origin, Origin::File(_)))
                .then(|| format!("{text:?} must be an absolute path in a settings file")),
                Setting::Region | Setting::AwsProfile | Setting::CaBundle => None,
            };
            if let Some(problem) = problem {
                return Err(CliError::usage(format!("{} ({origin}): {problem}", setting.name())));
            }
        }
        Ok(())
    }
}

/// Enough for a day's work on a laptop, a fifth of the disk left for everything else on a server.
const DEFAULT_CACHE_SIZE: CacheSize = CacheSize::Percent(80);
