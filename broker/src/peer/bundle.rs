//! Small messages of many groups that are sent at about the same time travel as one: a broker pair
//! exchanges a few heartbeats a second however many groups it shares.

use std::time::Duration;

use futures_util::{Stream, stream};
use highwater_proto::pb::peer::{
    LaneRequest, LaneRequests, LaneResponse, LaneResponses, lane_request, lane_response,
};
use tokio::sync::mpsc;

use crate::clock;

/// So long after a message the next ones wait for others. One that comes alone waits for nothing.
const LINGER: Duration = Duration::from_millis(1);
/// The most messages of a bundle.
const MOST: usize = 1024;

/// A message that can travel together with others.
pub trait Bundled: Sized {
    /// Several messages as one.
    fn bundle(messages: Vec<Self>) -> Self;
}

impl Bundled for LaneRequest {
    fn bundle(requests: Vec<Self>) -> Self {
        let message = lane_request::Message::Bundle(LaneRequests { requests });
        Self {
            message: Some(message),
            ..Self::default()
        }
    }
}

impl Bundled for LaneResponse {
    fn bundle(responses: Vec<Self>) -> Self {
        let message = lane_response::Message::Bundle(LaneResponses { responses });
        Self {
            message: Some(message),
            ..Self::default()
        }
    }
}

/// The messages of `queue` in their order, those that come at about the same time as one.
pub fn bundles<T: Bundled>(queue: mpsc::Receiver<T>) -> impl Stream<Item = T> {
    stream::unfold((queue, None), |(mut queue, rests)| async move {
        let first = queue.recv().await?;
        if let Some(until) = rests {
            tokio::time::sleep_until(until).await;
        }
        let rests = Some(clock::monotonic() + LINGER);
        let mut more = Vec::new();
        while more.len() < MOST
            && let Ok(next) = queue.try_recv()
        {
            more.push(next);
        }
        if more.is_empty() {
            return Some((first, (queue, rests)));
        }
        more.insert(0, first);
        Some((T::bundle(more), (queue, rests)))
    })
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    fn request(correlation: u64) -> LaneRequest {
        LaneRequest {
            correlation,
            ..LaneRequest::default()
        }
    }

    #[tokio::test]
    async fn what_is_sent_at_the_same_time_travels_as_one_message_in_its_order() {
        let (send, queue) = mpsc::channel(16);
        let mut sent = Box::pin(bundles(queue));
        send.send(request(1)).await.unwrap();
        assert_eq!(sent.next().await, Some(request(1)), "alone it is no bundle");
        for number in 2..=5 {
            send.send(request(number)).await.unwrap();
        }
        let Some(lane_request::Message::Bundle(bundle)) = sent.next().await.unwrap().message else {
            panic!("not a bundle");
        };
        let numbers: Vec<_> = bundle.requests.iter().map(|one| one.correlation).collect();
        assert_eq!(numbers, [2, 3, 4, 5]);
        drop(send);
        assert_eq!(sent.next().await, None);
    }
}
