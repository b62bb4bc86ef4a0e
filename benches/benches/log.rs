//! What an append costs without its sync, and what a fetch costs from the page cache.
//!
//! Napkin: a `pwritev` of 4 KiB into cached, already written pages is about 1 us and of 64 KiB about
//! 7 us; the log may add a few hundred nanoseconds. A fetch is a view, a search and reference counts.

#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use std::error::Error;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use bytes::Bytes;
use highwater_benches::median;
use highwater_broker::log::dir::Job;
use highwater_broker::log::{
    Dir, File, FrameKind, FsDir, Log, LogOptions, LogReader, NewFrame, Owner, Source, Space,
    SyncDone,
};
use highwater_proto::batch::{BatchBuilder, Codec};
use highwater_proto::{ClusterId, LogIndex, Offset, ReplicaId, Term, Timestamp};

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let place = std::env::var("HIGHWATER_BENCH_DIR").unwrap_or_else(|_| ".".to_owned());
    let home = tempfile::tempdir_in(place)?;
    let dir = FsDir::open(home.path(), 2)?;
    for (name, records, appends) in [("4KiB", 38, 20_000), ("64KiB", 600, 4_000)] {
        let body = batch(records)?;
        let size = body.len();
        let each = raw_write(&dir, &body, appends)?;
        println!("raw write of {size} bytes into a new file: {each}");
        let unsynced = NoSync(dir.subdir(&format!("{name}-unsynced"))?);
        let mut log = open(Arc::new(unsynced))?;
        let mut times = Vec::new();
        for index in 1..=appends {
            let start = Instant::now();
            append(&mut log, &body, index, 1, || Box::new(|_| {}))?;
            times.push(start.elapsed().as_nanos());
        }
        println!("append of {size} bytes, not synced: {}", median(times));
        let next_offset = log.next_offset();
        fetch(&log.reader(), next_offset, 1, "one batch")?;
        fetch(&log.reader(), next_offset, 1 << 20, "1 MiB")?;
        drop(log);
        let start = Instant::now();
        let log = open(dir.subdir(&format!("{name}-unsynced"))?)?;
        let (files, took) = (log.reader().segments().len(), start.elapsed());
        println!("  open of {files} files, closed and never synced: {took:?}");
        drop(log);
        let start = Instant::now();
        open(dir.subdir(&format!("{name}-unsynced"))?)?;
        println!("  open again: {:?}", start.elapsed());
        let mut log = open(dir.subdir(name)?)?;
        let (sender, receiver) = mpsc::channel();
        let mut times = Vec::new();
        for index in 1..=500 {
            let start = Instant::now();
            let sender = sender.clone();
            append(&mut log, &body, index, 1, || {
                let sender = sender.clone();
                Box::new(move |result| sender.send(result.is_ok()).unwrap_or_default())
            })?;
            if !receiver.recv()? {
                return Err("a sync failed".into());
            }
            times.push(start.elapsed().as_nanos());
        }
        println!("  append, synced before the next: {}", median(times));
    }
    for io_threads in [1, 4, 16, 32] {
        many_partitions(home.path(), io_threads)?;
    }
    Ok(())
}

/// The floor: the same bytes written through the same seam, without a log.
fn raw_write(dir: &FsDir, body: &Bytes, count: u64) -> Result<String, Failure> {
    let len = body.len() as u64;
    let file = dir.create("raw", len * count)?;
    let mut times = Vec::new();
    for at in 0..count {
        let start = Instant::now();
        file.write_at(&[IoSlice::new(body)], at * len)?;
        times.push(start.elapsed().as_nanos());
    }
    dir.remove("raw")?;
    Ok(median(times))
}

/// 64 partitions, one batch of 4 KiB of each in flight: how many are durable per second.
fn many_partitions(home: &Path, io_threads: usize) -> Result<(), Failure> {
    const LOGS: usize = 64;
    const ROUNDS: usize = 40;
    let dir = FsDir::open(home.join(format!("many-{io_threads}")), io_threads)?;
    let body = batch(38)?;
    let mut logs = Vec::new();
    for number in 0..LOGS {
        logs.push((open(dir.subdir(&number.to_string())?)?, 0));
    }
    let (sender, receiver) = mpsc::channel();
    let send = |number: usize, logs: &mut Vec<(Log, u64)>| -> Result<(), Failure> {
        let Some((log, index)) = logs.get_mut(number) else {
            return Err("no such log".into());
        };
        *index += 1;
        append(log, &body, *index, 1, || {
            let sender = sender.clone();
            Box::new(move |result| {
                sender.send((number, result.is_ok())).unwrap_or_default();
            })
        })
    };
    for number in 0..LOGS {
        send(number, &mut logs)?;
    }
    let mut start = Instant::now();
    for done in 0..LOGS * ROUNDS {
        if done == LOGS {
            start = Instant::now();
        }
        let (number, durable) = receiver.recv()?;
        if !durable {
            return Err("a sync failed".into());
        }
        send(number, &mut logs)?;
    }
    let rate = (LOGS * (ROUNDS - 1)) as f64 / start.elapsed().as_secs_f64();
    println!("64 partitions, 4 KiB batches, {io_threads} I/O threads: {rate:.0} durable batches/s");
    Ok(())
}

