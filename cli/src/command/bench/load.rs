//! One producer of the bench, on a thread of its own: what it sends and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use highwater_client::{Deliveries, Delivery, Error, PartitionIndex, Producer, Record, Timestamp};
use tokio::sync::mpsc::UnboundedSender;

use super::clock::Clock;
use super::pace::{Pace, wait_until};
use super::record::{Content, Source, Stamp, WARM_UP};
use super::verify::Sent;

/// Records sent between two looks at the clock, where there is no rate.
const CHUNK: u64 = 32;

/// Records of a partition on their way.
#[derive(Debug)]
pub(super) enum Chunk {
    /// Each with the time at which it was due.
    Each(Vec<(Delivery, u64)>),
    /// All due at one time.
    Together(Deliveries, u64),
}

/// How much one client sends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    /// This many records.
    Records(u64),
    /// Until this time has passed.
    Duration(Duration),
}

/// What all clients of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) run: u64,
    pub(super) clock: Clock,
    pub(super) content: Content,
    /// Records sent so far.
    pub(super) sent: AtomicU64,
    /// Records read so far.
    pub(super) read: AtomicU64,
    /// Nobody waits for the result any more.
    pub(super) stopped: AtomicBool,
}

/// One client.
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    producer: Producer,
    client: u32,
    source: Source,
    size: usize,
    /// The values of the records that are sent together.
    values: Vec<u8>,
    spread: Spread,
    /// The next number in each partition.
    next: Vec<u64>,
    /// Where deliveries go, by partition; dropped when nobody asks.
    acks: Vec<UnboundedSender<Chunk>>,
}

/// Which partition comes next: one stays so for a batch's worth of bytes, so that batches fill.
#[derive(Debug)]
struct Spread {
    partitions: u32,
    current: u32,
    filled: u64,
    batch: u64,
}

impl Load {
    pub(super) fn new(
        shared: Arc<Shared>,
        producer: Producer,
        client: u32,
        size: usize,
        batch: usize,
    ) -> Self {
        let partitions = producer.partition_count();
        let any = Stamp {
            run: shared.run,
            client,
            sequence: 0,
            time: 0,
        };
        Self {
            shared,
            producer,
            client,
            source: any.source(size),
            size,
            values: vec![0; size],
            spread: Spread {
                partitions,
                current: client % partitions,
                filled: 0,
                batch: batch as u64,
            },
            next: vec![0; partitions as usize],
            acks: Vec::new(),
        }
    }

    /// Has every delivery sent to whoever follows them, by partition.
    pub(super) fn followed_by(&mut self, acks: Vec<UnboundedSender<Chunk>>) {
        self.acks = acks;
    }

    /// Sends one record to each partition and waits until they are durable: connections are open
    /// and leaders known then.
    pub(super) async fn warm_up(&mut self) -> Result<(), Error> {
        let mut deliveries = Vec::new();
        for partition in 0..self.spread.partitions {
            let wall = wall();
            deliveries.push(self.send(partition, WARM_UP, wall).await?);
        }
        for delivery in deliveries {
            delivery.await?;
        }
        Ok(())
    }

    /// Sends records from `start` on, given in nanoseconds of the clock, and waits until all are
    /// acknowledged or have failed. Gives what was sent, warming up included, and the first
    /// failure. Blocks its thread to pace.
    pub(super) async fn run(
        mut self,
        start: u64,
        pace: Option<Pace>,
        limit: Limit,
    ) -> (Sent, Option<Error>) {
        let ended = match pace {
            Some(pace) => self.send_paced(start, pace, limit).await,
            None => self.send_freely(start, limit).await,
        };
        self.acks.clear();
        let flushed = self.producer.flush().await;
        let counts = (0..).zip(&self.next);
        let sent = counts.map(|(partition, count)| ((partition, self.client), *count));
        (sent.collect(), ended.and(flushed).err())
    }

    async fn send_paced(&mut self, start: u64, pace: Pace, limit: Limit) -> Result<(), Error> {
        let total = match limit {
            Limit::Records(records) => records,
            Limit::Duration(time) => pace.due(nanos(time).saturating_sub(1)),
        };
        let mut done = 0;
        while done < total && !self.is_stopped() {
            let due = pace.due(self.shared.clock.nanos().saturating_sub(start));
            if due <= done {
                let next = start + pace.time_of(done);
                wait_until(self.shared.clock.begin(), next);
                continue;
            }
            let count = (due.min(total) - done).min(CHUNK);
            let times = (done..done + count).map(|number| start + pace.time_of(number));
            self.send_chunk(times).await?;
            self.spread.advance();
            done += count;
        }
        Ok(())
    }

