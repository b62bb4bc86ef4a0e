//! Consuming: one subscription per partition, to its leader, read by whoever polls the consumer.
//!
//! Nothing is fetched in the background beyond what HTTP/2 lets a broker send ahead: that window
//! is the prefetch buffer, so a reader that stops reading stops its brokers.

mod batch;
mod builder;
mod cursor;
mod position;
mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::SelectAll;
use futures_util::{Stream, StreamExt};
use highwater_proto::{Offset, PartitionIndex};

pub use self::batch::{ConsumerBatch, ConsumerRecord, ConsumerRecordViews, ConsumerRecords};
pub use self::builder::ConsumerBuilder;
pub use self::position::{Start, Until};
use self::reader::Reader;
use crate::error::Result;

/// How far a partition was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The offset of the next record that the consumer hands out.
    pub next_offset: Offset,
    /// The end of what could be read when the broker was last heard of.
    pub high_watermark: Offset,
}

/// The records of a topic's partitions: in order of offsets within each, without a gap and without
/// a repetition, whichever broker leads and however often connections break. Records of different
/// partitions come as they arrive.
///
/// As a [`Stream`] it gives records; [`Consumer::next_batch`] gives a batch at a time, which costs
/// less. It ends when every partition has reached its end offset, if there are any, or has failed.
/// An error of a partition (`OFFSET_OUT_OF_RANGE`, `TOPIC_NOT_FOUND`, `CORRUPT_DATA`, ...) ends that
/// partition; what only means waiting or asking another broker is dealt with inside.
pub struct Consumer {
    readers: SelectAll<Reader>,
    current: Option<ConsumerRecords>,
    progress: BTreeMap<PartitionIndex, Progress>,
    /// Partitions that ended because a batch was malformed inside.
    broken: BTreeSet<PartitionIndex>,
}

impl Consumer {
    fn new(readers: impl IntoIterator<Item = Reader>) -> Self {
        let readers = SelectAll::from_iter(readers);
        let progress = |reader: &Reader| {
            let next_offset = reader.next_offset();
            let high_watermark = next_offset;
            let progress = Progress {
                next_offset,
                high_watermark,
            };
            (reader.partition(), progress)
        };
        Self {
            progress: readers.iter().map(progress).collect(),
            readers,
            current: None,
            broken: BTreeSet::new(),
        }
    }

    /// The next record; `None` when all partitions are at their end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<ConsumerRecord>> {
        std::future::poll_fn(|cx| self.poll_record(cx)).await
    }

    /// The next batch, or what is left of the one whose records are being handed out; `None` when
    /// all partitions are at their end. Cancel-safe.
    pub async fn next_batch(&mut self) -> Option<Result<ConsumerBatch>> {
        if let Some(rest) = self.current.take().and_then(ConsumerRecords::into_rest) {
            self.note(&rest);
            return Some(Ok(rest));
        }
        std::future::poll_fn(|cx| self.poll_batch(cx)).await
    }

    /// How far each partition was read.
    pub fn progress(&self) -> BTreeMap<PartitionIndex, Progress> {
        let mut progress = self.progress.clone();
        for reader in self.readers.iter() {
            let known = progress.entry(reader.partition()).or_default();
            known.high_watermark = known.high_watermark.max(reader.high_watermark());
        }
        if let Some(current) = &self.current {
            let known = progress.entry(current.batch().partition()).or_default();
            known.next_offset = current.next_offset();
        }
        progress
    }

    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ConsumerRecord>>> {
        loop {
            if let Some(records) = &mut self.current {
                match records.next() {
                    Some(Ok(record)) => return Poll::Ready(Some(Ok(record))),
                    Some(Err(error)) => {
                        self.broken.insert(records.batch().partition());
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => self.current = None,
                }
            }
            match ready!(self.poll_batch(cx)) {
                Some(Ok(batch)) => match batch.records() {
                    Ok(records) => self.current = Some(records),
                    Err(error) => {
                        self.broken.insert(batch.partition());
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ConsumerBatch>>> {
        loop {
            if self.readers.is_empty() {
                return Poll::Ready(None);
            }
            let batch = ready!(self.readers.poll_next_unpin(cx));
            if let Some(Ok(batch)) = &batch {
                if self.broken.contains(&batch.partition()) {
                    continue;
                }
                self.note(batch);
            }
            return Poll::Ready(batch);
        }
    }

    fn note(&mut self, batch: &ConsumerBatch) {
        let progress = Progress {
            next_offset: batch.next_offset(),
            high_watermark: batch.high_watermark(),
        };
        self.progress.insert(batch.partition(), progress);
    }
}

impl Stream for Consumer {
    type Item = Result<ConsumerRecord>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(cx)
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
