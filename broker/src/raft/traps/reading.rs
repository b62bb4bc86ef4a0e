//! Reading entries that are purged, or not in memory.

use futures_util::{StreamExt, poll};
use openraft::storage::RaftLogReader;

use super::*;
use crate::log::HeldDisk;

#[tokio::test]
async fn who_reads_below_the_purged_floor_gets_nothing_and_no_error() {
    let disk = Disk::of_a_leader().await;
    let mut store = disk.store().await;
    let mut entries = store.get_log_reader().await;
    store.purge(log_id(TERM, LogIndex(2))).await.unwrap();
    let indexes = |entries: Vec<types::Entry>| -> Vec<u64> {
        entries.iter().map(|entry| entry.log_id.index).collect()
    };
    for start in 0..=2 {
        let limited = entries.limited_get_log_entries(start, 5).await.unwrap();
        assert_eq!(indexes(limited), [0; 0], "from {start}");
        let all = entries.try_get_log_entries(start..5).await.unwrap();
        assert_eq!(indexes(all), [3, 4], "from {start}");
        let gone = entries.try_get_log_entries(start..3).await.unwrap();
        assert_eq!(indexes(gone), [0; 0], "from {start}");
        let stream = entries.entries_stream(start..5).await;
        let stream: Vec<_> = stream.map(Result::unwrap).collect().await;
        assert_eq!(indexes(stream), [3, 4], "from {start}");
    }
    let limited = entries.limited_get_log_entries(3, 5).await.unwrap();
    assert_eq!(indexes(limited), [3, 4]);
}

#[tokio::test]
async fn entries_that_are_applied_are_read_from_the_disk_on_an_io_thread() {
    let (mut held, dir) = HeldDisk::new();
    let disk = Disk::of_a_leader_on(dir).await;
    // A large entry begins the next file, so that the first one is full and, opened anew, cold.
    let body = Bytes::from(vec![7; 2 << 20]);
    let large = NewFrame {
        kind: FrameKind::Command,
        body,
        ..blank(TERM, 5)
    };
    disk.log().append([large], Box::new(drop)).unwrap();
    let mut store = disk.store().await;
    let mut entries = store.get_log_reader().await;

    held.hold();
    let mut stream = entries.entries_stream(0..5).await;
    assert!(poll!(stream.next()).is_pending(), "it waits for the disk");
    assert_eq!(held.release(), 1);
    assert_eq!(stream.next().await.unwrap().unwrap().log_id.index, 0);
    assert_eq!(stream.count().await, 4);
}
