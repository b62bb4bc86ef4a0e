//! The process that started this one, seen through the pipe that it holds to our stdin.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// A pipe at stdin whose other end was open when this was made.
#[derive(Debug)]
pub(crate) struct Parent {
    stdin: Receiver,
}

impl Parent {
    /// Watches stdin if it is an open pipe. A terminal, a file or `/dev/null` tells nothing, and
    /// neither does a pipe that nobody held to begin with.
    pub(crate) fn watch() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        let is_pipe = FileType::from_raw_mode(fstat(&stdin)?.st_mode) == FileType::Fifo;
        if !is_pipe || is_closed(&stdin)? {
            return Ok(None);
        }
        let stdin = Receiver::from_owned_fd(stdin.as_fd().try_clone_to_owned()?)?;
        Ok(Some(Self { stdin }))
    }

    /// Resolves when the other end is closed; what comes in before that is thrown away.
    /// Cancel-safe.
    pub(crate) async fn gone(&mut self) {
        let mut thrown_away = [0; 4096];
        while matches!(self.stdin.read(&mut thrown_away).await, Ok(1..)) {}
    }
}

fn is_closed(pipe: impl AsFd) -> io::Result<bool> {
    let mut pipe = [PollFd::new(&pipe, PollFlags::IN)];
    poll(&mut pipe, Some(&Timespec::default()))?;
    Ok(pipe[0].revents().contains(PollFlags::HUP))
}
