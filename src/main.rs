//! The program `atfs`: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    atfs::cli::main()
}
