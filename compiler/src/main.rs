//! The `bpc` program. Exit status: 0 fine, 1 the program or data is wrong, 2 the command line is.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
