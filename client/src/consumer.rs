//! Consuming: one subscription per partition, to one of its replicas, read by whoever polls the consumer.
//!
//! Nothing is fetched in the background beyond what HTTP/2 lets a broker send ahead: that window
//! is the prefetch buffer, so a reader that stops reading stops its brokers.

mod assignment;
mod batch;
mod builder;
mod connections;
mod cursor;
mod event;
mod freshness;
mod position;
mod reader;
mod record;
mod route;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::stream::SelectAll;
use futures_util::{Stream, StreamExt};
use highwater_proto::{BrokerId, Offset, PartitionIndex};

use self::assignment::{Assigned, Reading};
pub use self::batch::{ConsumerBatch, ConsumerRecordViews, ConsumerRecords};
pub use self::builder::ConsumerBuilder;
pub use self::event::{CaughtUp, Event};
pub use self::freshness::{Freshness, ReadFrom};
pub use self::position::{Start, Until};
use self::reader::{Reader, Source};
pub use self::record::ConsumerRecord;
use crate::client::Client;
use crate::error::Result;

/// How far a partition was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The offset of the next record that the consumer hands out.
    pub next_offset: Offset,
    /// The end of what could be read when the broker was last heard of.
    pub high_watermark: Offset,
    /// The broker that was last heard of, while the partition is read.
    pub broker: Option<BrokerId>,
    /// True if its replica follows; the leader's end may then be higher.
    pub follower: bool,
}

/// The records of a topic's partitions: in order of offsets within each, without a gap and without
/// a repetition, whichever broker is read and however often connections break. Records of different
/// partitions come as they arrive.
///
/// As a [`Stream`] it gives records; [`Consumer::next_batch`] gives a batch at a time, which costs
/// less; [`Consumer::next_event`] says besides when a partition's end is reached. It ends when
/// every partition has reached its end offset, if there are any, or has failed. An error of a
/// partition (`OFFSET_OUT_OF_RANGE`, `TOPIC_NOT_FOUND`, `CORRUPT_DATA`, ...) ends that partition,
/// until [`Consumer::seek`] sets it going again; what only means waiting or asking another broker
/// is dealt with inside.
pub struct Consumer {
    client: Client,
    source: Arc<Source>,
    topic: Arc<str>,
    readers: SelectAll<Reader>,
    current: Option<ConsumerRecords>,
    /// What is read, what is paused and what has ended. A reader is there for each that is read.
    partitions: BTreeMap<PartitionIndex, Assigned>,
}

impl Consumer {
    fn new(
        client: Client,
        source: Arc<Source>,
        topic: Arc<str>,
        ranges: impl IntoIterator<Item = (PartitionIndex, (Offset, Option<Offset>))>,
    ) -> Self {
        let mut consumer = Self {
            client,
            source,
            topic,
            readers: SelectAll::new(),
            current: None,
            partitions: BTreeMap::new(),
        };
        for (partition, (start, end)) in ranges {
            consumer.read_from(partition, start, end);
        }
        consumer
    }

    /// The next record; `None` when all partitions are at their end. Records of a partition come in
    /// the order of their offsets, each once, without a gap; between partitions there is no order.
    /// Only committed records come, and an error ends the partition it is about. Cancel-safe: a call
    /// that is dropped has taken nothing.
    pub async fn next(&mut self) -> Option<Result<ConsumerRecord>> {
        std::future::poll_fn(|cx| self.poll_record(cx)).await
    }

    /// The next batch, or what is left of the one whose records are being handed out; `None` when
    /// all partitions are at their end. Cancel-safe.
    pub async fn next_batch(&mut self) -> Option<Result<ConsumerBatch>> {
        loop {
            match self.next_event().await? {
                Ok(Event::Batch(batch)) => return Some(Ok(batch)),
                Ok(Event::CaughtUp(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The next batch, as [`Consumer::next_batch`] gives it, or the news that a partition's end is
    /// reached; `None` when all partitions are at their end. Cancel-safe.
    pub async fn next_event(&mut self) -> Option<Result<Event>> {
        self.events().next().await
    }

    /// What [`Consumer::next_event`] gives, as a stream. It may be dropped and asked for again at any
    /// time: nothing is lost or repeated.
    pub fn events(&mut self) -> impl Stream<Item = Result<Event>> + '_ {
        futures_util::stream::poll_fn(move |cx| {
            let rest = self.current.take().and_then(ConsumerRecords::into_rest);
            match rest {
                Some(rest) => Poll::Ready(Some(Ok(Event::Batch(rest)))),
                None => self.poll_event(cx),
            }
        })
    }

    /// How far each partition was read: what a program stores to go on there
    /// ([`Start::Offsets`]). A record counts as read when it was handed out; with
    /// [`Consumer::next_batch`] a whole batch does.
    pub fn progress(&self) -> BTreeMap<PartitionIndex, Progress> {
        let assigned = self.partitions.iter();
        let mut progress: BTreeMap<_, _> = assigned.map(|(p, a)| (*p, a.progress)).collect();
        for reader in self.readers.iter() {
            let known = progress.entry(reader.partition()).or_default();
            reader.tell(known);
        }
        if let Some(current) = &self.current {
            let known = progress.entry(current.batch().partition()).or_default();
            known.next_offset = current.next_offset();
        }
        progress
    }

    #[inline]
    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ConsumerRecord>>> {
        loop {
            if let Some(records) = &mut self.current {
                match records.next() {
                    Some(Ok(record)) => return Poll::Ready(Some(Ok(record))),
                    Some(Err(error)) => {
                        let (partition, at) = (records.batch().partition(), records.readable());
                        self.break_off(partition, at);
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => self.current = None,
                }
            }
            match ready!(self.poll_records(cx)) {
                Some(Ok(records)) => self.current = Some(records),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    /// The records of the next batch. Kept out of what is done for each record.
    #[inline(never)]
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ConsumerRecords>>> {
        loop {
            let batch = match ready!(self.poll_event(cx)) {
                Some(Ok(Event::Batch(batch))) => batch,
                Some(Ok(Event::CaughtUp(_))) => continue,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            let records = batch.records();
            if records.is_err() {
                self.break_off(batch.partition(), batch.first_offset());
            }
            return Poll::Ready(Some(records));
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let Some((partition, event)) = ready!(self.readers.poll_next_unpin(cx)) else {
            // What is paused may go on; nothing else can wake whoever waits here.
            let paused = self.partitions.values().any(Assigned::is_paused);
            return if paused {
                Poll::Pending
            } else {
                Poll::Ready(None)
            };
        };
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            match &event {
                Ok(Event::Batch(batch)) => {
                    assigned.progress.next_offset = batch.next_offset();
                    assigned.progress.high_watermark = batch.high_watermark();
                }
                Ok(Event::CaughtUp(_)) => {}
                Err(_) => assigned.reading = Reading::Ended,
            }
        }
        Poll::Ready(Some(event))
    }

    /// Ends a partition whose batch is malformed inside, at the first record that was not read.
    fn break_off(&mut self, partition: PartitionIndex, at: Offset) {
        self.stop_reading(partition);
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.progress.next_offset = at;
            assigned.reading = Reading::Ended;
        }
    }
}

impl Stream for Consumer {
    type Item = Result<ConsumerRecord>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(cx)
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("topic", &self.topic)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}
