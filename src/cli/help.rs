//! What `atfs help` looks like: the commands in the groups in which people look for them.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use clap::CommandFactory;
use clap::builder::Styles;

use super::Cli;

/// The groups; a test holds that every visible command is in exactly one.
const GROUPS: &[(&str, &[&str])] = &[
    ("Start", &["init", "mount", "umount", "mounts"]),
    ("Look, without mounting", &["ls", "cat", "stat", "log", "show", "diff"]),
    ("Change, without mounting", &["add", "rm", "mv", "export"]),
    ("Branches and tags", &["branch", "tag"]),
    ("Keep house", &["cache", "prefetch", "stats", "doctor", "completions", "man"]),
];

/// Addresses, explained once, under every list of commands.
const ADDRESSES: &str = "\
<ADDRESS> is REPOSITORY[@REVISION[:PATH]]:
  s3://bucket/prefix, /srv/repos/slides       a repository in a bucket, in a folder
  ...@main, ...@v1, ...@3fa9c1                a branch, a tag, the beginning of a commit id
  ...@main~2, ...@HEAD^, ...@main@{3}         two commits before, the parent, three moves ago
  ...@main@{2026-11-23T10:00}                 where main stood then (UTC)
  ...@main:2026/a.csv                         a path in it
Without @REVISION the head of the default branch is meant.";

const REFERENCE_HEAD: &str = "\
# The command line

Generated from the program (`tests/cli` compares): change the comments in `src/cli/`, then run the test with `UPDATE_DOCS=1`.

The result goes to stdout, everything else to stderr. Exit codes:

| Code | Meaning |
|---|---|
| 0 | done |
| 1 | failed; the message says what, why, and the command to run next |
| 2 | the command line or a setting is wrong |
| 3 | a conflict, or a check that failed; nothing was changed |
| 4 | it could not be learnt whether the change took effect; the next command settles it |
| 130 | interrupted (Ctrl-C) |

Names of files are shown on a terminal as `ls -b` shows them (`\\n`, `\\x1b`, `\\xff`), so that no name can act on it; in a pipe
they are the bytes that they are. In JSON a name that is not UTF-8 stands with replacement characters in `path`, and its exact
bytes in hexadecimal in `path_hex`. Times are UTC. A reader that goes away (`atfs ls ... | head`) is no failure.
";

/// Colours of help and of clap's own errors.
pub(super) const STYLES: Styles = Styles::styled()
    .header(Style::new().bold())
    .usage(Style::new().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(Style::new());

/// Under the help of every command that takes an address.
const SEE_ADDRESSES: &str = "`atfs help` explains how repositories, revisions and paths are written.";

/// The command line with its help in groups.
pub(super) fn command() -> clap::Command {
    let command = Cli::command().mut_subcommands(|sub| {
        let addressed = sub.get_positionals().any(|arg| {
            arg.get_value_names()
                .is_some_and(|names| names.iter().any(|n| n == "ADDRESS" || n == "REPOSITORY"))
        });
        match (addressed, sub.get_after_help().map(ToString::to_string)) {
            (true, Some(help)) => sub.after_help(format!("{help}\n\n{SEE_ADDRESSES}")),
            (true, None) => sub.after_help(SEE_ADDRESSES),
            (false, _) => sub,
        }
    });
    let help = commands(&command);
    let header = STYLES.get_header();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{help}{header}Options:{header:#}\n{{options}}\n\n\
         {ADDRESSES}\n\nRun `atfs help COMMAND` for one command.\n"
    );
    command.help_template(template)
}

fn commands(command: &clap::Command) -> String {
    let (header, literal) = (STYLES.get_header(), STYLES.get_literal());
    let mut text = String::new();
    for (group, names) in GROUPS {
        let _ = writeln!(text, "{header}{group}:{header:#}");
        for name in *names {
            if let Some(sub) = command.find_subcommand(name) {
                let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
                let _ = writeln!(text, "  {literal}{name:<12}{literal:#} {about}");
            }
        }
        text.push('\n');
    }
    text
}

/// `docs/cli.md`: the help of every command, as printed at a width of 100 columns.
pub(super) fn reference() -> String {
    let mut root = command().term_width(100).disable_help_subcommand(true);
    root.build();
    let mut text = format!("{REFERENCE_HEAD}\n## atfs\n\n{}", fenced(&mut root));
    let names: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    for name in names {
        if let Some(sub) = root.find_subcommand_mut(name) {
            chapter(sub, &format!("atfs {name}"), 2, &mut text);
        }
    }
    text
}

fn chapter(command: &mut clap::Command, name: &str, level: usize, text: &mut String) {
    // The options of every command stand once, at the top.
    let mut own = command.clone().mut_args(|arg| match arg.is_global_set() {
        true => arg.hide(true),
        false => arg,
    });
    let _ = write!(text, "\n{} {name}\n\n{}", "#".repeat(level), fenced(&mut own));
    for sub in command.get_subcommands_mut().filter(|sub| !sub.is_hide_set()) {
        let name = format!("{name} {}", sub.get_name());
        chapter(sub, &name, level + 1, text);
    }
}

fn fenced(command: &mut clap::Command) -> String {
    let help = command.clone().term_width(100).render_long_help().to_string();
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    format!("```text\n{}\n```\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let command = Cli::command();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let times = grouped.iter().filter(|name| **name == sub.get_name()).count();
            assert_eq!(times, 1, "{} is in {times} groups of `atfs help`", sub.get_name());
        }
        for name in grouped {
            assert!(command.find_subcommand(name).is_some(), "`atfs help` lists {name}, which is no command");
        }
    }

    /// Lines that clap breaks anew are hard to read; examples that it breaks cannot be copied.
    #[test]
    fn help_below_the_options_fits_as_it_is_written() {
        for sub in super::command().get_subcommands().filter(|sub| !sub.is_hide_set()) {
            for line in sub.get_after_help().map(ToString::to_string).unwrap_or_default().lines() {
                assert!(line.chars().count() <= 100, "atfs {}: {line}", sub.get_name());
            }
        }
    }

    #[test]
    fn the_definition_is_sound() {
        super::command().debug_assert();
    }
}
