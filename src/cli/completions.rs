//! `atfs completions`: completions for a shell, from the definition of the command line.

use super::app::App;
use super::error::CliError;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atfs completions bash > /etc/bash_completion.d/atfs
  atfs completions zsh > ~/.zfunc/_atfs
  atfs completions fish > ~/.config/fish/completions/atfs.fish")]
pub(super) struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

/// Runs the command.
pub(super) fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::help::command(), "atfs", &mut script);
    app.out.bytes(&script)
}
