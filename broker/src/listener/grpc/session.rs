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
use super::status::{encode, status, wire_number};
use crate::partition::Appended;
use crate::service::{Error, Resource, Services, parse_batch};

/// Bytes of batches that may be in flight on one session.
const CREDIT_BYTES: u32 = 16 << 20;
/// The most batches that are answered in one message.
const ANSWERS_AT_ONCE: usize = 1024;

type Answers = mpsc::Sender<Result<v1::ProduceSessionResponse, Status>>;
type Fate = Pin<Box<dyn Future<Output = (u64, Result<Appended, Error>)> + Send>>;

/// Starts a session.
pub(super) fn run(
    services: Arc<Services>,
    context: Context,
    requests: Streaming<v1::ProduceSessionRequest>,
) -> ReceiverStream<Result<v1::ProduceSessionResponse, Status>> {
    let (answers, stream) = mpsc::channel(16);
    let (fates, awaited) = mpsc::unbounded_channel();
    let tasks = services.tasks.clone();
    let reader = Session {
        services: Arc::clone(&services),
        context,
        fates,
    };
    let refusals = answers.clone();
    tasks.spawn(async move { reader.read(requests, &refusals).await });
    tasks.spawn(async move { answer(awaited, &answers).await });
    ReceiverStream::new(stream)
}

struct Session {
    services: Arc<Services>,
    context: Context,
    fates: mpsc::UnboundedSender<Fate>,
}

impl Session {
    async fn read(self, mut requests: Streaming<v1::ProduceSessionRequest>, answers: &Answers) {
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
        let credit = Arc::new(Semaphore::new(CREDIT_BYTES as usize));
        // A message that does not parse ends the session; what came before it is still answered.
        loop {
            let request = match requests.message().await {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(broken) => {
                    drop(answers.send(Err(broken)).await);
                    return;
                }
            };
            let bytes = u32::try_from(request.batch.len()).unwrap_or(u32::MAX);
            let permits = bytes.clamp(1, CREDIT_BYTES);
            let Ok(permit) = Arc::clone(&credit).acquire_many_owned(permits).await else {
                return;
            };
            let fate = self.take(request, permit).await;
            if self.fates.send(fate).is_err() {
                return;
            }
        }
    }

    /// Hands one batch to its partition; batches of one partition keep their order.
    async fn take(&self, request: v1::ProduceSessionRequest, permit: OwnedSemaphorePermit) -> Fate {
        let number = request.number;
        match self.enqueue(request).await {
            Ok(fate) => Box::pin(async move {
                let result = fate.await;
                drop(permit);
                (number, result)
            }),
            Err(error) => Box::pin(std::future::ready((number, Err(error)))),
        }
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

/// Sends what is known of the batches, in messages that carry all that is known by then.
async fn answer(mut awaited: mpsc::UnboundedReceiver<Fate>, answers: &Answers) {
    let mut fates = FuturesUnordered::new();
    let mut open = true;
    while open || !fates.is_empty() {
        let mut response = v1::ProduceSessionResponse::default();
        tokio::select! {
            biased;
            Some((number, result)) = fates.next() => put(&mut response, number, result),
            fate = awaited.recv(), if open => {
                match fate {
                    Some(fate) => fates.push(fate),
                    None => open = false,
                }
                continue;
            }
        }
        while let Ok(fate) = awaited.try_recv() {
            fates.push(fate);
        }
        take_ready(&mut fates, &mut response);
        if answers.send(Ok(response)).await.is_err() {
            return;
        }
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
