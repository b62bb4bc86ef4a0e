//! How a producer is set up.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::Reason;
use highwater_proto::batch::Codec;

use super::accumulator::Accumulator;
use super::budget::Budget;
use super::buffers::Buffers;
use super::identity::{self, Asking};
use super::partitioner::Partitioner;
use super::rules::Rules;
use super::sender::Sender;
use super::sender::session::Target;
use super::shared::Shared;
use super::{Handle, Producer};
use crate::client::Client;
use crate::entropy;
use crate::error::{Error, Result};
use crate::patience::at_most_a_year;

/// Settings of a [`Producer`]. None of them changes what is promised: each record once, in the
/// order of the calls per partition. Nothing is asked of the cluster before
/// [`build`](Self::build), which also refuses values that cannot be.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ProducerBuilder {
    client: Client,
    topic: String,
    name: Option<Arc<str>>,
    codec: Codec,
    linger: Duration,
    batch_bytes: usize,
    buffer_bytes: Option<usize>,
    max_in_flight: usize,
    delivery_timeout: Duration,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client, topic: String) -> Self {
        Self {
            client,
            topic,
            name: None,
            codec: Codec::None,
            linger: Duration::ZERO,
            batch_bytes: 256 << 10,
            buffer_bytes: None,
            max_in_flight: 5,
            delivery_timeout: Duration::from_secs(120),
        }
    }

    /// The name under which the producer is known, of 1 to 249 letters, digits, '.', '_' and '-';
    /// none by default. [`build`](Self::build) takes the name over: once it has returned, nothing
    /// that an earlier producer of this name still sends is appended, on any partition of any topic.
    /// So at most one producer in the cluster should have a name at a time. The earlier producer's
    /// records that were acknowledged stay; what it had on its way fails with `PRODUCER_FENCED`.
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        self.name = Some(Arc::from(name.as_ref()));
        self
    }

    /// How batches are compressed; not at all by default. Every consumer of this version reads every
    /// codec.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// How long a batch that is not full waits for more records. With zero, the default, it goes
    /// at once when nothing else of its partition is on its way, and else gathers until that is
    /// answered: batches grow with the load by themselves. [`Producer::flush`] and
    /// [`Producer::shutdown`] do not wait for it, and what lingers goes when a `send` waits for its space
    /// in the buffer. At most a year; what is longer counts as that.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = at_most_a_year(linger);
        self
    }

    /// The size at which a batch is full, before compression; 256 KiB by default, and never more
    /// than the largest batch that the topic takes, as of the build; of a lower limit the producer
    /// learns when a batch is refused with `BATCH_TOO_LARGE`. A larger record gets a batch of its own, and one that no batch
    /// can hold is refused by `send` with `BATCH_TOO_LARGE`. At least 1.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// The bytes of records that may be held until they are acknowledged or have failed, at least 1. By
    /// default twelve batches for each partition, but 4 MiB at least and 32 MiB at most: more than five
    /// can be on their way, and what only waits leaves the processor's cache and adds to the latency.
    /// Beyond that `send` waits, callers in turn, and `try_send` gives the record back. Small records
    /// are counted some KiB at a time. Up to half as much is kept of batches that are done, for those to
    /// come. A record larger than this is refused with `BATCH_TOO_LARGE`.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = Some(bytes);
        self
    }

    /// How many batches of a partition may be on their way; from 1 to 5, and 5 by default. Brokers
    /// remember the last five of a producer, so five sent again are always recognised: the order
    /// holds with any number of them.
    pub fn max_in_flight(mut self, batches: usize) -> Self {
        self.max_in_flight = batches;
        self
    }

    /// How long a batch may take from its first record to its acknowledgement; 120 s by default. Until
    /// then it is sent again whatever breaks. After that it fails with `TIMED_OUT`, and
    /// [`Error::outcome`] says whether it may have been written. At most a year; what is longer counts
    /// as that.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = at_most_a_year(timeout);
        self
    }

    /// Asks a broker for the topic, takes the name over if there is one, and starts the producer on
    /// the current runtime. It writes to the topic that has the name now, as the broker that answers
    /// knows it, and never to another one that gets the name later. What this client knew of the
    /// topic before does not matter.
    ///
    /// Fails with `INVALID_REQUEST` for settings that cannot be, `TOPIC_NOT_FOUND`, and what is left
    /// after the client's request timeout; with a name also with `TOO_MANY_PRODUCERS`, and with
    /// `NO_LEADER`, `QUORUM_LOST` or `DISK_FULL` while a partition that an earlier producer of the
    /// name wrote to cannot be told. Nothing is written then. Whenever it fails, or is dropped before
    /// it is ready, it may have taken the name from the earlier producer all the same.
    pub async fn build(self) -> Result<Producer> {
        self.check()?;
        let metadata = Arc::clone(&self.client.metadata);
        let deadline = metadata.deadline();
        let routes = metadata.current_topic(&self.topic, deadline).await?;
        let count = routes.partition_count();
        if count == 0 {
            let message = format!("topic {:?} has no partitions yet", self.topic);
            return Err(Error::new(Reason::NotReady, message));
        }
        let rules = Rules {
            name: self.name,
            codec: self.codec,
            linger: self.linger,
            batch_bytes: self.batch_bytes,
            max_in_flight: self.max_in_flight,
            delivery_timeout: self.delivery_timeout,
            max_batch_bytes: routes.largest_batch(),
        };
        let buffer_bytes = self
            .buffer_bytes
            .unwrap_or(buffer_for(rules.batch_bytes, count));
        let full_at = rules.full_at(rules.max_batch_bytes);
        let partitions = (0..count).map(highwater_proto::PartitionIndex);
        let buffers = Arc::new(Buffers::new(buffer_bytes / 2));
        let accumulator = |p| Accumulator::new(p, full_at, Arc::clone(&buffers));
        let accumulators = partitions.map(accumulator).collect();
        let shared = Arc::new(Shared::new(
            Target {
                topic: self.topic,
                topic_id: routes.id,
            },
            Partitioner::new(count, full_at, entropy::random()),
            Budget::new(buffer_bytes, count as usize),
            accumulators,
            buffers,
            &rules,
        ));
        let name = rules.name.as_deref();
        let identity = match name {
            Some(_) => {
                let asked = identity::ask(&metadata, name, Asking::draw(), None, deadline);
                Some(asked.await?)
            }
            None => None,
        };
        let sender = Sender::new(Arc::clone(&shared), metadata, rules, identity);
        tokio::spawn(sender.run());
        Ok(Producer {
            handle: Arc::new(Handle { shared }),
        })
    }

    fn check(&self) -> Result<()> {
        let bad = |message: String| Err(Error::new(Reason::InvalidRequest, message));
        if !(1..=5).contains(&self.max_in_flight) {
            return bad(format!(
                "max_in_flight is from 1 to 5, not {}",
                self.max_in_flight
            ));
        }
        if self.batch_bytes == 0 || self.buffer_bytes == Some(0) {
            return bad("batch_bytes and buffer_bytes are at least 1".to_owned());
        }
        if self.name.as_ref().is_some_and(|name| name.is_empty()) {
            return bad("the name of a producer is not empty".to_owned());
        }
        Ok(())
    }
}

