//! Producing: records go into their partition's open batch at once; one task sends the batches.
//!
//! ```text
//! send ─► partitioner ─► accumulator (one lock, one encode) ┄┄► sender: lane ─► session ─► leader
//!   └──── Delivery ◄──── one completion per batch ◄─────────────── acks by number ◄────────┘
//! ```

mod accumulator;
mod budget;
mod buffers;
mod builder;
mod delivery;
mod failures;
mod identity;
mod lane;
mod line;
mod many;
mod partitioner;
mod rules;
mod sender;
mod shared;
mod wall;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::Reason;
use highwater_proto::batch::MAX_RECORD_HEADERS;
use tokio::task::consume_budget;
use tokio::time::{Instant, timeout};

use self::accumulator::{Accumulator, Parts, Payment};
use self::budget::Closed;
pub use self::builder::ProducerBuilder;
use self::delivery::BatchSlot;
pub use self::delivery::{Ack, Delivery};
pub use self::many::{Deliveries, IntoIter as DeliveriesIntoIter, SendAllError};
use self::shared::{Shared, Stop};
use self::wall::now;
use crate::error::{Error, Outcome, Result};
use crate::record::{Payload, Record};

/// Sends records to one topic. Cheap to clone; all clones share buffers, batches and connections.
///
/// Every record is written once, in the order of the calls per partition, whatever sessions break
/// and whichever broker leads: batches carry a producer id and sequences, and are sent again, the
/// same bytes in the same order, until they are acknowledged or `delivery_timeout` has passed.
///
/// **When a batch fails**, everything of its partition that was gathered or is on its way fails
/// with it, each batch with what is known of it ([`Error::outcome`](crate::Error::outcome)), so
/// that no later record overtakes a missing one unnoticed. Records sent after that go on under a
/// new producer id. If the outcome of the failed batch is unknown, it may still appear in the log
/// later, even after those. One that the client itself finds too large, because `max.batch.bytes` was
/// lowered since it was gathered, was never sent and fails alone.
///
/// A **named** producer ([`ProducerBuilder::name`]) that learns that another one has taken its
/// name ends: what is not acknowledged fails with `PRODUCER_FENCED`, and so does every later send.
///
/// Dropping the last clone loses nothing silently: what was sent is delivered in the background, as
/// long as the runtime lives and the delivery timeout allows, and each [`Delivery`] still resolves.
/// [`Producer::shutdown`] waits for it.
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// Ends the sender when the last producer is gone.
struct Handle {
    shared: Arc<Shared>,
}

/// A record that was not taken, given back.
#[derive(Debug)]
pub struct TrySendError<'a> {
    /// The record.
    pub record: Record<'a>,
    /// Why; `OVERLOADED` when the buffer is full.
    pub error: Error,
}

