//! The frontdesk server; [`frontdesk::cli`] is its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    frontdesk::cli::main()
}
