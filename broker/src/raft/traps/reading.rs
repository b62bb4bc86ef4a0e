//! Reading entries that are purged, or not in memory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt, poll};
use openraft::storage::RaftLogReader;

use super::*;
use crate::log::Job;

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

/// A disk whose jobs wait while it is held.
#[derive(Clone, Default)]
struct Held(Arc<(AtomicBool, Mutex<Vec<Job>>)>);

impl Held {
    fn disk(&self) -> MemDir {
        let held = self.clone();
        MemDir::with_schedule(Arc::new(move |job: Job| {
            match held.0.0.load(Ordering::SeqCst) {
                true => held.0.1.lock().unwrap().push(job),
                false => job(),
            }
        }))
    }

    fn hold(&self) {
        self.0.0.store(true, Ordering::SeqCst);
    }

    /// Runs what waits; gives how much it was.
    fn release(&self) -> usize {
        self.0.0.store(false, Ordering::SeqCst);
        let jobs = std::mem::take(&mut *self.0.1.lock().unwrap());
        let count = jobs.len();
        jobs.into_iter().for_each(|job| job());
        count
    }
}

#[tokio::test]
async fn entries_that_are_applied_are_read_from_the_disk_on_an_io_thread() {
    let held = Held::default();
    let disk = Disk::of_a_leader_on(held.disk()).await;
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