impl Producer {
    /// Takes a record, waiting only for space in the buffer, and gives the future of its
    /// acknowledgement. Records of a partition are written in the order of the calls, each once.
    /// Cancel-safe: a call that is dropped has sent nothing.
    ///
    /// Fails with `BATCH_TOO_LARGE`, with `BAD_BATCH` for more than 65,536 headers, with
    /// `PARTITION_NOT_FOUND`, after [`Producer::shutdown`] with `NOT_READY`, and with what ended the
    /// producer if something did. The outcome is `Refused` then: nothing was sent, and sending it
    /// again cannot help.
    pub fn send<'a>(
        &self,
        record: impl Into<Record<'a>>,
    ) -> impl Future<Output = Result<Delivery>> {
        let record = record.into();
        // The record stays where it is until it is encoded; moving it once more costs as much as that.
        async move {
            let shared = &*self.handle.shared;
            if !shared.line.is_free() {
                shared.line.pass().await;
            }
            let bytes = self.handle.admit(&record)?;
            if let Some(delivery) = self.handle.enqueue(&record, bytes, Payment::Credit)? {
                return Ok(delivery);
            }
            // A loop of sends that never wait must let the sender run, even on a single thread: when this
            // has come to its end, the next one waits before it begins. Here, others would overtake it.
            consume_budget().await;
            if let Some(delivery) = self.handle.enqueue(&record, bytes, Payment::Room)? {
                return Ok(delivery);
            }
            let taken = shared.take(bytes).await;
            taken.map_err(|Closed| closed())?;
            self.handle.enqueue_paid(&record, bytes)
        }
    }

    /// Takes a record if there is space for it now, as [`Producer::send`] does; else gives it back,
    /// with `OVERLOADED`. Whenever this fails, nothing was sent. Never waits: it comes before sends that
    /// wait so that other tasks can run.
    pub fn try_send<'a>(
        &self,
        record: impl Into<Record<'a>>,
    ) -> Result<Delivery, Box<TrySendError<'a>>> {
        let record = record.into();
        let shared = &self.handle.shared;
        let sent = self.handle.admit(&record).and_then(|bytes| {
            if let Some(delivery) = self.handle.enqueue(&record, bytes, Payment::Room)? {
                return Ok(delivery);
            }
            if shared.stop() != Stop::Running {
                return Err(closed());
            }
            let message = format!(
                "the producer's buffer of {} bytes is full",
                shared.budget.limit()
            );
            Err(Error::new(Reason::Overloaded, message))
        });
        sent.map_err(|error| Box::new(TrySendError { record, error }))
    }

    /// Waits until everything sent before this call is acknowledged or has failed; open batches
    /// go at once. Cancel-safe.
    ///
    /// An error is the first failure of what was sent before this call, by this producer or a clone,
    /// unless a flush that ended before this one began has covered it: each failure is told by the
    /// next flush, and by all that wait at the same time, and then no more. So `Ok` means that all
    /// that was sent since the last flush is durable. What became of each record its [`Delivery`]
    /// tells. A flush that is dropped has told nothing.
    pub async fn flush(&self) -> Result<()> {
        let flush = self.handle.shared.flush();
        let latest = self
            .handle
            .seal(|accumulator| accumulator.seal_for(flush.number()));
        wait_for(&latest).await;
        flush.verdict()
    }

    /// Takes no more records, delivers those there are, and gives up what is not acknowledged
    /// within `deadline`, each record with what is known of it. An error is what
    /// [`Producer::flush`] would tell. A call that is dropped has ended the producer all the same:
    /// what was sent is delivered as if the producer were dropped.
    pub async fn shutdown(&self, deadline: Duration) -> Result<()> {
        let shared = &self.handle.shared;
        let flush = shared.flush();
        let latest = self.handle.end(flush.number());
        if timeout(deadline, wait_for(&latest)).await.is_err() {
            shared.advance(Stop::Aborted);
            wait_for(&latest).await;
        }
        flush.verdict()
    }

    /// How many partitions the topic had when the producer was built.
    pub fn partition_count(&self) -> u32 {
        self.handle.shared.partition_count()
    }

    /// Bytes of records that are not yet acknowledged, as counted against the buffer.
    pub fn buffered_bytes(&self) -> usize {
        self.handle.shared.budget.used()
    }
}

impl Handle {
    /// What the record is charged for, if any batch and the buffer can hold it.
    fn admit(&self, record: &Record<'_>) -> Result<usize> {
        let bytes = record.size_bound();
        let limit = self.shared.max_record_bytes();
        let headers = record.headers.len();
        if bytes <= limit && headers <= MAX_RECORD_HEADERS {
            return Ok(bytes);
        }
        if headers > MAX_RECORD_HEADERS {
            let message = format!(
                "the record has {headers} headers, and a record has at most {MAX_RECORD_HEADERS}"
            );
            return Err(Error::new(Reason::BadBatch, message));
        }
        let message =
            format!("the record takes about {bytes} bytes, and a batch holds at most {limit}");
        Err(Error::new(Reason::BatchTooLarge, message))
    }

