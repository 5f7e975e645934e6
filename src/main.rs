//! The frontdesk server; [`frontdesk::cli`] is its command line.

use std::process::ExitCode;

/// Returns memory to the system ten seconds after a burst, and needs 3 KiB less per open stream.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    frontdesk::cli::main()
}
