//! The frontdesk server; [`frontdesk::cli`] is its command line.

use std::process::ExitCode;

/// What a burst took is given back ten seconds later; an open stream takes 3 KiB less.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    frontdesk::cli::main()
}
