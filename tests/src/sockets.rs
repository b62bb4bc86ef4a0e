//! The sockets of a process, as it set them up.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
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
        let (mut found, mut others, mut forbidden) = (Vec::new(), 0, 0);
        for number in numbers {
            let copy = match pidfd_getfd(&descriptor, number, PidfdGetfdFlags::empty()) {
                Ok(copy) => copy,
                Err(error) => {
                    forbidden += u32::from(error == Errno::PERM);
                    continue;
                }
            };
            let other_end = getpeername(&copy).ok().flatten();
            match other_end.and_then(|end| SocketAddr::try_from(end).ok()) {
                Some(end) if end == peer => found.push(copy),
                end => others += u32::from(end.is_some()),
            }
        }
        if found.len() >= count {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "{} of {count} connections with {peer}, {others} with others; {forbidden} descriptors may not be \
             copied",
            found.len()
        );
        thread::yield_now();
    }
}
