//! The reader of one partition: subscribes to the leader or to a near replica, follows it, and goes
//! on where it was after every loss. Polled by the consumer; has no task of its own.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use highwater_proto::pb::v1;
use highwater_proto::{PartitionIndex, Reason};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tonic::Streaming;

use super::Progress;
use super::connections::Connections;
use super::cursor::Cursor;
use super::event::{CaughtUp, Event};
use super::freshness::ReadFrom;
use super::route::Route;
use crate::entropy;
use crate::error::{Error, Outcome, Result};
use crate::metadata::{Metadata, is_believed};
use crate::request::{no_leader, recreated};
use crate::retry::Backoff;

/// A leader that is being looked for is asked for at least this often.
const SEEK_EVERY: Duration = Duration::from_millis(100);
/// Brokers report progress every 10 s; one that does not answer a subscription for longer than this, or
/// is silent on it, is given up.
const SILENCE: Duration = Duration::from_secs(25);
/// A reader that could not have the nearest replica tries it again after this long.
const RETURN_AFTER: Duration = Duration::from_secs(30);

/// What the readers of a consumer share.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) metadata: Arc<Metadata>,
    pub(super) topic_id: String,
    /// The most bytes of batches in one message.
    pub(super) message_bytes: i32,
    pub(super) freshness: v1::Freshness,
    pub(super) max_age_ms: i32,
    pub(super) read_from: ReadFrom,
    /// Spreads consumers over replicas that are equally near.
    pub(super) salt: usize,
    pub(super) connections: Connections,
}

impl Source {
    /// Subscribes where `route` leads, as it is known now.
    async fn subscribe(
        &self,
        route: Route,
        partition: PartitionIndex,
        request: v1::SubscribeRequest,
    ) -> Result<Subscription> {
        let topic = request.topic.as_str();
        let near = match route.may_follow() {
            true => self.metadata.nearest(topic, partition, self.salt),
            false => Vec::new(),
        };
        let leader = || self.metadata.leader(topic, partition);
        let Some(address) = route.choose(&near).cloned().or_else(leader) else {
            return Err(no_leader(topic, partition));
        };
        let channels = self.metadata.channels();
        let api = self.connections.get(channels, &address, partition)?;
        let mut log = api.log();
        match timeout(SILENCE, log.subscribe(request)).await {
            Ok(Ok(answer)) => Ok(Box::new(answer.into_inner())),
            Ok(Err(status)) => Err(Error::from(status).in_context(&address)),
            Err(_) => Err(silent().in_context(&address)),
        }
    }
}

type Subscription = Box<Streaming<v1::SubscribeResponse>>;

enum State {
    Connecting(BoxFuture<'static, Result<Subscription>>),
    Reading(Subscription),
    Ended,
}

/// See the module.
pub(super) struct Reader {
    source: Arc<Source>,
    cursor: Cursor,
    route: Route,
    /// When to look for the nearest replica again.
    return_at: Instant,
    state: State,
    backoff: Backoff,
    /// Rings when the broker was silent for too long.
    silence: Pin<Box<Sleep>>,
    events: VecDeque<Event>,
    failed: Option<Error>,
    /// Since when the topic is said not to exist.
    missing: Option<Instant>,
}

impl Reader {
    /// Must be called on a runtime.
    pub(super) fn new(source: Arc<Source>, cursor: Cursor) -> Self {
        let mut reader = Self {
            route: Route::new(source.read_from),
            return_at: Instant::now() + RETURN_AFTER,
            source,
            cursor,
            state: State::Ended,
            backoff: Backoff::default(),
            silence: Box::pin(sleep(SILENCE)),
            events: VecDeque::new(),
            failed: None,
            missing: None,
        };
        reader.connect(Duration::ZERO, None);
        reader
    }

    pub(super) fn partition(&self) -> PartitionIndex {
        self.cursor.partition()
    }

    /// Adds to `progress` what the reader knows beyond what was handed out.
    pub(super) fn tell(&self, progress: &mut Progress) {
        let known = self.cursor.high_watermark();
        progress.high_watermark = progress.high_watermark.max(known);
        if let Some((broker, follower)) = self.cursor.served_by() {
            progress.broker = Some(broker);
            progress.follower = follower;
        }
    }

