//! Waiting for a child with a limit, by its process descriptor.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How the child ended; `None` if it still runs after `limit`.
pub(crate) fn ended_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    let descriptor = pidfd_open(Pid::from_child(child), PidfdFlags::empty())
        .expect("a child that was not waited for has a descriptor");
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        let left = deadline.checked_duration_since(Instant::now())?;
        let left = Timespec::try_from(left).expect("a limit of a test fits");
        let mut readable = [PollFd::new(&descriptor, PollFlags::IN)];
        match poll(&mut readable, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("waiting for a child: {error}"),
        }
    }
}
