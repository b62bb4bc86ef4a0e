//! SIGINT and SIGTERM: the command is told and may finish in order; if it takes too long, or a second signal
//! comes, the process ends at once.

use std::io;
use std::process;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::exit::ExitCode;

/// A token that SIGINT and SIGTERM cancel. The process ends `grace` later whatever the command does, because
/// it may be waiting for someone to read its output.
pub(crate) fn watch(grace: Duration) -> CancellationToken {
    let interrupted = CancellationToken::new();
    let token = interrupted.clone();
    tokio::spawn(async move {
        if told().await.is_err() {
            return;
        }
        token.cancel();
        tokio::select! {
            () = tokio::time::sleep(grace) => {}
            _ = told() => {}
        }
        process::exit(ExitCode::Interrupted as i32);
    });
    interrupted
}

/// Resolves at the next of the two signals.
#[cfg(unix)]
async fn told() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn told() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
