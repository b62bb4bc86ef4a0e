//! SIGINT: the command is told and may finish in order; if it takes too long, or a second signal
//! comes, the process ends at once.

use std::process;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::exit::ExitCode;

/// A token that SIGINT cancels. The process ends `grace` later whatever the command does, because
/// it may be waiting for someone to read its output.
pub(crate) fn watch(grace: Duration) -> CancellationToken {
    let interrupted = CancellationToken::new();
    let token = interrupted.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_err() {
            return;
        }
        token.cancel();
        tokio::select! {
            () = tokio::time::sleep(grace) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        process::exit(ExitCode::Interrupted as i32);
    });
    interrupted
}
