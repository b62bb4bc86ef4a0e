//! A subscription: pushes as the high watermark moves. One message is prepared while one is on its
//! way, so a client that does not read costs the broker two messages and nothing more.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::Offset;
use highwater_proto::pb::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::context::Context;
use super::status::status;
use crate::clock::monotonic;
use crate::partition::{Partition, Read};
use crate::service::{Error, Services, Target, to_batches, to_records};

/// An idle subscription reports its progress this often.
const PROGRESS: Duration = Duration::from_secs(5);

type Messages = mpsc::Sender<Result<v1::SubscribeResponse, Status>>;

struct Subscription {
    services: Arc<Services>,
    target: Target,
    partition: Partition,
    next: Offset,
    max_bytes: usize,
    batches: bool,
}

/// Starts a subscription.
pub(super) async fn run(
    services: Arc<Services>,
    context: &Context,
    request: v1::SubscribeRequest,
) -> Result<ReceiverStream<Result<v1::SubscribeResponse, Status>>, Error> {
    let (target, partition, next, max_bytes) = services.subscribe(context, &request).await?;
    let (messages, stream) = mpsc::channel(1);
    let tasks = services.tasks.clone();
    let batches = request.batches;
    let subscription = Subscription {
        services,
        target,
        partition,
        next,
        max_bytes,
        batches,
    };
    tasks.spawn(subscription.push(messages));
    Ok(ReceiverStream::new(stream))
}

impl Subscription {
    async fn push(mut self, messages: Messages) {
        let mut published = self.partition.published();
        loop {
            published.mark_unchanged();
            let message = self.next_message();
            let ended = message.is_err();
            let empty = message
                .as_ref()
                .is_ok_and(|m| m.batches.is_empty() && m.records.is_empty());
            if messages.send(message).await.is_err() || ended {
                return;
            }
            if empty {
                tokio::select! {
                    () = messages.closed() => return,
                    changed = tokio::time::timeout(PROGRESS, published.changed()) => {
                        if matches!(changed, Ok(Err(_))) {
                            return;
                        }
                    }
                }
            }
        }
    }

    fn next_message(&mut self) -> Result<v1::SubscribeResponse, Status> {
        let began = monotonic();
        let read = self
            .services
            .read(&self.partition, &self.target, self.next, self.max_bytes);
        let read = read.map_err(|error| status(&error))?;
        let message = self.message(&read).map_err(|error| status(&error))?;
        self.services.count_fetched(&read, &message.records, began);
        Ok(message)
    }

    fn message(&mut self, read: &Read) -> Result<v1::SubscribeResponse, Error> {
        let (records, batches, next) = if self.batches {
            (Vec::new(), to_batches(read), read.next_offset)
        } else {
            let (records, next) = to_records(read, self.next, self.max_bytes)?;
            (records, Vec::new(), next)
        };
        self.next = next;
        Ok(v1::SubscribeResponse {
            topic_id: self.target.topic.id.to_string(),
            records,
            next_offset: next.to_i64(),
            log_start_offset: read.bounds.log_start_offset.to_i64(),
            high_watermark: read.bounds.high_watermark.to_i64(),
            leader_epoch: read.bounds.term.to_epoch(),
            batches,
        })
    }
}
