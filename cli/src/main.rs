//! The `highwater` program; see the library beside it.

/// Each group of replicas reserves queues that it seldom fills. This allocator leaves what was never
/// touched to the system, so that a thousand idle partitions take a third less memory.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    highwater_cli::run()
}
