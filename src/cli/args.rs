//! Arguments that several commands share. They are checked while the command line is read, so that a bad address
//! never reaches the engine.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::types::{Address, RepoPath, RepoUrl, Revision};

use super::config::{Flags, Setting};
use super::output::Color;

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalArgs {
    /// Say less: errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,

    /// Say more: -v what is done, -vv what the engine does, -vvv every request
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,

    /// Whether to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: Color,

    /// S3 endpoint, when it is not AWS, such as http://127.0.0.1:9000
    #[arg(long, global = true, value_name = "URL")]
    pub(super) endpoint_url: Option<String>,

    /// Folder of the cache; one daemon serves it
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(super) cache_dir: Option<PathBuf>,

    /// Folder of what this machine must remember, such as commits whose outcome is unknown
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath, hide_short_help = true)]
    pub(super) state_dir: Option<PathBuf>,
}

impl GlobalArgs {
    /// Those that are settings.
    pub(super) fn flags(&self) -> Flags {
        let mut flags = Flags::default();
        flags.set(Setting::EndpointUrl, "--endpoint-url", self.endpoint_url.as_ref());
        flags.set(Setting::CacheDir, "--cache-dir", self.cache_dir.as_ref());
        flags.set(Setting::StateDir, "--state-dir", self.state_dir.as_ref());
        flags
    }
}

/// What is printed as the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document.
    Json,
}

/// How the result is printed: on every command that prints one.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FormatArgs {
    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,

    /// Form of the result
    #[arg(short, long, value_name = "FORMAT", default_value = "text", hide_short_help = true)]
    output: Format,
}

impl FormatArgs {
    /// Whether the result is wanted as JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json || self.output == Format::Json
    }
}

/// The message of a commit.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct MessageArgs {
    /// Why: the message of the commit
    #[arg(short, long, value_name = "TEXT")]
    pub(super) message: Option<String>,

    /// A pair of metadata, such as job=4711; may be repeated
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = pair)]
    pub(super) metadata: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// Reads `url@ref:path`. The path may hold any bytes, since names do; the rest is text.
pub(super) fn address_parser() -> impl TypedValueParser<Value = Address> {
    OsStringValueParser::new().try_map(|text| parse_address(text.as_bytes()))
}

/// Reads a repository's URL; what may stand behind it in an address is refused by name.
pub(super) fn url_parser() -> impl TypedValueParser<Value = RepoUrl> {
    OsStringValueParser::new().try_map(|text| parse_url(text.as_bytes()))
}

/// As [`url_parser`], for words that clap does not know to be one.
pub(super) fn parse_url(text: &[u8]) -> Result<RepoUrl, String> {
    match parse_address(text)? {
        Address { url, revision: None, path: None } => Ok(url),
        Address { url, .. } => Err(format!("only the repository is meant here: {url}")),
    }
}

/// As [`address_parser`], for a word whose bytes matter beyond the address.
pub(super) fn parse_address(bytes: &[u8]) -> Result<Address, String> {
    let whole = |text: &str| text.parse::<Address>().map_err(|e| e.to_string());
    if let Ok(text) = std::str::from_utf8(bytes) {
        return whole(text);
    }
    // Only the path may be no text: cut at the first `:` behind `@` that stands outside braces.
    let at = bytes.iter().position(|b| *b == b'@').ok_or("the name of a repository must be text")?;
    let mut in_braces = false;
    let colon = bytes[at..].iter().position(|b| {
        in_braces = (in_braces || *b == b'{') && *b != b'}';
        *b == b':' && !in_braces
    });
    let colon = at + colon.ok_or("the name of a repository and of a version must be text")?;
    let head = std::str::from_utf8(&bytes[..colon])
        .map_err(|_| "the name of a repository and of a version must be text")?;
    let path = RepoPath::from_user(&bytes[colon + 1..]).map_err(|e| e.to_string())?;
    Ok(Address { path: Some(path), ..whole(head)? })
}

/// The revision of an address: `main` when it names none.
pub(super) fn revision_or_main(address: &Address) -> Revision {
    address.revision.clone().unwrap_or(Revision { base: crate::types::RevisionBase::Head, steps: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_hold_any_bytes() {
        let address = parse_address(b"/srv/r@main@{2026-11-23T10:00}:a/\xff:b").unwrap();
        assert_eq!(address.path.unwrap().as_bytes(), b"a/\xff:b");
        assert_eq!(address.revision.unwrap().to_string(), "main@{2026-11-23T10:00:00.000000Z}");
        for bad in [&b"/srv/\xff@main"[..], b"/srv/x\xff", b"/x@\xff:a", b"/x@main\xff", b"/x@m:a/../\xff"] {
            assert!(parse_address(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn pairs() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("=b").is_err() && pair("a").is_err());
    }
}
