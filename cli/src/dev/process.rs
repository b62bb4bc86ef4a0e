//! Processes that are not our children, told apart from others that later get their number.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

pub(crate) use rustix::process::Signal;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One process: its number, and when it started in which run of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// In clock ticks since the machine started.
    started: u64,
    boot: String,
}

impl Process {
    /// The process that has this number now; `None` when there is none or it has ended.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let started = start_of_living(&stat)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self {
            pid,
            started,
            boot: boot.trim().to_owned(),
        })
    }

    /// True while this very process runs.
    pub(crate) fn runs(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Sends a signal; false when the process has ended. The descriptor is taken before the look,
    /// so the signal cannot reach a process that got the number in between.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(false);
        };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(false);
        };
        if !self.runs() {
            return Ok(false);
        }
        match pidfd_send_signal(handle, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the process has ended; false when it still runs after `limit`.
    pub(crate) async fn ended_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.runs() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }
}

/// The start time in a line of `/proc/PID/stat`; `None` for a process that has ended and only
/// waits to be collected. The name in parentheses may itself hold spaces and parentheses.
fn start_of_living(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21 22";

    #[test]
    fn the_start_is_found_whatever_the_name_is() {
        assert_eq!(
            start_of_living(&format!("7 (a) b) (c) S {TAIL}")),
            Some(4711)
        );
        assert_eq!(start_of_living(&format!("7 (highwater) Z {TAIL}")), None);
        assert_eq!(start_of_living("7 (highwater) S 1 2"), None);
        assert_eq!(start_of_living(""), None);
    }

    #[test]
    fn a_recycled_number_is_another_process() {
        let me = Process::of(std::process::id()).unwrap();
        assert!(me.runs());
        let earlier = Process {
            started: me.started - 1,
            ..me.clone()
        };
        assert!(!earlier.runs());
        assert!(!earlier.signal(Signal::TERM).unwrap());
    }

    #[tokio::test]
    async fn a_killed_child_has_ended_before_it_is_collected() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(!process.ended_within(Duration::ZERO).await);
        assert!(process.signal(Signal::KILL).unwrap());
        assert!(process.ended_within(Duration::from_secs(10)).await);
        child.wait().unwrap();
        assert!(!process.signal(Signal::KILL).unwrap());
    }
}
