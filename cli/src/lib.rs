//! The `highwater` program.

/// Runs the program and gives its exit code.
pub fn run() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
