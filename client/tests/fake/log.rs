//! Sessions and subscriptions.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use highwater_client::Reason;
use highwater_proto::pb::v1::log_service_server::LogService;
use highwater_proto::pb::v1::*;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::admin::CLUSTER;
use super::partition::Partition;
use super::{FakeBroker, State, status};

/// How often a subscription says where it is when there is nothing else to say, as brokers do.
const PROGRESS: Duration = Duration::from_secs(10);

type Answer<T> = Result<Response<T>, Status>;
pub(super) type Answers = mpsc::Sender<Result<ProduceSessionResponse, Status>>;
type Pushed = Pin<Box<dyn Stream<Item = Result<SubscribeResponse, Status>> + Send>>;

impl FakeBroker {
    /// Remembers how long the caller waits.
    fn note_patience<T>(&self, request: &Request<T>) {
        let told = request.metadata().get("grpc-timeout").unwrap();
        let millis = told.to_str().unwrap().strip_suffix('m').unwrap();
        let patience = Duration::from_millis(millis.parse().unwrap());
        self.shared.state().asked_within.push(patience);
    }

    /// The partition, if this broker leads it.
    pub(super) fn led<'a>(
        &self,
        state: &'a mut State,
        topic: &str,
        topic_id: &str,
        partition: i32,
    ) -> Result<&'a mut Partition, Status> {
        if state.faults.ignorance > 0 {
            state.faults.ignorance -= 1;
            return Err(status::of(Reason::TopicNotFound, "not yet known"));
        }
        let brokers = state.brokers.clone();
        let hints = !state.faults.no_hints;
        let other = state.topics.get(topic).filter(|found| found.id != topic_id);
        if other.is_some() && !topic_id.is_empty() {
            return Err(status::of(Reason::TopicIdMismatch, "it was re-created"));
        }
        let found = state.partition(topic, partition as u32);
        let Some(found) = found else {
            return Err(status::of(
                Reason::TopicNotFound,
                format!("no topic {topic:?}"),
            ));
        };
        if found.leader == self.id {
            return Ok(found);
        }
        let hint = NotLeader {
            topic: topic.to_owned(),
            partition,
            leader: if hints { found.leader } else { 0 },
            leader_listen: match hints {
                true => brokers.get(&found.leader).cloned().unwrap_or_default(),
                false => String::new(),
            },
            leader_epoch: found.epoch,
        };
        Err(status::not_leader(&hint))
    }

    /// The partition, if this broker serves this subscription of it.
    fn served<'a>(
        &self,
        state: &'a mut State,
        request: &SubscribeRequest,
    ) -> Result<&'a mut Partition, Status> {
        if state.faults.away == Some(self.id) {
            return Err(Status::unavailable("away"));
        }
        let partition = request.partition;
        let is_bounded = request.freshness() == Freshness::Bounded;
        if is_bounded && state.faults.stale == Some(self.id) {
            return Err(status::of(Reason::Stale, "no majority has answered lately"));
        }
        let may_follow = is_bounded || request.freshness() == Freshness::Committed;
        if may_follow && state.faults.followers_serve {
            let found = state.partition(&request.topic, partition as u32);
            return found.ok_or_else(|| Status::unavailable("no such partition"));
        }
        self.led(state, &request.topic, &request.topic_id, partition)
    }

    /// The next message of a subscription; `None` while there is nothing to say. The `first` one
    /// comes in any case.
    fn next_message(
        &self,
        request: &SubscribeRequest,
        first: bool,
    ) -> Result<Option<SubscribeResponse>, Status> {
        let mut state = self.shared.state();
        let one_in = state.faults.drop_subscription_one_in;
        let dropped = state.chance(one_in);
        let partition = self.served(&mut state, request)?;
        let offset = request.offset as u64;
        if offset < partition.log_start || offset > partition.next_offset {
            return Err(status::out_of_range(&OffsetRange {
                offset: request.offset,
                log_start_offset: partition.log_start as i64,
                high_watermark: partition.next_offset as i64,
            }));
        }
        let read = partition.read(offset, request.max_bytes as usize);
        let next_offset = match read.last() {
            Some(_) if dropped => return Err(Status::unavailable("dropped")),
            Some(last) => (last.base + u64::from(last.records)) as i64,
            None if first => request.offset,
            None => return Ok(None),
        };
        let batches = read.iter().map(|stored| AppendedBatch {
            append_time: 1000,
            batch: stored.bytes.clone(),
        });
        Ok(Some(SubscribeResponse {
            next_offset,
            log_start_offset: partition.log_start as i64,
            high_watermark: partition.next_offset as i64,
            leader_epoch: partition.epoch,
            batches: batches.collect(),
            broker: self.id,
            follower: partition.leader != self.id,
            ..SubscribeResponse::default()
        }))
    }

    async fn subscription(
        self,
        mut request: SubscribeRequest,
        messages: mpsc::Sender<Result<SubscribeResponse, Status>>,
    ) {
        let mut changes = self.shared.changed.subscribe();
        let mut first = true;
        let mut due = Instant::now();
        loop {
            changes.mark_unchanged();
            match self.next_message(&request, std::mem::take(&mut first)) {
                Ok(Some(message)) => {
                    due = Instant::now() + PROGRESS;
                    request.offset = message.next_offset;
                    if messages.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => tokio::select! {
                    changed = timeout_at(due, changes.changed()) => first = changed.is_err(),
                    () = messages.closed() => return,
                },
                Err(status) => {
                    let _ = messages.send(Err(status)).await;
                    return;
                }
            }
        }
    }
}