fn open(dir: Arc<dyn Dir>) -> Result<Log, Failure> {
    let mut options = LogOptions::new(Owner {
        cluster: ClusterId::from_bytes([1; 16]),
        group: [2; 16],
        partition: 0,
        replica: ReplicaId(1),
    });
    options.max_unsynced_bytes = 1 << 40;
    Ok(Log::open(dir, options)?.0)
}

/// A directory that says a file is synced when nothing was done about it.
#[derive(Debug)]
struct NoSync(Arc<dyn Dir>);

#[derive(Debug)]
struct NoSyncFile(Arc<dyn File>);

impl Dir for NoSync {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(NoSyncFile(self.0.create(name, len)?)))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(NoSyncFile(self.0.open(name)?)))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn disk_bytes(&self) -> io::Result<u64> {
        self.0.disk_bytes()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn is_in_use(&self, name: &str) -> io::Result<bool> {
        self.0.is_in_use(name)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        self.0.subdir(name)
    }
    fn list_subdirs(&self) -> io::Result<Vec<String>> {
        self.0.list_subdirs()
    }
    fn remove_subdir(&self, name: &str) -> io::Result<()> {
        self.0.remove_subdir(name)
    }
    fn offload(&self, job: Job) {
        self.0.offload(job);
    }
    fn run_beside(&self, job: Job) {
        self.0.run_beside(job);
    }
    fn run_apart(&self, job: Job) {
        self.0.run_apart(job);
    }
    fn space(&self) -> &Space {
        self.0.space()
    }

    fn space_now(&self) -> &Space {
        self.0.space_now()
    }
}

impl File for NoSyncFile {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.0.write_at(parts, position)
    }
    fn slice(&self, range: Range<u64>) -> Bytes {
        self.0.slice(range)
    }
    fn sync(&self, done: SyncDone) {
        done(Ok(()));
    }
    fn sync_now(&self) -> io::Result<()> {
        Ok(())
    }
    fn give_back(&self, position: u64) -> io::Result<()> {
        self.0.give_back(position)
    }
    fn disk_bytes(&self) -> io::Result<u64> {
        self.0.disk_bytes()
    }

    fn make_resident(&self, range: Range<u64>) -> io::Result<()> {
        self.0.make_resident(range)
    }
}

fn batch(records: u32) -> Result<Bytes, Failure> {
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.push(Timestamp(1), None, Some(&[7; 100]), &[]);
    }
    Ok(builder.build(Codec::None, None)?)
}

fn append(
    log: &mut Log,
    body: &Bytes,
    first: u64,
    count: u64,
    done: impl Fn() -> SyncDone,
) -> Result<(), Failure> {
    for index in first..first + count {
        let frame = NewFrame {
            term: Term(1),
            index: LogIndex(index),
            kind: FrameKind::Batch,
            body: body.clone(),
            source: Source::Local {
                append_time: Timestamp(index as i64),
            },
        };
        log.append([frame], done())?;
    }
    Ok(())
}

fn fetch(reader: &LogReader, end: Offset, max_bytes: usize, what: &str) -> Result<(), Failure> {
    let mut times = Vec::new();
    let (mut from, mut batches) = (Offset::ZERO, 0);
    while from < end {
        let start = Instant::now();
        let read = reader.read_committed(from, end, max_bytes)?;
        let Some(last) = read.last() else {
            return Err("a committed read returned nothing below its end".into());
        };
        from = last.next_offset;
        batches += read.len();
        drop(read);
        times.push(start.elapsed().as_nanos());
    }
    let per_read = batches / times.len();
    println!(
        "  read_committed of {what}, {per_read} batches: {}",
        median(times)
    );
    Ok(())
}
