//! A produce session: batches come in order, acknowledgements go out as commits complete them, all
//! that one commit completed in one message. The broker reads on only while the batches that are
//! not yet answered fit into the session's credit. A batch that has to wait before its partition
//! takes it holds up those of its partition alone.

mod entry;
mod queues;
mod runs;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as Wakes, Poll, ready};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use highwater_proto::pb::v1;
use highwater_proto::{PartitionIndex, TopicId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use self::entry::{Admitted, Committed, Entry};
use self::queues::Queues;
use self::runs::{Durable, Place};
use super::context::Context;
use super::explained::explained;
use super::status::{encode, status, wire_number};
use crate::partition::Appended;
use crate::service::{Error, Services};

/// Bytes of batches that may be in flight on one session.
const CREDIT_BYTES: u32 = 16 << 20;
/// What a batch takes of the credit at least: remembering it costs memory, however small it is.
const LEAST_BYTES: u32 = 4 << 10;
/// Messages that are prepared for a client that does not read.
const PREPARED: usize = 2;
/// The most batches that are answered in one message.
const ANSWERS_AT_ONCE: usize = 1024;

type Answers = mpsc::Sender<Result<v1::ProduceSessionResponse, Status>>;
type Lines = runs::Lines<(TopicId, PartitionIndex)>;

/// A batch that waits for its commit.
struct Fate {
    number: u64,
    place: Place,
    committed: Committed,
    /// Its bytes of the credit, until it is known what became of it.
    permit: Option<OwnedSemaphorePermit>,
}

/// What became of a batch.
struct Fulfilled {
    number: u64,
    place: Place,
    result: Result<Appended, Error>,
}

/// What a message of the client has come to.
enum Taken {
    /// A batch, and what becomes of it.
    Batch(Fate),
    /// The session is over.
    End(Status),
}

/// What the next message says.
#[derive(Default)]
struct Answer {
    durable: Vec<Durable>,
    errors: Vec<v1::BatchError>,
}

/// Starts a session.
pub(super) fn run(
    services: Arc<Services>,
    context: Context,
    requests: Streaming<v1::ProduceSessionRequest>,
) -> ReceiverStream<Result<v1::ProduceSessionResponse, Status>> {
    let (answers, stream) = mpsc::channel(PREPARED);
    let (taken, awaited) = mpsc::unbounded_channel();
    let tasks = services.tasks.clone();
    let reader = Session {
        entry: Arc::new(Entry::new(services, context)),
        taken,
        lines: None,
        waiting: Queues::default(),
    };
    let opening = answers.clone();
    tasks.spawn(async move { reader.read(requests, opening).await });
    tasks.spawn(async move { answer(awaited, &answers).await });
    ReceiverStream::new(stream)
}

/// The reading half of a session.
struct Session {
    entry: Arc<Entry>,
    // Bounded by the credit.
    taken: mpsc::UnboundedSender<Taken>,
    /// Kept for a client that takes one ack for several batches.
    lines: Option<Lines>,
    /// Batches that their partitions did not take at once, by topic and partition as they are named.
    /// Bounded by the credit.
    waiting: Queues<(String, i32), Admitted>,
}

impl Session {
    async fn read(mut self, requests: Streaming<v1::ProduceSessionRequest>, answers: Answers) {
        let me = self.entry.me();
        let opened = v1::ProduceSessionOpened {
            cluster_id: me.cluster.to_string(),
            broker: wire_number(me.broker.0),
            credit_bytes: u64::from(CREDIT_BYTES),
        };
        let first = v1::ProduceSessionResponse {
            opened: Some(opened),
            ..Default::default()
        };
        if answers.send(Ok(first)).await.is_err() {
            return;
        }
        let end = self.take_all(requests).await;
        tokio::select! {
            () = self.settle() => {}
            // Nobody is left to tell what becomes of them.
            () = answers.closed() => {}
        }
        if let Err(end) = end {
            drop(self.taken.send(Taken::End(end)));
        }
    }

    /// Takes batches until the client has no more or sends what cannot be taken.
    async fn take_all(
        &mut self,
        mut requests: Streaming<v1::ProduceSessionRequest>,
    ) -> Result<(), Status> {
        let credit = Arc::new(Semaphore::new(CREDIT_BYTES as usize));
        let mut expected = 1;
        while let Some(request) = self
            .meanwhile(requests.message())
            .await
            .map_err(explained)?
        {
            if expected == 1 && only_opens(&request) {
                self.lines = request.cumulative_acks.then(Lines::default);
                continue;
            }
            if request.number != expected {
                let message = format!("the number is {}, expected {expected}", request.number);
                return Err(status(&Error::invalid(message)));
            }
            expected += 1;
            let permit = Arc::clone(&credit).acquire_many_owned(credit_of(&request));
            let Ok(permit) = self.meanwhile(permit).await else {
                return Ok(());
            };
            self.take(request, permit);
            if self.taken.is_closed() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for `what`, while batches that were held up go on.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                biased;
                Some(admitted) = self.waiting.next() => self.hand_on(admitted),
                done = &mut what => return done,
            }
        }
    }

    /// Waits until no batch is held up any more.
    async fn settle(&mut self) {
        while let Some(admitted) = self.waiting.next().await {
            self.hand_on(admitted);
        }
    }

    /// Brings one batch to its partition; batches of one partition keep their order.
    fn take(&mut self, request: v1::ProduceSessionRequest, permit: OwnedSemaphorePermit) {
        let partition = (request.topic.clone(), request.partition);
        let entry = Arc::clone(&self.entry);
        let mut admission = Box::pin(async move { entry.admit(request, permit).await });
        // Most need not wait.
        if self.waiting.is_empty()
            && let Some(admitted) = admission.as_mut().now_or_never()
        {
            return self.hand_on(admitted);
        }
        self.waiting.push(partition, admission);
    }

    /// Registers a batch to be answered: its partition has taken or refused it.
    fn hand_on(&mut self, admitted: Admitted) {
        let Admitted {
            number,
            partition,
            committed,
            permit,
        } = admitted;
        let lines = self.lines.as_mut();
        let fate = Fate {
            number,
            place: lines.map_or_else(Place::default, |lines| place(lines, number, partition)),
            committed,
            permit: Some(permit),
        };
        // Nobody answers any more when the client is gone.
        drop(self.taken.send(Taken::Batch(fate)));
    }
}

