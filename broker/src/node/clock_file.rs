//! What is kept of the clock in the data directory, so that time goes on through restarts.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::pb::peer as pb;
use prost::Message;

use crate::clock::{Clock, GuardedClock, Kept, Skips};
use crate::log::Dir;
use crate::log::small_file::{SmallFileError, read_file, write_file};
use crate::raft::beside;

const CLOCK_FILE: &str = "clock";
/// How often it is kept: what a machine that is started anew may count as skipped without reason.
const EVERY: Duration = Duration::from_secs(600);

/// The clock of a broker with its data in `dir`: goes on from what is kept there, and is kept.
///
/// # Errors
///
/// When the file cannot be read: what was skipped before would make records older.
pub(super) fn open(
    dir: &dyn Dir,
    wall: Arc<dyn Clock>,
    boot: Vec<u8>,
) -> Result<GuardedClock, String> {
    let kept = load(dir)?;
    let clock = GuardedClock::new(wall, boot, kept.as_ref());
    // Not an error where there is no room: what an older file says makes records younger only.
    if let Err(error) = save(dir, &clock.keep()) {
        tracing::warn!(%error, "the clock is not kept");
    }
    Ok(clock)
}

/// Keeps it again and again.
pub(super) async fn keep(dir: Arc<dyn Dir>, clock: Arc<GuardedClock>) {
    let mut shifts = clock.shifts();
    loop {
        drop(tokio::time::timeout(EVERY, shifts.changed()).await);
        let (root, kept) = (Arc::clone(&dir), clock.keep());
        match beside(&dir, move || save(root.as_ref(), &kept)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the clock is not kept"),
            Err(_) => return,
        }
    }
}

fn load(dir: &dyn Dir) -> Result<Option<Kept>, String> {
    let remedy = "without it a clock that is wrong may delete records by age: set the machine's clock \
                  right and remove the file";
    let read = read_file(dir, CLOCK_FILE).map_err(|error| match error {
        SmallFileError::Damaged { file, reason } => {
            format!("the file {file} is damaged: {reason}; {remedy}")
        }
        other => other.to_string(),
    })?;
    let Some(bytes) = read else { return Ok(None) };
    let stored = pb::BrokerClock::decode(bytes.as_slice())
        .map_err(|error| format!("the file {CLOCK_FILE} does not parse: {error}; {remedy}"))?;
    let skips = stored.skips.iter().map(|skip| (skip.from, skip.until));
    Ok(Some(Kept {
        boot: stored.boot.to_vec(),
        offset: stored.offset,
        time: stored.time,
        skips: Skips::restore(skips),
    }))
}

fn save(dir: &dyn Dir, kept: &Kept) -> Result<(), SmallFileError> {
    let skip = |(from, until)| pb::SkippedTime { from, until };
    let stored = pb::BrokerClock {
        boot: kept.boot.clone().into(),
        offset: kept.offset,
        time: kept.time,
        skips: kept.skips.iter().map(skip).collect(),
    };
    write_file(dir, CLOCK_FILE, &stored.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use highwater_proto::Timestamp;

    use super::*;
    use crate::log::MemDir;

    const DAY: i64 = 24 * 60 * 60 * 1000;

    /// A wall clock and the time since the machine's start.
    #[derive(Debug)]
    struct Machine(i64, i64);

    impl Clock for Machine {
        fn now(&self) -> Timestamp {
            Timestamp(self.0)
        }

        fn uptime(&self) -> i64 {
            self.1
        }
    }

    #[test]
    fn a_restart_goes_on_where_the_file_says_and_a_damaged_one_is_refused() {
        let dir = MemDir::new();
        let begin = |wall, uptime, boot: &[u8]| {
            let clock = open(&dir, Arc::new(Machine(wall, uptime)), boot.to_vec())?;
            let ages = clock.ages();
            let since = ages.counted_from(Timestamp(5 * DAY));
            Ok::<_, String>((ages.now.0, ages.now.0 - since.0))
        };
        assert_eq!(begin(5 * DAY, 10, b"one"), Ok((5 * DAY, 0)));
        let restarted = begin(9 * DAY, 1010, b"one");
        assert_eq!(restarted, Ok((5 * DAY + 1000, 1000)));
        let rebooted = begin(9 * DAY, 10, b"two");
        assert_eq!(rebooted, Ok((9 * DAY, 1000)), "what was skipped is kept");
        let rebooted = begin(8 * DAY, 10, b"three");
        assert_eq!(rebooted, Ok((9 * DAY, 1000)));
        dir.damage(CLOCK_FILE, |bytes| bytes[30] ^= 1).unwrap();
        let damaged = begin(9 * DAY, 20, b"three").unwrap_err();
        assert!(damaged.contains("remove the file"), "{damaged}");
    }

    #[test]
    fn a_full_disk_keeps_no_broker_from_starting() {
        let dir = MemDir::new();
        open(&dir, Arc::new(Machine(5 * DAY, 10)), b"one".to_vec()).unwrap();
        dir.set_capacity(0);
        let clock = open(&dir, Arc::new(Machine(9 * DAY, 1010)), b"one".to_vec()).unwrap();
        assert_eq!(clock.now().0, 5 * DAY + 1000);
    }
}
