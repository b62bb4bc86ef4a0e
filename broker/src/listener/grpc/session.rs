//! A produce session: batches come in order, acknowledgements go out as commits complete them, all
//! that one commit completed in one message. The broker reads on only while the batches that are
//! not yet answered fit into the session's credit.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use highwater_proto::pb::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::context::Context;
use super::explained::explained;
use super::status::{encode, status, wire_number};
use crate::partition::Appended;
use crate::service::{Error, Resource, Services, parse_batch};

/// Bytes of batches that may be in flight on one session.
const CREDIT_BYTES: u32 = 16 << 20;
/// What a batch takes of the credit at least: remembering it costs memory, however small it is.
const LEAST_BYTES: u32 = 4 << 10;
/// Messages that are prepared for a client that does not read.
const PREPARED: usize = 2;
/// The most batches that are answered in one message.
const ANSWERS_AT_ONCE: usize = 1024;

type Answers = mpsc::Sender<Result<v1::ProduceSessionResponse, Status>>;
type Fate = Pin<Box<dyn Future<Output = (u64, Result<Appended, Error>)> + Send>>;

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
        while let Some(request) = requests.message().await.map_err(explained)? {
            if expected == 1 && only_opens(&request) {
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
            let fate = self.take(request, permit).await;
            if self.taken.send(Taken::Batch(fate)).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Hands one batch to its partition; batches of one partition keep their order.
    async fn take(&self, request: v1::ProduceSessionRequest, permit: OwnedSemaphorePermit) -> Fate {
        let number = request.number;
        let enqueued = self.enqueue(request).await;
        if let Err(error) = &enqueued {
            self.services.metrics.produce_error(error.reason);
        }
        Box::pin(async move {
            let result = match enqueued {
                Ok(fate) => fate.await,
                Err(error) => Err(error),
            };
            drop(permit);
            (number, result)
        })
    }

    async fn enqueue(
        &self,
        request: v1::ProduceSessionRequest,
    ) -> Result<impl Future<Output = Result<Appended, Error>> + Send + use<>, Error> {
        let resource = Resource::Topic(&request.topic);
        self.context
            .authorize("highwater.v1.LogService/ProduceSession", resource)?;
        let target = self
            .services
            .target(&request.topic, &request.topic_id, request.partition)
            .await?;
        let batch = parse_batch(request.batch, target.topic.config.max_batch_bytes)?;
        Services::enqueue(&self.services, &target, batch).await
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
    while open || !fates.is_empty() {
        let mut response = v1::ProduceSessionResponse::default();
        tokio::select! {
            biased;
            Some((number, result)) = fates.next() => put(&mut response, number, result),
            taken = awaited.recv(), if open => {
                match taken {
                    Some(Taken::Batch(fate)) => fates.push(fate),
                    Some(Taken::End(status)) => end = Some(status),
                    None => open = false,
                }
                continue;
            }
        }
        take_ready(&mut fates, &mut response);
        if answers.send(Ok(response)).await.is_err() {
            return;
        }
    }
    if let Some(status) = end {
        drop(answers.send(Err(status)).await);
    }
}

fn take_ready(fates: &mut FuturesUnordered<Fate>, response: &mut v1::ProduceSessionResponse) {
    use futures_util::FutureExt;
    while response.acks.len() + response.errors.len() < ANSWERS_AT_ONCE {
        match fates.next().now_or_never() {
            Some(Some((number, result))) => put(response, number, result),
            Some(None) | None => return,
        }
    }
}

fn put(response: &mut v1::ProduceSessionResponse, number: u64, result: Result<Appended, Error>) {
    match result {
        Ok(appended) => response.acks.push(v1::BatchAck {
            number,
            base_offset: appended.base_offset.to_i64(),
            append_time: appended.append_time.0,
            leader_epoch: appended.term.to_epoch(),
            duplicate: appended.duplicate,
        }),
        Err(error) => response.errors.push(v1::BatchError {
            number,
            code: status(&error).code().into(),
            status: encode(&error).into(),
            message: error.message,
        }),
    }
}
