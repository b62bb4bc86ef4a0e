//! One produce session, message by message.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream;
use highwater_proto::pb::v1;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::api::{Answer, Api, Refusal, soon};

/// An open session. Ends when it goes out of scope.
#[derive(Debug)]
pub struct Session {
    messages: mpsc::UnboundedSender<v1::ProduceSessionRequest>,
    answers: Streaming<v1::ProduceSessionResponse>,
    /// What the broker said when it opened the session.
    pub opened: v1::ProduceSessionOpened,
    sent: u64,
    known: BTreeMap<u64, Answer<v1::BatchAck>>,
    ended: Option<Result<(), Status>>,
}

impl Session {
    /// Opens a session.
    pub async fn open(api: &Api) -> Self {
        let (messages, mut queue) = mpsc::unbounded_channel();
        let mut log = api.log.clone();
        let outgoing = stream::poll_fn(move |cx| queue.poll_recv(cx));
        let opening = async move {
            let answers = log.produce_session(outgoing).await;
            let mut answers = answers.expect("a session begins").into_inner();
            let first = answers.message().await.expect("a session is opened");
            let opened = first.and_then(|first| first.opened);
            (
                answers,
                opened.expect("the first message opens the session"),
            )
        };
        let (answers, opened) = soon("opening a session", opening).await;
        Self {
            messages,
            answers,
            opened,
            sent: 0,
            known: BTreeMap::new(),
            ended: None,
        }
    }

    /// Sends a batch under the next number, which it gives.
    pub fn send(&mut self, topic: &str, partition: i32, batch: impl Into<Bytes>) -> u64 {
        let number = self.sent + 1;
        self.send_message(v1::ProduceSessionRequest {
            number,
            topic: topic.to_owned(),
            topic_id: String::new(),
            partition,
            batch: batch.into(),
            ..v1::ProduceSessionRequest::default()
        });
        number
    }

    /// Sends a message as it is; the next batch is numbered on from it.
    pub fn send_message(&mut self, message: v1::ProduceSessionRequest) {
        self.sent = message.number;
        // A session that has ended says so in its answers.
        drop(self.messages.send(message));
    }

    /// Waits for the answer to the batch of this number.
    #[track_caller]
    pub fn answer(&mut self, number: u64) -> impl Future<Output = Answer<v1::BatchAck>> {
        soon("an answer to a batch", async move {
            loop {
                if let Some(answer) = self.known.remove(&number) {
                    return answer;
                }
                self.receive().await;
                if let Some(ended) = &self.ended {
                    let known = self.known.contains_key(&number);
                    assert!(known, "no answer to {number}, the session ended: {ended:?}");
                }
            }
        })
    }

    /// Says that no more batches come, and waits for the end: the answers that were not yet asked
    /// for, by number, and how the session ended.
    pub async fn end(mut self) -> (BTreeMap<u64, Answer<v1::BatchAck>>, Answer<()>) {
        let (nobody, _) = mpsc::unbounded_channel();
        self.messages = nobody;
        self.ended().await
    }

    /// Waits for the end that the broker makes; otherwise as [`Self::end`].
    pub async fn ended(mut self) -> (BTreeMap<u64, Answer<v1::BatchAck>>, Answer<()>) {
        let waiting = async {
            loop {
                if let Some(ended) = self.ended.take() {
                    return ended;
                }
                self.receive().await;
            }
        };
        let ended = soon("the end of the session", waiting).await;
        (self.known, ended.map_err(Refusal::from))
    }

    /// The next message as it comes, for those that ask for no single answer.
    pub async fn message(&mut self) -> v1::ProduceSessionResponse {
        let message = soon("a message of the session", self.answers.message()).await;
        let message = message.expect("the session goes on");
        message.expect("the session goes on")
    }

    async fn receive(&mut self) {
        let message = match self.answers.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return self.ended = Some(Ok(())),
            Err(status) => return self.ended = Some(Err(status)),
        };
        assert!(message.opened.is_none(), "a session is opened once");
        let acks = message.acks.into_iter().map(|ack| (ack.number, Ok(ack)));
        let errors = message.errors.into_iter();
        let errors = errors.map(|error| (error.number, Err(Refusal::from(error))));
        for (number, answer) in acks.chain(errors) {
            let before = self.known.insert(number, answer);
            assert!(before.is_none(), "{number} is answered twice: {before:?}");
        }
    }
}
