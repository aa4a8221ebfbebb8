//! The `portico` program; everything is in the library.

use std::process::ExitCode;

/// Portico allocates and frees with every request; glibc spends a fifth of its time on that.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    portico::cli::main()
}
