//! The sockets of a process, as it set them up.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::getpeername;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// How long a process may take to make its connections.
const LIMIT: Duration = Duration::from_secs(60);

/// Copies of a process's ends of all its connections with `peer`; waits for `count` of them. It is this
/// process or a child of it.
///
/// # Panics
///
/// When there are fewer for too long, or no such process.
#[track_caller]
pub fn connected(process: Pid, peer: SocketAddr, count: usize) -> Vec<OwnedFd> {
    let descriptor = pidfd_open(process, PidfdFlags::empty());
    let descriptor = descriptor.expect("a process that was not waited for has a descriptor");
    let deadline = Instant::now() + LIMIT;
    loop {
        let open = fs::read_dir(format!("/proc/{}/fd", process.as_raw_pid()));
        let open = open.expect("the process runs");
        let numbers = open.filter_map(|fd| fd.ok()?.file_name().to_str()?.parse().ok());
        let copies =
            numbers.filter_map(|fd| pidfd_getfd(&descriptor, fd, PidfdGetfdFlags::empty()).ok());
        let is_one = |fd: &OwnedFd| {
            let other_end = getpeername(fd).ok().flatten();
            other_end.and_then(|end| SocketAddr::try_from(end).ok()) == Some(peer)
        };
        let found: Vec<OwnedFd> = copies.filter(is_one).collect();
        if found.len() >= count {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "{} of {count} connections with {peer}",
            found.len()
        );
        thread::yield_now();
    }
}
