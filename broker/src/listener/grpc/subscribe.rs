//! A subscription: pushes as the high watermark moves. One message is prepared while one is on its
//! way; docs/architecture.md says what a client costs that does not read.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::Offset;
use highwater_proto::pb::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::status::{status, wire_number};
use crate::clock::monotonic;
use crate::partition::Read;
use crate::service::{
    Bookmark, Context as Caller, Error, Freshness, Place, Services, to_batches, to_records,
};

/// An idle subscription reports its progress this often.
const PROGRESS: Duration = Duration::from_secs(10);
/// One that promises an age looks after it at most this often.
const LOOK: Duration = Duration::from_millis(50);

type Messages = mpsc::Sender<Result<v1::SubscribeResponse, Status>>;

struct Subscription {
    services: Arc<Services>,
    caller: Caller,
    place: Place,
    next: Offset,
    batches: bool,
    bookmark: Bookmark,
}

/// Starts a subscription.
pub(super) async fn run(
    services: Arc<Services>,
    caller: Caller,
    request: v1::SubscribeRequest,
) -> Result<ReceiverStream<Result<v1::SubscribeResponse, Status>>, Error> {
    let (place, next) = services.subscribe(&caller, &request).await?;
    let (messages, stream) = mpsc::channel(1);
    let tasks = services.tasks.clone();
    let bookmark = services.bookmarks.bookmark();
    let subscription = Subscription {
        services,
        caller,
        place,
        next,
        batches: request.batches,
        bookmark,
    };
    tasks.spawn(subscription.push(messages));
    Ok(ReceiverStream::new(stream))
}

impl Subscription {
    /// Sends what there is, and waits where there is nothing. That there is nothing is said at the
    /// beginning and then now and then only: a message with data tells the end as well.
    async fn push(mut self, messages: Messages) {
        let mut published = self.place.partition.published();
        let mut progress_at = monotonic();
        loop {
            published.mark_unchanged();
            let message = self.next_message().await;
            let ended = message.is_err();
            let empty = message
                .as_ref()
                .is_ok_and(|m| m.batches.is_empty() && m.records.is_empty());
            if !empty || monotonic() >= progress_at {
                if messages.send(message).await.is_err() || ended {
                    return;
                }
                progress_at = monotonic() + PROGRESS;
            }
            if empty {
                tokio::select! {
                    () = messages.closed() => return,
                    changed = tokio::time::timeout_at(self.look_at(progress_at), published.changed()) => {
                        if matches!(changed, Ok(Err(_))) {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// When to look again though nothing happened.
    fn look_at(&self, progress_at: Instant) -> Instant {
        match self.place.freshness {
            Freshness::Bounded(age) => progress_at.min(monotonic() + age.max(LOOK)),
            Freshness::Leader | Freshness::Linearizable | Freshness::Committed => progress_at,
        }
    }

    async fn next_message(&mut self) -> Result<v1::SubscribeResponse, Status> {
        let began = monotonic();
        let read = self
            .services
            .read_on(&self.caller, &self.place, self.next)
            .await;
        let read = read.map_err(|error| status(&error))?;
        let message = self.message(&read).map_err(|error| status(&error))?;
        self.services.count_fetched(&read, &message.records, began);
        Ok(message)
    }

    fn message(&mut self, read: &Read) -> Result<v1::SubscribeResponse, Error> {
        let (records, batches, next) = if self.batches {
            (Vec::new(), to_batches(read), read.next_offset)
        } else {
            let (records, next) = to_records(read, self.next, &self.place, &mut self.bookmark)?;
            (records, Vec::new(), next)
        };
        self.next = next;
        Ok(v1::SubscribeResponse {
            topic_id: self.place.target.topic.id.to_string(),
            records,
            next_offset: next.to_i64(),
            log_start_offset: read.bounds.log_start_offset.to_i64(),
            high_watermark: read.bounds.high_watermark.to_i64(),
            leader_epoch: read.bounds.term.to_epoch(),
            broker: wire_number(self.services.me.broker.0),
            follower: read.bounds.follower,
            batches,
        })
    }
}