    async fn send_freely(&mut self, start: u64, limit: Limit) -> Result<(), Error> {
        let (total, end) = match limit {
            Limit::Records(records) => (records, u64::MAX),
            Limit::Duration(time) => (u64::MAX, start.saturating_add(nanos(time))),
        };
        let size = self.size as u64;
        let chunk = CHUNK.min(self.spread.batch / size).max(1);
        let mut done = 0;
        while done < total && !self.is_stopped() {
            let now = self.shared.clock.nanos();
            if now >= end {
                break;
            }
            let count = chunk.min(total - done);
            self.send_together(count, now).await?;
            self.spread.fill(count * size);
            done += count;
        }
        Ok(())
    }

    /// Sends records that are due at these times to the current partition.
    async fn send_chunk(&mut self, times: impl Iterator<Item = u64>) -> Result<(), Error> {
        let partition = self.spread.current;
        let wall = wall();
        let followed = !self.acks.is_empty();
        let mut chunk = Vec::with_capacity(if followed { times.size_hint().0 } else { 0 });
        let mut count = 0;
        for time in times {
            let delivery = self.send(partition, time, wall).await?;
            count += 1;
            if followed {
                chunk.push((delivery, time));
            }
        }
        self.shared.sent.fetch_add(count, Ordering::Relaxed);
        if let Some(acks) = self.acks.get(partition as usize) {
            // Whoever follows them lives until this side is dropped.
            drop(acks.send(Chunk::Each(chunk)));
        }
        Ok(())
    }

    /// Sends so many records, all due at `time`, to the current partition.
    async fn send_together(&mut self, count: u64, time: u64) -> Result<(), Error> {
        let partition = self.spread.current;
        let wall = wall();
        let next = &mut self.next[partition as usize];
        let mut stamp = Stamp {
            run: self.shared.run,
            client: self.client,
            sequence: *next,
            time,
        };
        let len = usize::try_from(count).unwrap_or(1) * self.size;
        self.values.resize(len, 0);
        for value in self.values.chunks_exact_mut(self.size) {
            self.shared.content.write(self.source, stamp, value);
            stamp.sequence += 1;
        }
        let records = self.values.chunks_exact(self.size).map(|value| {
            let record = Record::new(value).partition(PartitionIndex(partition));
            record.timestamp(wall)
        });
        let records: Vec<Record<'_>> = records.collect();
        let sent = self.producer.send_all(&records).await?;
        *next += count;
        self.shared.sent.fetch_add(count, Ordering::Relaxed);
        if let Some(acks) = self.acks.get(partition as usize) {
            drop(acks.send(Chunk::Together(sent, time)));
        }
        Ok(())
    }

    #[inline]
    async fn send(
        &mut self,
        partition: u32,
        time: u64,
        wall: Timestamp,
    ) -> Result<Delivery, Error> {
        let next = &mut self.next[partition as usize];
        let stamp = Stamp {
            run: self.shared.run,
            client: self.client,
            sequence: *next,
            time,
        };
        let content = &self.shared.content;
        let value = &mut self.values[..self.size];
        content.write(self.source, stamp, value);
        let record = Record::new(&*value)
            .partition(PartitionIndex(partition))
            .timestamp(wall);
        let delivery = self.producer.send(record).await?;
        *next += 1;
        Ok(delivery)
    }

    fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Relaxed)
    }
}

impl Spread {
    fn fill(&mut self, bytes: u64) {
        self.filled += bytes;
        if self.filled >= self.batch {
            self.advance();
        }
    }

    fn advance(&mut self) {
        self.current = (self.current + 1) % self.partitions;
        self.filled = 0;
    }
}

/// The share of `records` that `client`, one of `clients`, sends.
pub(super) fn share(records: u64, clients: u32, client: u32) -> u64 {
    let more = records % u64::from(clients) > u64::from(client);
    records / u64::from(clients) + u64::from(more)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn wall() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_share_all_records() {
        for (records, clients) in [(10, 3), (2, 5), (0, 1), (1_000_003, 7)] {
            let shares = (0..clients).map(|client| share(records, clients, client));
            assert_eq!(shares.sum::<u64>(), records);
        }
    }

    #[test]
    fn a_partition_stays_until_its_batch_is_full() {
        let mut spread = Spread {
            partitions: 3,
            current: 1,
            filled: 0,
            batch: 100,
        };
        let visited: Vec<u32> = (0..6)
            .map(|_| {
                let current = spread.current;
                spread.fill(60);
                current
            })
            .collect();
        assert_eq!(visited, [1, 1, 2, 2, 0, 0]);
    }
}