#[tonic::async_trait]
impl LogService for FakeBroker {
    type ProduceSessionStream = ReceiverStream<Result<ProduceSessionResponse, Status>>;
    type SubscribeStream = Pushed;

    async fn produce(&self, _: Request<ProduceRequest>) -> Answer<ProduceResponse> {
        Err(Status::unimplemented("the fake broker takes sessions only"))
    }

    async fn produce_session(
        &self,
        request: Request<Streaming<ProduceSessionRequest>>,
    ) -> Answer<Self::ProduceSessionStream> {
        assert_eq!(
            request.metadata().get("highwater-forward").unwrap(),
            "never"
        );
        let mut batches = request.into_inner();
        let opening = batches.message().await?.unwrap_or_default();
        if opening.number != 0 || !opening.batch.is_empty() {
            return Err(status::of(
                Reason::InvalidRequest,
                "the first message opens",
            ));
        }
        self.shared.counters.sessions.fetch_add(1, Ordering::SeqCst);
        let (sender, answers) = mpsc::channel(64);
        let cumulative = opening.cumulative_acks && !self.shared.state().faults.single_acks;
        tokio::spawn(self.clone().session(batches, cumulative, sender));
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn fetch(&self, _: Request<FetchRequest>) -> Answer<FetchResponse> {
        Err(Status::unimplemented(
            "the fake broker takes subscriptions only",
        ))
    }

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Answer<Self::SubscribeStream> {
        let request = request.into_inner();
        assert!(request.batches, "the client reads whole batches");
        let unanswered = Some((self.id, request.partition));
        let held = |state: &State| state.faults.unanswered == unanswered;
        self.shared.wait_while(held).await;
        // What is wrong from the start is the answer to the call.
        self.served(&mut self.shared.state(), &request)?;
        self.shared
            .counters
            .subscriptions
            .fetch_add(1, Ordering::SeqCst);
        let (sender, messages) = mpsc::channel(1);
        tokio::spawn(self.clone().subscription(request, sender));
        let shared = self.shared.clone();
        let counted = ReceiverStream::new(messages).map(move |message| {
            let batches = message.iter().flat_map(|message| &message.batches);
            let bytes: usize = batches.map(|appended| appended.batch.len()).sum();
            let counter = &shared.counters.subscription_bytes;
            counter.fetch_add(bytes as u64, Ordering::SeqCst);
            shared.note_change();
            message
        });
        Ok(Response::new(Box::pin(counted)))
    }

    async fn list_offsets(
        &self,
        request: Request<ListOffsetsRequest>,
    ) -> Answer<ListOffsetsResponse> {
        use list_offsets_request::Position;
        self.note_patience(&request);
        let request = request.into_inner();
        let mut state = self.shared.state();
        let partition = self.led(
            &mut state,
            &request.topic,
            &request.topic_id,
            request.partition,
        )?;
        let offset = match request.position {
            Some(Position::Earliest(_)) => partition.log_start,
            _ => partition.next_offset,
        };
        Ok(Response::new(ListOffsetsResponse {
            cluster_id: CLUSTER.to_owned(),
            topic_id: String::new(),
            offset: offset as i64,
            log_start_offset: partition.log_start as i64,
            high_watermark: partition.next_offset as i64,
            leader_epoch: partition.epoch,
        }))
    }

    async fn init_producer(
        &self,
        request: Request<InitProducerRequest>,
    ) -> Answer<InitProducerResponse> {
        self.note_patience(&request);
        if self.shared.state().faults.foreign.contains(&self.id) {
            return Ok(Response::new(InitProducerResponse {
                cluster_id: "another-cluster".to_owned(),
                producer_id: 1,
                producer_epoch: 7,
            }));
        }
        let identity = self.shared.state().identify(&request.into_inner());
        self.shared.note_change();
        let held = |state: &State| state.faults.hold_identities;
        self.shared.wait_while(held).await;
        let (id, epoch) = identity?;
        Ok(Response::new(InitProducerResponse {
            cluster_id: CLUSTER.to_owned(),
            producer_id: id as i64,
            producer_epoch: epoch.into(),
        }))
    }
}
