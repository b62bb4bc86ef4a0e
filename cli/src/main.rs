//! The `highwater` program; see the library beside it.

fn main() -> std::process::ExitCode {
    highwater_cli::run()
}