    /// Encodes a record of `bytes`, if it can be paid for in this way.
    fn enqueue(
        &self,
        record: &Record<'_>,
        bytes: usize,
        payment: Payment,
    ) -> Result<Option<Delivery>> {
        let shared = &*self.shared;
        with_parts(record, bytes, |parts| {
            // One that had to wait goes where the others go now; what was chosen before is not counted.
            let choice = shared.partitioner.choose(record.partition, parts.key)?;
            let partition = choice.partition;
            let mut accumulator = shared.accumulator(partition);
            accumulator.check_open()?;
            if !accumulator.pay(payment, bytes, &shared.budget) {
                return Ok(None);
            }
            let pushed = accumulator.push(parts, Instant::now)?;
            let delivery = Delivery::new(Arc::clone(pushed.slot), pushed.index);
            let announce = pushed.announce || pushed.sealed;
            drop(accumulator);
            shared.partitioner.wrote(choice, bytes);
            if announce {
                shared.announce(partition);
            }
            Ok(Some(delivery))
        })
    }

    /// Encodes a record whose `bytes` are taken from the budget.
    fn enqueue_paid(&self, record: &Record<'_>, bytes: usize) -> Result<Delivery> {
        match self.enqueue(record, bytes, Payment::Taken) {
            Ok(Some(delivery)) => Ok(delivery),
            Ok(None) => Err(closed()),
            Err(error) => {
                self.shared.budget.give(bytes);
                Err(error)
            }
        }
    }

    /// Has `seal` close the open batch of each partition, which says whether there was one, and the
    /// sender send it. Gives the latest batch of each partition.
    fn seal(&self, seal: impl Fn(&mut Accumulator) -> bool) -> Vec<Arc<BatchSlot>> {
        let mut latest = Vec::new();
        for partition in self.shared.partitions() {
            let mut accumulator = self.shared.accumulator(partition);
            let sealed = seal(&mut accumulator);
            latest.extend(accumulator.latest());
            let unused = accumulator.unused();
            drop(accumulator);
            self.shared.budget.give(unused);
            if sealed {
                self.shared.announce(partition);
            }
        }
        latest
    }

    /// Refuses further records and has the sender deliver the rest. Gives the latest batch of
    /// each partition.
    fn end(&self, flush: u64) -> Vec<Arc<BatchSlot>> {
        let latest = self.seal(|accumulator| {
            accumulator.close(closed());
            accumulator.seal_for(flush)
        });
        self.shared.budget.close();
        self.shared.advance(Stop::Draining);
        latest
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // No flush asks for what comes of it.
        self.end(0);
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = &self.handle.shared;
        f.debug_struct("Producer")
            .field("topic", &shared.target.topic)
            .field("buffered_bytes", &shared.budget.used())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TrySendError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for TrySendError<'_> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Waits for these batches, whatever becomes of them.
async fn wait_for(latest: &[Arc<BatchSlot>]) {
    for slot in latest {
        let _ = Delivery::new(Arc::clone(slot), 0).await;
    }
}

/// Gives `work` the record as it is encoded.
#[inline]
fn with_parts<T>(record: &Record<'_>, bytes: usize, work: impl FnOnce(Parts<'_>) -> T) -> T {
    let borrowed;
    let headers: &[_] = if record.headers.is_empty() {
        &[]
    } else {
        borrowed = record.borrowed_headers();
        &borrowed
    };
    work(Parts {
        timestamp: record.timestamp.unwrap_or_else(now),
        key: record.key.as_ref().map(Payload::as_slice),
        value: record.value.as_ref().map(Payload::as_slice),
        headers,
        bytes,
    })
}

/// Asking this producer again cannot help.
fn closed() -> Error {
    let error = Error::new(Reason::NotReady, "the producer is closed");
    error.with_outcome(Outcome::Refused)
}
