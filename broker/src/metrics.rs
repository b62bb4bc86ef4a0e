//! What the broker counts and measures, and how `/metrics` shows it: every name, label and unit is in
//! `text`. Recording costs a relaxed atomic or two, per batch and never per record; whatever can be
//! looked up when somebody asks ([`Gauges`]) is not recorded at all.

mod gauges;
mod latency;
mod requests;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};

use highwater_proto::Reason;

pub use gauges::{Gauges, PartitionGauges};
pub use latency::Latency;
pub use requests::{Method, Requests};
pub use text::render;

/// A number that rises. Clones would count apart, so there are none.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Connections of one listener.
#[derive(Debug, Default)]
pub struct Connections {
    accepted: Counter,
    closed: Counter,
}

impl Connections {
    /// Notes that a client has connected.
    pub fn accept(&self) {
        self.accepted.add(1);
    }

    /// Notes that a connection is gone.
    pub fn close(&self) {
        self.closed.add(1);
    }

    fn open(&self) -> u64 {
        let closed = self.closed.get();
        self.accepted.get().saturating_sub(closed)
    }
}

/// Records of clients, in one direction. The batches are counted by what measures them.
#[derive(Debug, Default)]
pub struct Traffic {
    records: Counter,
    bytes: Counter,
}

impl Traffic {
    /// Adds records and the bytes of their batches, headers included.
    pub fn add(&self, records: u64, bytes: u64) {
        self.records.add(records);
        self.bytes.add(bytes);
    }
}

/// Everything that is counted and measured while it happens. One for each broker.
#[derive(Debug)]
pub struct Metrics {
    /// From the arrival of a batch at its partition to its proposal: the wait for the partition's
    /// budget, its queue, and its judgement. Each batch once.
    pub produce_queue: Latency,
    /// From the proposal of a batch until it is committed and applied: writing, syncing and
    /// replicating, as far as they are not at the same time. Each committed batch once.
    pub produce_commit: Latency,
    /// One request with entries to one follower: from taking it up until the follower has said that
    /// the entries are on its disk. The wait until it may be sent is included.
    pub replicate: Latency,
    /// What was committed, without repetitions.
    pub produced: Traffic,
    /// Batches that were in the log already.
    pub duplicate_batches: Counter,
    produce_errors: Vec<Counter>,
    /// Reading and preparing one reply to a consumer, without waiting for data.
    pub fetch: Latency,
    /// What was read for consumers.
    pub fetched: Traffic,
    /// The batches of it.
    pub fetched_batches: Counter,
    /// Giving bytes of a file to the system.
    pub log_write: Latency,
    /// The bytes given.
    pub log_written_bytes: Counter,
    /// From asking for a sync of a file until it is done, the wait for a thread included.
    pub log_sync: Latency,
    /// Syncs that failed; the broker stops after one.
    pub log_sync_errors: Counter,
    /// Segment files that were made of free space.
    pub made_segments: Counter,
    /// Segment files that were given back and became the next one of their log.
    pub reused_segments: Counter,
    /// Segment files that were given back because nobody can read them any more.
    pub deleted_segments: Counter,
    /// The bytes they took on the disk.
    pub deleted_bytes: Counter,
    /// Times that this broker came to lead a partition.
    pub leaderships: Counter,
    /// Times that a broker which did not answer was suspected of having failed.
    pub suspicions: Counter,
    /// Replicas here that stopped by themselves or could not be opened.
    pub replica_failures: Counter,
    /// Calls of clients.
    pub requests: Requests,
    /// Connections of clients.
    pub clients: Connections,
    /// Connections of other brokers.
    pub peers: Connections,
}

impl Metrics {
    /// Everything at nothing. `methods` are the calls that are told apart, as `Service/Method`.
    pub fn new(methods: impl IntoIterator<Item = &'static str>) -> Self {
        let reasons = Reason::ALL.iter().map(|_| Counter::default());
        Self {
            produce_queue: Latency::default(),
            produce_commit: Latency::default(),
            replicate: Latency::default(),
            produced: Traffic::default(),
            duplicate_batches: Counter::default(),
            produce_errors: reasons.collect(),
            fetch: Latency::default(),
            fetched: Traffic::default(),
            fetched_batches: Counter::default(),
            log_write: Latency::default(),
            log_written_bytes: Counter::default(),
            log_sync: Latency::default(),
            log_sync_errors: Counter::default(),
            made_segments: Counter::default(),
            reused_segments: Counter::default(),
            deleted_segments: Counter::default(),
            deleted_bytes: Counter::default(),
            leaderships: Counter::default(),
            suspicions: Counter::default(),
            replica_failures: Counter::default(),
            requests: Requests::new(methods),
            clients: Connections::default(),
            peers: Connections::default(),
        }
    }

    /// Counts a batch that was not taken, or whose fate is not known.
    pub fn produce_error(&self, reason: Reason) {
        let all = Reason::ALL.iter().zip(&self.produce_errors);
        for (_, count) in all.filter(|(known, _)| **known == reason) {
            count.add(1);
        }
    }

    fn produce_errors(&self) -> impl Iterator<Item = (Reason, u64)> {
        let counts = self.produce_errors.iter().map(Counter::get);
        Reason::ALL.iter().copied().zip(counts)
    }
}

#[cfg(test)]
mod tests;
