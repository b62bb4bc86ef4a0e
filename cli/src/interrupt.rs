//! SIGINT and SIGTERM: the command is told and may finish in order; if it takes too long, or a second signal
//! comes, the process ends at once.

use std::io;
use std::process;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::exit::ExitCode;

/// What a command learns of signals, in this order.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    /// The signal came.
    pub(crate) told: CancellationToken,
    /// The time for what was still to come is over: now it is only to be said how it ended.
    pub(crate) enough: CancellationToken,
}

/// A token that SIGINT and SIGTERM cancel. The process ends `grace` later whatever the command does, because
/// it may be waiting for someone to read its output.
pub(crate) fn watch(grace: Duration) -> CancellationToken {
    watch_with_answers(Duration::ZERO, grace).told
}

/// The same for a command that waits for `answers` after the signal. One task counts both times, one after
/// the other: however late it is, the command has `grace` after it was told that it is enough.
pub(crate) fn watch_with_answers(answers: Duration, grace: Duration) -> Interrupt {
    let interrupt = Interrupt {
        told: CancellationToken::new(),
        enough: CancellationToken::new(),
    };
    let watched = interrupt.clone();
    tokio::spawn(async move {
        if told().await.is_err() {
            return;
        }
        let slow = watched.run_out(answers, grace);
        tokio::select! {
            () = slow => {}
            _ = told() => {}
        }
        process::exit(ExitCode::Interrupted as i32);
    });
    interrupt
}

impl Interrupt {
    /// What follows on a signal; resolves when the command has had all its time.
    async fn run_out(&self, answers: Duration, grace: Duration) {
        self.told.cancel();
        tokio::time::sleep(answers).await;
        self.enough.cancel();
        tokio::time::sleep(grace).await;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_time_to_say_how_it_ended_begins_after_that_for_answers() {
        let interrupt = Interrupt {
            told: CancellationToken::new(),
            enough: CancellationToken::new(),
        };
        let hour = Duration::from_secs(3600);
        tokio::select! {
            () = interrupt.run_out(Duration::from_millis(1), hour) => panic!("it waited no longer"),
            () = interrupt.enough.cancelled() => assert!(interrupt.told.is_cancelled()),
        }
        tokio::select! {
            () = interrupt.run_out(hour, Duration::ZERO) => panic!("it did not wait for answers"),
            () = interrupt.told.cancelled() => {}
        }
    }
}
