//! The connections of one consumer. They are its own, so that a slow reader holds up nobody else, and
//! as many as its subscriptions need: each is a stream that does not end, brokers take so many streams
//! of a connection, and what comes beyond those would wait for ever.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use highwater_proto::PartitionIndex;

use crate::channels::{Address, Api, Channels, Windows};
use crate::error::Result;

/// How many partitions share a connection. Brokers take 1,024 streams; there is room for those that
/// are given up and whose end the broker has yet to see.
const TOGETHER: u32 = 512;
/// The bounds of what a connection may be ahead of its readers.
const WINDOW: (usize, usize) = (64 << 10, i32::MAX as usize);
/// The most that one subscription may be ahead of its reader.
const STREAM_WINDOW: usize = 8 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Connections {
    windows: Windows,
    // guards: the connections; held only to look one up.
    open: Mutex<HashMap<(Address, u32), Api>>,
}

impl Connections {
    /// Connections over which each broker may send `prefetch` bytes ahead, whichever of `partitions`
    /// it serves.
    pub(super) fn new(
        prefetch: usize,
        partitions: impl IntoIterator<Item = PartitionIndex>,
    ) -> Self {
        Self {
            windows: windows(prefetch, partitions),
            open: Mutex::default(),
        }
    }

    /// The connection to `address` that the partition shares.
    pub(super) fn get(
        &self,
        channels: &Channels,
        address: &Address,
        partition: PartitionIndex,
    ) -> Result<Api> {
        let key = (Arc::clone(address), group(partition));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(api) = open.get(&key) {
            return Ok(api.clone());
        }
        let api = channels.dedicated(address, self.windows)?;
        open.insert(key, api.clone());
        Ok(api)
    }
}

fn group(partition: PartitionIndex) -> u32 {
    partition.0 / TOGETHER
}

/// What each of the connections to a broker that serves all of `partitions` may be ahead.
fn windows(prefetch: usize, partitions: impl IntoIterator<Item = PartitionIndex>) -> Windows {
    let groups: BTreeSet<u32> = partitions.into_iter().map(group).collect();
    let (least, most) = WINDOW;
    let share = (prefetch / groups.len().max(1)).clamp(least, most);
    Windows {
        stream: share.min(STREAM_WINDOW) as u32,
        connection: share as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(prefetch: usize, partitions: &[u32]) -> (u32, u32) {
        let partitions = partitions.iter().copied().map(PartitionIndex);
        let windows = windows(prefetch, partitions);
        (windows.stream, windows.connection)
    }

    #[test]
    fn connections_share_what_a_broker_may_send_ahead() {
        assert_eq!(all(16 << 20, &[]), (8 << 20, 16 << 20));
        assert_eq!(all(16 << 20, &[0, 511]), (8 << 20, 16 << 20));
        assert_eq!(all(16 << 20, &[9000]), (8 << 20, 16 << 20));
        assert_eq!(
            all(16 << 20, &[0, 511, 512, 1024, 9000]),
            (4 << 20, 4 << 20)
        );
        assert_eq!(all(0, &[0]), (64 << 10, 64 << 10));
        assert_eq!(all(usize::MAX, &[0]), (8 << 20, i32::MAX as u32));
    }
}
