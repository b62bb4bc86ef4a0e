//! The `highwater` program: the broker (`highwater serve`) and every client command.
//!
//! `args` is what can be typed, `command` one file per family of verbs, `record` the pure parts of
//! produce and consume; `output`, `error` and `exit` are how a command answers.

mod args;
mod command;
mod connection;
#[cfg(target_os = "linux")]
mod dev;
mod error;
mod exit;
mod explain;
mod health;
mod interrupt;
#[cfg(target_os = "linux")]
mod machine;
mod output;
#[cfg(target_os = "linux")]
mod parent;
mod progress;
mod record;
#[cfg(target_os = "linux")]
mod settings;
mod suggest;
mod version;
mod view;

use std::process;

use args::Args;
use error::Failure;
use exit::ExitCode;

/// Each group of replicas reserves queues that it seldom fills. This allocator leaves what was never
/// touched to the system, so that a thousand idle partitions take a third less memory.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs the program with the arguments of the process and gives its exit code.
pub fn run() -> process::ExitCode {
    let ended = match Args::read(std::env::args_os()) {
        Ok(args) => start(args),
        Err(error) => args::refuse(&error),
    };
    match ended {
        Ok(()) => ExitCode::Ok.into(),
        Err(failure) => {
            failure.tell();
            failure.exit_code().into()
        }
    }
}

/// Runs one command on a runtime of its own. A thread that still waits for input is left behind,
/// so that an interrupted command ends at once.
fn start(args: Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("starting the runtime", &error))?;
    let ended = runtime.block_on(command::run(args));
    runtime.shutdown_background();
    ended
}
