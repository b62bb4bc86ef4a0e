//! The log as a whole, on the disk in memory and on the real one.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::batch::{BatchBuilder, Codec};
use highwater_proto::{ClusterId, LogIndex, Offset, ReplicaId, Term, Timestamp};

use super::{
    Dir, Frame, FrameKind, FsDir, Log, LogOptions, LogReader, MemDir, NewFrame, Owner, Source,
    SyncDone,
};

mod accounting;
mod basics;
mod cold;
mod cuts;
mod damage;
mod divergence;
mod failing_disk;
mod files;
mod flushing;
mod format;
mod maps;
mod model;
mod recycled;
mod rot;
mod unreadable;

pub(super) fn owner() -> Owner {
    Owner {
        cluster: ClusterId::from_bytes([7; 16]),
        group: [9; 16],
        partition: 3,
        replica: ReplicaId(42),
    }
}

/// Segments so small that everything rolls.
pub(super) fn tiny() -> LogOptions {
    LogOptions {
        first_segment_bytes: 8 << 10,
        max_segment_bytes: 16 << 10,
        max_unsynced_bytes: 16 << 10,
        ..LogOptions::new(owner())
    }
}

pub(super) fn open(dir: &MemDir) -> Log {
    Log::open(Arc::new(dir.clone()), tiny()).unwrap().0
}

/// A directory with one file of exactly these bytes.
pub(super) fn disk_with(name: &str, bytes: &[u8]) -> MemDir {
    let dir = MemDir::new();
    dir.create(name, bytes.len() as u64).unwrap();
    dir.sync_dir().unwrap();
    dir.damage(name, |stored| stored.copy_from_slice(bytes))
        .unwrap();
    dir
}

/// A batch as a producer sends it, its values about `payload` bytes in all.
pub(super) fn batch(records: u32, payload: usize, time: i64) -> Bytes {
    let mut builder = BatchBuilder::new();
    let value = vec![time as u8; payload / records as usize];
    for _ in 0..records {
        builder.push(Timestamp(time), None, Some(&value), &[]);
    }
    builder.build(Codec::None, None).unwrap()
}

pub(super) fn local(term: u64, index: u64, kind: FrameKind, body: Bytes) -> NewFrame {
    let source = Source::Local {
        append_time: Timestamp(1_000 + index as i64),
    };
    NewFrame {
        term: Term(term),
        index: LogIndex(index),
        kind,
        body,
        source,
    }
}

pub(super) fn batch_frame(index: u64, records: u32, payload: usize) -> NewFrame {
    local(
        1,
        index,
        FrameKind::Batch,
        batch(records, payload, 1_000 + index as i64),
    )
}

pub(super) fn ignore() -> SyncDone {
    Box::new(|_| {})
}

/// What callbacks were called, in order.
#[derive(Clone, Default)]
pub(super) struct Calls(Arc<Mutex<Vec<(u64, bool)>>>);

impl Calls {
    pub(super) fn expect(&self, number: u64) -> SyncDone {
        let calls = Arc::clone(&self.0);
        Box::new(move |result| calls.lock().unwrap().push((number, result.is_ok())))
    }

    pub(super) fn seen(&self) -> Vec<(u64, bool)> {
        self.0.lock().unwrap().clone()
    }
}

pub(super) fn all(log: &Log) -> Vec<Frame> {
    let reader = log.reader();
    reader
        .frames(reader.first_index(), LogIndex(u64::MAX), usize::MAX)
        .unwrap()
}

pub(super) fn append_and_wait(log: &mut Log, frames: Vec<NewFrame>) {
    let (sender, receiver) = mpsc::channel();
    log.append(frames, Box::new(move |result| sender.send(result).unwrap()))
        .unwrap();
    receiver
        .recv_timeout(Duration::from_secs(20))
        .unwrap()
        .unwrap();
}

pub(super) fn on_both(test: impl Fn(Arc<dyn Dir>)) {
    test(Arc::new(MemDir::new()));
    let home = tempfile::tempdir().unwrap();
    test(Arc::new(FsDir::open(home.path(), 2).unwrap()));
}

/// Waits until all background work is done.
pub(super) fn until_settled(dir: &dyn Dir) {
    let (done, all_done) = mpsc::channel();
    dir.offload(Box::new(move || done.send(()).unwrap()));
    all_done.recv_timeout(Duration::from_secs(30)).unwrap();
}

/// Makes it long ago that anything of the log was written or read.
pub(crate) fn long_after(reader: &LogReader) {
    let view = reader.view.load();
    for part in view.sealed.iter().chain(&view.active) {
        part.segment.warmth.grow_old();
    }
}

pub(super) fn offsets(log: &Log, from: u64, end: u64, max: usize) -> Vec<(u64, u64)> {
    let batches = log
        .reader()
        .read_committed(Offset(from), Offset(end), max)
        .unwrap();
    batches
        .iter()
        .map(|batch| (batch.base_offset.0, batch.next_offset.0))
        .collect()
}

/// The index of the last entry in `dir`; 0 for none.
pub(super) fn last_index(dir: &MemDir) -> u64 {
    open(dir).last().map_or(0, |last| last.index.0)
}
