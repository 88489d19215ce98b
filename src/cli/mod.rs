//! The command line: reads arguments, runs one command, prints its result, and explains what went wrong.
//!
//! One file per command holds its arguments (their comments are the help text), and its action. What they share:
//!
//! - `app`: what a command is given; `args`: arguments of several commands; `help`: the groups of `atfs help`.
//! - `config/`: settings and where each came from. - `open`: from an address to a repository.
//! - `output`: stdout for the result, stderr for the rest; `names`: hostile names made harmless; `progress`.
//! - `helper`: the program as `mount.atfs`; `attend`: as the service of one mount.
//! - `error`: message, cause, hint, exit code; `hint`: which command to run next after which error.

mod add;
mod app;
mod args;
mod attend;
mod branch;
mod cache;
mod cat;
mod commit;
mod completions;
mod config;
mod daemon;
mod diff;
mod doctor;
mod entry;
mod error;
mod export;
mod help;
mod helper;
mod hint;
mod init;
mod log;
mod ls;
mod man;
mod mount;
mod mounts;
mod mv;
mod names;
mod open;
mod output;
mod prefetch;
mod progress;
mod refs;
mod rm;
mod show;
mod stat;
mod stats;
mod tag;
mod text;
mod umount;

use std::process::ExitCode;

use clap::FromArgMatches;

use app::App;
use error::{CliError, Exit};

/// Every version of a data repository as a plain directory
#[derive(Debug, clap::Parser)]
#[command(name = "atfs", version, styles = help::STYLES, max_term_width = 100, disable_help_subcommand = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: args::GlobalArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Add(add::Args),
    Branch(branch::Args),
    Cache(cache::Args),
    Cat(cat::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Daemon(daemon::Args),
    Diff(diff::Args),
    Doctor(doctor::Args),
    Export(export::Args),
    Init(init::Args),
    Log(log::Args),
    Ls(ls::Args),
    Man(man::Args),
    Mount(mount::Args),
    Mounts(mounts::Args),
    Mv(mv::Args),
    Prefetch(prefetch::Args),
    Rm(rm::Args),
    Show(show::Args),
    Stat(stat::Args),
    Stats(stats::Args),
    Tag(tag::Args),
    #[command(visible_alias = "unmount")]
    Umount(umount::Args),
}

/// Reads the arguments of this process, runs the command, and says how it ended.
pub fn main() -> ExitCode {
    let Some(arguments) = helper::arguments(std::env::args_os()) else { return Exit::Done.into() };
    let parsed = help::command().try_get_matches_from(arguments).and_then(|m| Cli::from_arg_matches(&m));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no failure; a closed pipe leaves nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    if let Command::Daemon(args) = &cli.command {
        return daemon::main(args, &cli.global);
    }
    let app = App::new(cli.global);
    match run(cli.command, &app).and_then(|()| app.out.flush()) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            if !error.is_quiet() {
                app.out.error(&error);
            }
            error.exit().into()
        }
    }
}

fn run(command: Command, app: &App) -> Result<(), CliError> {
    match command {
        Command::Add(args) => app.block_on(add::run(&args, app)),
        Command::Branch(args) => app.block_on(branch::run(&args, app)),
        Command::Cache(args) => cache::run(&args, app),
        Command::Completions(args) => completions::run(&args, app),
        // Has a life of its own, above.
        Command::Daemon(_) => Ok(()),
        Command::Doctor(args) => app.block_on(doctor::run(&args, app)),
        Command::Export(args) => app.block_on(export::run(&args, app)),
        Command::Init(args) => app.block_on(init::run(&args, app)),
        Command::Log(args) => app.block_on(log::run(&args, app)),
        Command::Man(args) => man::run(&args, app),
        Command::Mount(args) => mount::run(args, app),
        Command::Mounts(args) => mounts::run(&args, app),
        Command::Cat(args) => app.block_on(cat::run(&args, app)),
        Command::Ls(args) => app.block_on(ls::run(&args, app)),
        Command::Mv(args) => app.block_on(mv::run(&args, app)),
        Command::Prefetch(args) => prefetch::run(&args, app),
        Command::Rm(args) => app.block_on(rm::run(&args, app)),
        Command::Diff(args) => app.block_on(diff::run(&args, app)),
        Command::Show(args) => app.block_on(show::run(&args, app)),
        Command::Stat(args) => app.block_on(stat::run(&args, app)),
        Command::Stats(args) => app.block_on(stats::run(&args, app)),
        Command::Tag(args) => app.block_on(tag::run(&args, app)),
        Command::Umount(args) => umount::run(&args, app),
    }
}

/// The reference of the command line in Markdown: `docs/cli.md`, which a test compares with this.
pub fn reference() -> String {
    help::reference()
}