/// What a producer may hold by default: enough to keep every partition busy, and any batch.
fn buffer_for(batch_bytes: usize, partitions: u32) -> usize {
    let busy = batch_bytes.saturating_mul(12);
    let all = busy.saturating_mul(partitions as usize);
    all.clamp(4 << 20, 32 << 20)
}

#[cfg(test)]
mod tests {
    use highwater_proto::batch::MAX_BATCH_BYTES;

    use super::*;

    #[test]
    fn buffers_grow_with_partitions_and_batches_within_bounds() {
        assert_eq!(buffer_for(4096, 1), 4 << 20);
        assert!(buffer_for(1, 1) > MAX_BATCH_BYTES);
        assert_eq!(buffer_for(256 << 10, 4), 12 << 20);
        assert_eq!(buffer_for(256 << 10, 64), 32 << 20);
        assert_eq!(buffer_for(usize::MAX, 10_000), 32 << 20);
    }

    #[test]
    fn the_memory_of_five_batches_on_their_way_is_kept_by_default() {
        let batch = 256 << 10;
        let buffers = Buffers::new(buffer_for(batch, 1) / 2);
        let full = || vec![0; batch + 64];
        let on_their_way = [(); 5].map(|()| full());
        let addresses: Vec<_> = on_their_way.iter().map(|batch| batch.as_ptr()).collect();
        for batch in on_their_way {
            buffers.give(batch.into());
        }
        for _ in 0..5 {
            assert!(addresses.contains(&buffers.take(batch + 64).as_ptr()));
        }
    }
}