    /// Begins a subscription at the next offset, after `wait`, and after asking for the leader if
    /// there was trouble.
    fn connect(&mut self, wait: Duration, trouble: Option<Instant>) {
        self.cursor.restart();
        let source = Arc::clone(&self.source);
        let partition = self.cursor.partition().0;
        let request = v1::SubscribeRequest {
            topic: self.cursor.topic().to_owned(),
            topic_id: source.topic_id.clone(),
            partition: i32::try_from(partition).unwrap_or(i32::MAX),
            offset: self.cursor.next_offset().to_i64(),
            max_bytes: source.message_bytes,
            batches: true,
            freshness: source.freshness.into(),
            max_age_ms: source.max_age_ms,
        };
        let (route, partition) = (self.route, self.cursor.partition());
        self.state = State::Connecting(Box::pin(async move {
            sleep(wait).await;
            if let Some(trouble) = trouble {
                let metadata = &source.metadata;
                let deadline = metadata.deadline();
                metadata.refresh(&request.topic, trouble, deadline).await?;
            }
            source.subscribe(route, partition, request).await
        }));
    }

    /// Goes on after an error, unless it is one that ends the partition.
    fn recover(&mut self, error: Error) {
        if let Some(error) = self.last_word(&error) {
            let (partition, topic) = (self.cursor.partition(), self.cursor.topic());
            let context = format!("partition {partition} of topic {topic:?}");
            self.failed = Some(error.in_context(context));
            self.state = State::Ended;
            return;
        }
        tracing::debug!(partition = %self.cursor.partition(), %error, "subscribing again");
        // What a follower cannot answer it leaves to the leader; what it has damaged others may have.
        let referred = error.not_leader().is_some() || is_damage(&error);
        self.route = self.route.after_failure(referred);
        self.return_at = Instant::now() + RETURN_AFTER;
        let first = self.backoff.is_fresh();
        let wait = self.backoff.next(entropy::random()).min(SEEK_EVERY);
        let source = &self.source;
        match source.metadata.learn_from(&error, &source.topic_id) && first {
            true => self.connect(Duration::ZERO, None),
            false => self.connect(wait, Some(Instant::now())),
        }
    }

    /// What to end the partition with, if going on is pointless. That the topic is missing must be
    /// confirmed.
    fn last_word(&mut self, error: &Error) -> Option<Error> {
        if !error.is_missing_topic() {
            let elsewhere = self.route.may_follow() && is_damage(error);
            let refused = error.outcome() == Outcome::Refused && !elsewhere;
            return refused.then(|| error.clone());
        }
        let (topic, source) = (self.cursor.topic(), &self.source);
        let another = source.metadata.is_recreated(topic, &source.topic_id);
        let certain = another && error.is_another_topic();
        let believed = is_believed(&mut self.missing) || certain;
        believed.then(|| match another {
            true => recreated(topic),
            false => error.clone(),
        })
    }

    fn take(&mut self, message: v1::SubscribeResponse) {
        self.backoff.reset();
        self.missing = None;
        self.silence.as_mut().reset(Instant::now() + SILENCE);
        let events = &mut self.events;
        let batches = |batch| events.push_back(Event::Batch(batch));
        match self.cursor.take(message, batches) {
            Ok(false) => {}
            Ok(true) => self.events.push_back(Event::CaughtUp(CaughtUp {
                partition: self.cursor.partition(),
                high_watermark: self.cursor.next_offset(),
            })),
            Err(error) => {
                self.failed = Some(error);
                self.state = State::Ended;
                return;
            }
        }
        if !self.route.is_wanted() && Instant::now() >= self.return_at {
            self.route = self.route.renewed();
            self.connect(Duration::ZERO, None);
        }
    }

    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Connecting(subscription) => match ready!(subscription.as_mut().poll(cx)) {
                Ok(subscription) => {
                    self.silence.as_mut().reset(Instant::now() + SILENCE);
                    self.state = State::Reading(subscription);
                }
                Err(error) => self.recover(error),
            },
            State::Reading(subscription) => match subscription.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(message))) => self.take(message),
                Poll::Ready(Some(Err(status))) => self.recover(status.into()),
                Poll::Ready(None) => {
                    let why = "the broker ended the subscription";
                    self.recover(Error::new(Reason::NotReady, why));
                }
                Poll::Pending => {
                    ready!(self.silence.as_mut().poll(cx));
                    self.recover(silent());
                }
            },
            State::Ended => {}
        }
        Poll::Ready(())
    }
}

/// The error of a broker that holds the connection and says nothing.
fn silent() -> Error {
    let why = format!("the broker was silent for {SILENCE:?}");
    Error::new(Reason::Unreachable, why)
}

fn is_damage(error: &Error) -> bool {
    error.reason() == Some(Reason::CorruptData)
}

impl Stream for Reader {
    type Item = (PartitionIndex, Result<Event>);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(event) = this.events.pop_front() {
                return Poll::Ready(Some((this.partition(), Ok(event))));
            }
            if let Some(error) = this.failed.take() {
                return Poll::Ready(Some((this.partition(), Err(error))));
            }
            if this.cursor.is_at_end() {
                this.state = State::Ended;
            }
            if matches!(this.state, State::Ended) {
                return Poll::Ready(None);
            }
            ready!(this.poll_state(cx));
        }
    }
}
