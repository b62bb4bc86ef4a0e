//! One produce session: a stream of batches to a broker and a stream of answers back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use highwater_proto::pb::v1;
use highwater_proto::{Offset, PartitionIndex, Reason};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Streaming;

use super::body::Batches;
use crate::channels::{Address, Windows};
use crate::error::{Error, Result};
use crate::metadata::Metadata;
use crate::producer::lane::{Attempt, Serial, SessionId};

/// How long a broker may take to open a session.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// The topic that a producer writes to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) topic: String,
    pub(crate) topic_id: String,
}

/// A batch to send.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) partition: PartitionIndex,
    pub(crate) serial: Serial,
    pub(crate) bytes: Bytes,
    pub(crate) records: u32,
}

/// A batch that was sent and not yet answered.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) partition: PartitionIndex,
    pub(crate) serial: Serial,
    pub(crate) attempt: Attempt,
    records: u32,
    bytes: u64,
    /// The number of the partition's batch before it on this session; 0 if it is the first.
    previous: u64,
}

/// A batch that was acknowledged, and where it begins.
#[derive(Debug)]
pub(crate) struct Acked {
    pub(crate) sent: Sent,
    pub(crate) base: Option<Offset>,
}

/// An open session. Batches are numbered from 1; the broker's credit bounds what may be sent and
/// not yet answered.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    // Bounded by the credit: whoever sends asks `has_credit` first.
    requests: mpsc::UnboundedSender<v1::ProduceSessionRequest>,
    credit: u64,
    unanswered_bytes: u64,
    /// The number of the first entry of `sent`.
    first: u64,
    /// By number; answered ones are `None` until all before them are.
    sent: VecDeque<Option<Sent>>,
    /// The number of the last batch of each partition.
    latest: Vec<u64>,
}

/// What a broker opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) session: Session,
    pub(crate) answers: Answers,
}

/// The answers of one session; ends after it broke.
#[derive(Debug)]
pub(crate) struct Answers {
    id: SessionId,
    stream: Option<Streaming<v1::ProduceSessionResponse>>,
}

impl Session {
    /// Opens a session with the broker at `address`, on a connection of its own.
    pub(crate) async fn open(
        metadata: &Metadata,
        address: &Address,
        id: SessionId,
    ) -> Result<Opened> {
        let api = metadata.channels().dedicated(address, Windows::default())?;
        let (requests, outgoing) = mpsc::unbounded_channel();
        let opening = v1::ProduceSessionRequest {
            cumulative_acks: true,
            ..v1::ProduceSessionRequest::default()
        };
        // The receiver is alive, so this cannot fail.
        let _ = requests.send(opening);
        let open = async move {
            let outgoing = Batches::new(outgoing);
            let mut answers = api.produce_session(outgoing).await?.into_inner();
            let first = answers.message().await?;
            Ok::<_, tonic::Status>((answers, first.and_then(|message| message.opened)))
        };
        let Ok(opened) = timeout(OPEN_WITHIN, open).await else {
            let message = format!("{address} did not open a session within {OPEN_WITHIN:?}");
            return Err(Error::new(Reason::Unreachable, message));
        };
        let (answers, opened) = opened.map_err(|e| Error::from(e).in_context(address))?;
        let Some(opened) = opened else {
            let message = format!("{address} answered, but did not open a session");
            return Err(Error::new(Reason::NotReady, message));
        };
        Ok(Opened {
            session: Self::new(id, requests, opened.credit_bytes),
            answers: Answers {
                id,
                stream: Some(answers),
            },
        })
    }

    pub(crate) fn new(
        id: SessionId,
        requests: mpsc::UnboundedSender<v1::ProduceSessionRequest>,
        credit: u64,
    ) -> Self {
        Self {
            id,
            requests,
            credit,
            unanswered_bytes: 0,
            first: 1,
            sent: VecDeque::new(),
            latest: Vec::new(),
        }
    }

    /// Whether `bytes` more may be sent; a batch larger than all the credit goes alone.
    pub(crate) fn has_credit(&self, bytes: usize) -> bool {
        self.unanswered_bytes == 0 || self.unanswered_bytes + bytes as u64 <= self.credit
    }

