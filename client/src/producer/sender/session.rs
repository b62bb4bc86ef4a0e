//! One produce session: a stream of batches to a broker and a stream of answers back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use highwater_proto::pb::v1;
use highwater_proto::{PartitionIndex, Reason};
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

/// A batch that was sent and not yet answered.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) partition: PartitionIndex,
    pub(crate) serial: Serial,
    pub(crate) attempt: Attempt,
    bytes: u64,
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
        // The first message opens the session. The receiver is alive, so this cannot fail.
        let _ = requests.send(v1::ProduceSessionRequest::default());
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
        }
    }

    /// Whether `bytes` more may be sent; a batch larger than all the credit goes alone.
    pub(crate) fn has_credit(&self, bytes: usize) -> bool {
        self.unanswered_bytes == 0 || self.unanswered_bytes + bytes as u64 <= self.credit
    }

    /// Sends a batch. If the session broke already, its loss is reported as that of the others.
    pub(crate) fn send(
        &mut self,
        target: &Target,
        partition: PartitionIndex,
        serial: Serial,
        batch: Bytes,
    ) -> Attempt {
        let number = self.first + self.sent.len() as u64;
        let session = self.id;
        let attempt = Attempt { session, number };
        let bytes = batch.len() as u64;
        self.unanswered_bytes += bytes;
        self.sent.push_back(Some(Sent {
            partition,
            serial,
            attempt,
            bytes,
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

    /// The batch that an answer is about, unless it was answered before.
    pub(crate) fn answered(&mut self, number: u64) -> Option<Sent> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let sent = self.sent.get_mut(index)?.take()?;
        self.unanswered_bytes -= sent.bytes;
        self.skip_answered();
        Some(sent)
    }

    /// Gives up waiting for the answers to a partition's batches: their credit is free again, and an
    /// answer that comes after all is about nothing.
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
mod tests {
    use super::*;

    fn session(credit: u64) -> Session {
        Session::new(SessionId(4), mpsc::unbounded_channel().0, credit)
    }

    fn send(session: &mut Session, serial: Serial, bytes: usize) -> u64 {
        let target = Target {
            topic: "t".to_owned(),
            topic_id: String::new(),
        };
        let batch = Bytes::from(vec![0; bytes]);
        session
            .send(&target, PartitionIndex(0), serial, batch)
            .number
    }

    #[test]
    fn numbers_rise_from_one_and_answers_find_their_batch_in_any_order() {
        let mut session = session(100);
        let numbers: Vec<u64> = (0..3).map(|i| send(&mut session, 10 + i, 1)).collect();
        assert_eq!(numbers, [1, 2, 3]);
        for (number, serial) in [(2, 11), (1, 10), (3, 12)] {
            assert_eq!(session.answered(number).unwrap().serial, serial);
            assert!(session.answered(number).is_none(), "answered twice");
        }
        assert_eq!(send(&mut session, 13, 1), 4);
        assert!(session.answered(0).is_none() && session.answered(9).is_none());
    }

    #[test]
    fn credit_is_what_was_sent_and_not_answered_and_an_oversized_batch_goes_alone() {
        let mut session = session(100);
        assert!(session.has_credit(500));
        send(&mut session, 0, 60);
        assert!(session.has_credit(40) && !session.has_credit(41));
        session.answered(1);
        assert!(session.has_credit(500));
    }

    #[test]
    fn what_is_abandoned_frees_its_credit_and_is_not_answered_any_more() {
        let mut session = session(100);
        for serial in 0..3 {
            send(&mut session, serial, 30);
        }
        assert!(!session.has_credit(30));
        session.answered(2);
        let abandoned = session.abandon(PartitionIndex(0));
        let serials: Vec<Serial> = abandoned.iter().map(|sent| sent.serial).collect();
        assert_eq!(serials, [0, 2]);
        assert!(session.has_credit(100) && session.sent.is_empty());
        assert!(session.answered(1).is_none());
        assert_eq!(send(&mut session, 0, 30), 4, "numbers go on");
    }

    #[test]
    fn what_was_not_answered_is_lost_with_the_session() {
        let mut session = session(100);
        for serial in 0..3 {
            send(&mut session, serial, 1);
        }
        session.answered(2);
        let lost: Vec<Serial> = session.into_lost().map(|sent| sent.serial).collect();
        assert_eq!(lost, [0, 2]);
    }
}
