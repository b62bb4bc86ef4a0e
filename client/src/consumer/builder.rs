//! How a consumer is set up.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use highwater_proto::{Offset, PartitionIndex, Reason};
use tokio::time::Instant;

use super::Consumer;
use super::connections::Connections;
use super::freshness::{Freshness, ReadFrom};
use super::position::{Start, Until};
use super::reader::Source;
use crate::admin::no_partition;
use crate::client::Client;
use crate::entropy;
use crate::error::{Error, Result};

/// How many partitions are looked up at a time.
const LOOKUPS: usize = 32;
/// The bounds of the bytes of batches in one message. What is larger no longer fits into the caches of
/// the processors that copy it from one end to the other.
const MESSAGE_BYTES: (usize, usize) = (64 << 10, 256 << 10);

/// A partition, where it is read from, and where to.
type Range = (PartitionIndex, (Offset, Option<Offset>));

/// Settings of a [`Consumer`]. None of them changes what is promised: committed records alone, in the
/// order of their offsets per partition, none left out and none twice. Nothing is asked of the cluster
/// before [`build`](Self::build), which also refuses values that cannot be.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ConsumerBuilder {
    client: Client,
    topic: String,
    partitions: Option<Vec<PartitionIndex>>,
    start: Start,
    until: Until,
    prefetch_bytes: usize,
    freshness: Freshness,
    read_from: ReadFrom,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client, topic: String) -> Self {
        Self {
            client,
            topic,
            partitions: None,
            start: Start::default(),
            until: Until::default(),
            prefetch_bytes: 16 << 20,
            freshness: Freshness::default(),
            read_from: ReadFrom::default(),
        }
    }

    /// The partitions to read; by default all that the topic has when the consumer is built. One named
    /// twice is read once.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = PartitionIndex>) -> Self {
        self.partitions = Some(partitions.into_iter().collect());
        self
    }

    /// Where to begin; at the first record of each partition by default. An offset that is given is looked up
    /// only with [`Until::Latest`], and then the build fails with `OFFSET_OUT_OF_RANGE` if it is above the
    /// end; else, if it cannot be read, the partition ends with that error when it is read.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Where to end; nowhere by default. Partitions that [`Consumer::assign`] adds later do not end.
    pub fn until(mut self, until: Until) -> Self {
        self.until = until;
        self
    }

    /// How many bytes each broker may send ahead of what was read; 16 MiB by default, and at
    /// least 64 KiB. A batch that was handed out no longer counts, so what the program keeps of it is
    /// beside this. For each 512 partitions of the topic from which some are read there is a connection
    /// to each of their brokers; those that are needed when the consumer is built share this, and one that
    /// [`Consumer::assign`] needs later may be ahead by as much as each of them.
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.prefetch_bytes = bytes;
        self
    }

    /// How fresh what is read must be; [`Freshness::Committed`] by default.
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// Which replica to read; the leader by default. Moving between replicas leaves no record out and
    /// repeats none.
    pub fn read_from(mut self, read_from: ReadFrom) -> Self {
        self.read_from = read_from;
        self
    }

    /// Asks a broker for the topic, looks the positions up, and starts to read when first polled. It
    /// reads the topic that has the name now, as the broker that answers knows it, and never another
    /// one that gets the name later. What this client knew of the topic before does not matter.
    ///
    /// Fails with `INVALID_REQUEST` for settings that cannot be, `TOPIC_NOT_FOUND`,
    /// `PARTITION_NOT_FOUND`, and what is left after the client's request timeout. Reads only;
    /// cancel-safe.
    pub async fn build(self) -> Result<Consumer> {
        let (freshness, max_age_ms) = self.freshness.on_the_wire(self.read_from)?;
        let metadata = &self.client.metadata;
        // Of all that is asked for, however often the name gets another topic meanwhile.
        let deadline = metadata.deadline();
        let (topic_id, ranges) = loop {
            let routes = metadata.current_topic(&self.topic, deadline).await?;
            let partitions = self.chosen(routes.partition_count())?;
            match self.ranges(&routes.id, &partitions, deadline).await {
                Ok(ranges) => break (routes.id, ranges),
                // The name stands for another topic than a moment ago: that one is meant.
                Err(error)
                    if error.reason() == Some(Reason::TopicIdMismatch)
                        && metadata.is_recreated(&self.topic, &routes.id) => {}
                Err(error) => return Err(error),
            }
        };
        let topic: Arc<str> = Arc::from(self.topic.as_str());
        let prefetch = self.prefetch_bytes.clamp(64 << 10, i32::MAX as usize);
        let (least, most) = MESSAGE_BYTES;
        let share = prefetch / 2 / ranges.len().max(1);
        let source = Arc::new(Source {
            metadata: Arc::clone(metadata),
            topic_id,
            message_bytes: share.clamp(least, most) as i32,
            freshness,
            max_age_ms,
            read_from: self.read_from,
            salt: entropy::random() as usize,
            connections: Connections::new(prefetch, ranges.iter().map(|(p, _)| *p)),
        });
        Ok(Consumer::new(self.client.clone(), source, topic, ranges))
    }

    fn chosen(&self, count: u32) -> Result<Vec<PartitionIndex>> {
        let Some(mut chosen) = self.partitions.clone() else {
            return Ok((0..count).map(PartitionIndex).collect());
        };
        chosen.sort_unstable();
        chosen.dedup();
        match chosen.iter().find(|partition| partition.0 >= count) {
            None => Ok(chosen),
            Some(missing) => Err(no_partition(&self.topic, *missing, count)),
        }
    }

    /// Where each of the partitions begins and ends.
    async fn ranges(
        &self,
        topic_id: &str,
        partitions: &[PartitionIndex],
        deadline: Instant,
    ) -> Result<Vec<Range>> {
        let lookups = partitions.iter().map(|partition| async {
            let range = self.range(topic_id, *partition, deadline).await?;
            Ok((*partition, range))
        });
        let lookups: Vec<_> = lookups.collect();
        stream::iter(lookups).buffered(LOOKUPS).try_collect().await
    }

    /// Where the partition begins and ends; asks its leader only if it must.
    async fn range(
        &self,
        topic_id: &str,
        partition: PartitionIndex,
        deadline: Instant,
    ) -> Result<(Offset, Option<Offset>)> {
        match self.start.known(partition) {
            Some(start) if !self.until.needs_lookup() => {
                Ok((start, self.until.resolve(partition, start)))
            }
            _ => {
                let topic = (self.topic.as_str(), topic_id);
                let position = self.start.position();
                let client = &self.client;
                let found = client.offsets_of(topic, partition, position, deadline);
                let found = found.await?;
                let end = self.until.resolve(partition, found.high_watermark);
                let start = self.start.resolve(partition, &found);
                match start > found.high_watermark {
                    false => Ok((start, end)),
                    true => {
                        let place = format!("{}/{partition}", self.topic);
                        Err(Error::out_of_range(place, start, &found))
                    }
                }
            }
        }
    }
}