    /// Sends a batch. If the session broke already, its loss is reported as that of the others.
    pub(crate) fn send(&mut self, target: &Target, batch: Outgoing) -> Attempt {
        let Outgoing {
            partition,
            serial,
            bytes: batch,
            records,
        } = batch;
        let number = self.first + self.sent.len() as u64;
        let session = self.id;
        let attempt = Attempt { session, number };
        let bytes = batch.len() as u64;
        let previous = self.follow(partition, number);
        self.unanswered_bytes += bytes;
        self.sent.push_back(Some(Sent {
            partition,
            serial,
            attempt,
            records,
            bytes,
            previous,
        }));
        let request = v1::ProduceSessionRequest {
            number,
            topic: target.topic.clone(),
            topic_id: target.topic_id.clone(),
            partition: i32::try_from(partition.0).unwrap_or(i32::MAX),
            cumulative_acks: false,
            batch,
        };
        // Fails only when the stream ended; its end is an answer of its own.
        let _ = self.requests.send(request);
        attempt
    }

    /// Notes that this is the partition's last batch now. Gives the one before it.
    fn follow(&mut self, partition: PartitionIndex, number: u64) -> u64 {
        let index = partition.0 as usize;
        if self.latest.len() <= index {
            self.latest.resize(index + 1, 0);
        }
        std::mem::replace(&mut self.latest[index], number)
    }

    /// The batch that an error is about, unless it was answered before.
    pub(crate) fn answered(&mut self, number: u64) -> Option<Sent> {
        let sent = self.take(number);
        self.skip_answered();
        sent
    }

    /// Adds the batches that an ack is about to `acked`, the last one first: in a run each ends where
    /// the one after it begins. One that was given up has nothing before it that was not.
    pub(crate) fn acknowledged(&mut self, ack: &v1::BatchAck, acked: &mut Vec<Acked>) {
        let first = match ack.first_number {
            0 => ack.number,
            first => first,
        };
        let mut base = Offset::from_i64(ack.base_offset);
        let mut next = self.take(ack.number);
        while let Some(sent) = next {
            let previous = sent.previous;
            acked.push(Acked { sent, base });
            next = match previous >= first {
                true => self.take(previous),
                false => None,
            };
            let records = next.as_ref().map_or(0, |sent| u64::from(sent.records));
            base = base.and_then(|base| base.0.checked_sub(records).map(Offset));
        }
        self.skip_answered();
    }

    fn take(&mut self, number: u64) -> Option<Sent> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let sent = self.sent.get_mut(index)?.take()?;
        self.unanswered_bytes -= sent.bytes;
        Some(sent)
    }

    /// Gives up waiting for the answers to all batches of a partition: their credit is free again, and
    /// an answer that comes after all is about nothing.
    pub(crate) fn abandon(&mut self, partition: PartitionIndex) -> Vec<Sent> {
        let mine = |sent: &&mut Option<Sent>| {
            sent.as_ref()
                .is_some_and(|sent| sent.partition == partition)
        };
        let abandoned: Vec<Sent> = self
            .sent
            .iter_mut()
            .filter(mine)
            .filter_map(Option::take)
            .collect();
        self.unanswered_bytes -= abandoned.iter().map(|sent| sent.bytes).sum::<u64>();
        self.skip_answered();
        abandoned
    }

    fn skip_answered(&mut self) {
        while self.sent.front().is_some_and(Option::is_none) {
            self.sent.pop_front();
            self.first += 1;
        }
    }

    /// What will never be answered, now that the session broke.
    pub(crate) fn into_lost(self) -> impl Iterator<Item = Sent> {
        self.sent.into_iter().flatten()
    }
}

impl Stream for Answers {
    /// A message, or the error that ended the session.
    type Item = (SessionId, Result<v1::ProduceSessionResponse>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(None);
        };
        let answer = match std::task::ready!(stream.poll_next_unpin(cx)) {
            Some(Ok(message)) => Ok(message),
            Some(Err(status)) => Err(Error::from(status)),
            None => Err(Error::new(
                Reason::NotReady,
                "the broker ended the produce session",
            )),
        };
        if answer.is_err() {
            self.stream = None;
        }
        Poll::Ready(Some((self.id, answer)))
    }
}

#[cfg(test)]
mod tests;
