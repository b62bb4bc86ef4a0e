//! A produce session: batches come in order, acknowledgements go out as commits complete them, all
//! that one commit completed in one message. The broker reads on only while the batches that are
//! not yet answered fit into the session's credit.

mod runs;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use highwater_proto::pb::v1;
use highwater_proto::{PartitionIndex, TopicId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use self::runs::{Durable, Place};
use super::context::Context;
use super::explained::explained;
use super::status::{encode, status, wire_number};
use crate::partition::Appended;
use crate::service::{Error, Resource, Services, Target, parse_batch};

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
type Fate = Pin<Box<dyn Future<Output = Fulfilled> + Send>>;

/// What became of a batch.
struct Fulfilled {
    number: u64,
    place: Place,
    result: Result<Appended, Error>,
}

/// What the next message says.
#[derive(Default)]
struct Answer {
    durable: Vec<Durable>,
    errors: Vec<v1::BatchError>,
}

/// What a message of the client has come to.
enum Taken {
    /// A batch, and what becomes of it.
    Batch(Fate),
    /// The session is over.
    End(Status),
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
        services: Arc::clone(&services),
        context,
        taken,
    };
    let opening = answers.clone();
    tasks.spawn(async move { reader.read(requests, opening).await });
    tasks.spawn(async move { answer(awaited, &answers).await });
    ReceiverStream::new(stream)
}

struct Session {
    services: Arc<Services>,
    context: Context,
    // Bounded by the credit.
    taken: mpsc::UnboundedSender<Taken>,
}

impl Session {
    async fn read(self, requests: Streaming<v1::ProduceSessionRequest>, answers: Answers) {
        let opened = v1::ProduceSessionOpened {
            cluster_id: self.services.me.cluster.to_string(),
            broker: wire_number(self.services.me.broker.0),
            credit_bytes: u64::from(CREDIT_BYTES),
        };
        let first = v1::ProduceSessionResponse {
            opened: Some(opened),
            ..Default::default()
        };
        if answers.send(Ok(first)).await.is_err() {
            return;
        }
        drop(answers);
        if let Err(end) = self.take_all(requests).await {
            drop(self.taken.send(Taken::End(end)));
        }
    }

    /// Takes batches until the client has no more or sends what cannot be taken.
    async fn take_all(
        &self,
        mut requests: Streaming<v1::ProduceSessionRequest>,
    ) -> Result<(), Status> {
        let credit = Arc::new(Semaphore::new(CREDIT_BYTES as usize));
        let mut expected = 1;
        // Kept for a client that takes one ack for several batches.
        let mut lines = None;
        while let Some(request) = requests.message().await.map_err(explained)? {
            if expected == 1 && only_opens(&request) {
                lines = request.cumulative_acks.then(Lines::default);
                continue;
            }
            if request.number != expected {
                let message = format!("the number is {}, expected {expected}", request.number);
                return Err(status(&Error::invalid(message)));
            }
            expected += 1;
            let bytes = u32::try_from(request.batch.len()).unwrap_or(u32::MAX);
            let permits = bytes.clamp(LEAST_BYTES, CREDIT_BYTES);
            let Ok(permit) = Arc::clone(&credit).acquire_many_owned(permits).await else {
                return Ok(());
            };
            let fate = self.take(request, permit, lines.as_mut()).await;
            if self.taken.send(Taken::Batch(fate)).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Hands one batch to its partition; batches of one partition keep their order.
    async fn take(
        &self,
        request: v1::ProduceSessionRequest,
        permit: OwnedSemaphorePermit,
        lines: Option<&mut Lines>,
    ) -> Fate {
        let number = request.number;
        let target = self.target(&request).await;
        let place = lines.map_or_else(Place::default, |lines| place(lines, number, &target));
        let enqueued = match target {
            Ok(target) => self.enqueue(&target, request.batch).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &enqueued {
            self.services.metrics.produce_error(error.reason);
        }
        Box::pin(async move {
            let result = match enqueued {
                Ok(fate) => fate.await,
                Err(error) => Err(error),
            };
            drop(permit);
            Fulfilled {
                number,
                place,
                result,
            }
        })
    }

    async fn target(&self, request: &v1::ProduceSessionRequest) -> Result<Target, Error> {
        let resource = Resource::Topic(&request.topic);
        self.context
            .authorize("highwater.v1.LogService/ProduceSession", resource)?;
        self.services
            .target(&request.topic, &request.topic_id, request.partition)
            .await
    }

    async fn enqueue(
        &self,
        target: &Target,
        batch: Bytes,
    ) -> Result<impl Future<Output = Result<Appended, Error>> + Send + use<>, Error> {
        let batch = parse_batch(batch, target.topic.config.max_batch_bytes)?;
        Services::enqueue(&self.services, target, batch).await
    }
}

/// Where a batch stands among those of its partition. One whose partition was not found may have been
/// meant for any.
fn place(lines: &mut Lines, number: u64, target: &Result<Target, Error>) -> Place {
    match target {
        Ok(target) => lines.next((target.topic.id, target.partition), number),
        Err(_) => {
            lines.forget();
            Place::default()
        }
    }
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