impl Future for Fate {
    type Output = Fulfilled;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Wakes<'_>) -> Poll<Fulfilled> {
        let result = ready!(self.committed.as_mut().poll(cx));
        drop(self.permit.take());
        Poll::Ready(Fulfilled {
            number: self.number,
            place: self.place,
            result,
        })
    }
}

/// Where a batch stands among those of its partition. One whose partition was not found may have been
/// meant for any.
fn place(lines: &mut Lines, number: u64, partition: Option<(TopicId, PartitionIndex)>) -> Place {
    match partition {
        Some(partition) => lines.next(partition, number),
        None => {
            lines.forget();
            Place::default()
        }
    }
}

/// What a message takes of the credit: with its batch all of it may have to wait, and its topic also
/// names the queue in which it does.
fn credit_of(request: &v1::ProduceSessionRequest) -> u32 {
    let names = 3 * request.topic.len() + request.topic_id.len();
    let bytes = u32::try_from(request.batch.len() + names).unwrap_or(u32::MAX);
    bytes.clamp(LEAST_BYTES, CREDIT_BYTES)
}

/// A first message that carries nothing: it lets a client begin before it has a batch.
fn only_opens(request: &v1::ProduceSessionRequest) -> bool {
    request.number == 0 && request.topic.is_empty() && request.batch.is_empty()
}

/// Sends what is known of the batches, in messages that carry all that is known by then.
async fn answer(mut awaited: mpsc::UnboundedReceiver<Taken>, answers: &Answers) {
    let mut fates = FuturesUnordered::new();
    let mut open = true;
    let mut end = None;
    // Kept for its memory.
    let mut answer = Answer::default();
    while open || !fates.is_empty() {
        tokio::select! {
            biased;
            Some(fulfilled) = fates.next() => answer.put(fulfilled),
            taken = awaited.recv(), if open => {
                match taken {
                    Some(Taken::Batch(fate)) => fates.push(fate),
                    Some(Taken::End(status)) => end = Some(status),
                    None => open = false,
                }
                continue;
            }
        }
        answer.take_ready(&mut fates);
        if answers.send(Ok(answer.message())).await.is_err() {
            return;
        }
    }
    if let Some(status) = end {
        drop(answers.send(Err(status)).await);
    }
}

impl Answer {
    fn take_ready(&mut self, fates: &mut FuturesUnordered<Fate>) {
        while self.durable.len() + self.errors.len() < ANSWERS_AT_ONCE {
            match fates.next().now_or_never() {
                Some(Some(fulfilled)) => self.put(fulfilled),
                Some(None) | None => return,
            }
        }
    }

    fn put(&mut self, fulfilled: Fulfilled) {
        let Fulfilled {
            number,
            place,
            result,
        } = fulfilled;
        match result {
            Ok(appended) => self.durable.push(Durable::new(number, place, appended)),
            Err(error) => self.errors.push(v1::BatchError {
                number,
                code: status(&error).code().into(),
                status: encode(&error).into(),
                message: error.message,
            }),
        }
    }

    /// All of it, and begins anew.
    fn message(&mut self) -> v1::ProduceSessionResponse {
        v1::ProduceSessionResponse {
            opened: None,
            acks: runs::acks(&mut self.durable),
            errors: std::mem::take(&mut self.errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_message_takes_credit_for_all_that_waits_with_its_batch() {
        let credit = |topic: usize, topic_id: usize, batch: usize| {
            credit_of(&v1::ProduceSessionRequest {
                topic: "t".repeat(topic),
                topic_id: "i".repeat(topic_id),
                batch: Bytes::from(vec![0; batch]),
                ..Default::default()
            })
        };
        assert_eq!(credit(5, 36, 100), LEAST_BYTES);
        assert_eq!(credit(5, 36, 1 << 20), (1 << 20) + 3 * 5 + 36);
        // No batch, and no topic that there could be.
        assert_eq!(credit(4, 4 << 20, 0), (4 << 20) + 3 * 4);
        assert_eq!(credit(4 << 20, 0, 0), 12 << 20);
        // What is larger than all of it goes alone.
        assert_eq!(credit(6 << 20, 0, 0), CREDIT_BYTES);
    }
}
