//! Reading entries that are purged, or not in memory.

use std::pin::pin;

use futures_util::{StreamExt, poll};
use openraft::storage::RaftLogReader;
use tokio::time::timeout;

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

/// A replica whose first file, with its entries up to 4, is full and, opened anew, cold. A large entry
/// begins the next file.
async fn cold_store(root: MemDir) -> LogStore {
    let disk = Disk::of_a_leader_on(root).await;
    let body = Bytes::from(vec![7; 2 << 20]);
    let large = NewFrame {
        kind: FrameKind::Command,
        body,
        ..blank(TERM, 5)
    };
    disk.log().append([large], Box::new(drop)).unwrap();
    disk.store().await
}

#[tokio::test]
async fn entries_that_are_applied_are_read_from_the_disk_on_an_io_thread() {
    let (mut held, dir) = HeldDisk::new();
    let mut store = cold_store(dir).await;
    let mut entries = store.get_log_reader().await;

    held.hold();
    let mut stream = entries.entries_stream(0..5).await;
    assert!(poll!(stream.next()).is_pending(), "it waits for the disk");
    assert_eq!(held.release(), 1);
    assert_eq!(stream.next().await.unwrap().unwrap().log_id.index, 0);
    assert_eq!(stream.count().await, 4);
}

/// Drives a call, which has to read what is cold, while the system lacks memory; a moment later it has
/// some again.
async fn outlasts<T>(dir: &MemDir, call: impl Future<Output = T>) -> T {
    dir.refuse_reads(true);
    let mut call = pin!(call);
    let first = timeout(Duration::from_millis(20), &mut call).await;
    assert!(first.is_err(), "it was not read");
    dir.refuse_reads(false);
    timeout(LIMIT, call).await.unwrap()
}

#[tokio::test]
async fn a_replica_reads_a_moment_later_what_the_system_lacked_memory_for() {
    let cold = || async {
        let dir = MemDir::new();
        let mut store = cold_store(dir.clone()).await;
        let entries = store.get_log_reader().await;
        (dir, store, entries)
    };
    let (dir, _, mut entries) = cold().await;
    let read = outlasts(&dir, entries.limited_get_log_entries(1, 3)).await;
    assert_eq!(read.unwrap().len(), 2);

    let (dir, _, mut entries) = cold().await;
    let applied = entries.entries_stream(0..5).await;
    let applied: Vec<_> = outlasts(&dir, applied.collect()).await;
    assert_eq!(applied.into_iter().filter_map(Result::ok).count(), 5);

    let (dir, mut store, mut entries) = cold().await;
    let purge = store.purge(log_id(TERM, LogIndex(1)));
    outlasts(&dir, purge).await.unwrap();
    let left = entries.try_get_log_entries(0..5).await;
    assert_eq!(left.unwrap().len(), 3);

    let (dir, mut store, _) = cold().await;
    let cut = store.truncate_after(Some(log_id(TERM, LogIndex(3))));
    outlasts(&dir, cut).await.unwrap();
    assert_eq!(store.last_log_id(), Some(log_id(TERM, LogIndex(3))));
}
