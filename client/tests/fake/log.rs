//! Sessions and subscriptions.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater_client::Reason;
use highwater_proto::batch::BatchHeader;
use highwater_proto::pb::v1::log_service_server::LogService;
use highwater_proto::pb::v1::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::admin::CLUSTER;
use super::partition::Partition;
use super::{FakeBroker, State, status};

type Answer<T> = Result<Response<T>, Status>;
type Answers = mpsc::Sender<Result<ProduceSessionResponse, Status>>;
type Pushed = Pin<Box<dyn Stream<Item = Result<SubscribeResponse, Status>> + Send>>;

/// What a batch of a session comes to.
enum Judged {
    Ack(BatchAck),
    Refused(Status),
    /// The session ends without an answer.
    Dropped,
}

impl FakeBroker {
    /// The partition, if this broker leads it.
    fn led<'a>(
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
        let may_follow = request.freshness() == Freshness::Committed;
        if may_follow && state.faults.followers_serve {
            let found = state.partition(&request.topic, partition as u32);
            return found.ok_or_else(|| Status::unavailable("no such partition"));
        }
        self.led(state, &request.topic, &request.topic_id, partition)
    }

    fn swallows(&self) -> bool {
        let mut state = self.shared.state();
        if state.faults.swallow_next > 0 {
            state.faults.swallow_next -= 1;
            self.shared.note_change();
            return true;
        }
        let one_in = state.faults.swallow_one_in;
        state.chance(one_in)
    }

    fn judge(&self, request: ProduceSessionRequest) -> Judged {
        let mut state = self.shared.state();
        self.shared.counters.batches.fetch_add(1, Ordering::SeqCst);
        if let Some(reason) = state.refusal() {
            drop(state);
            self.shared.note_change();
            return Judged::Refused(status::of(reason, "refused on demand"));
        }
        let one_in = state.faults.drop_session_one_in;
        let dropped = state.chance(one_in);
        if dropped && state.chance(Some(2)) {
            return Judged::Dropped;
        }
        let one_in = state.faults.unknown_one_in;
        let unknown = state.chance(one_in);
        if unknown && state.chance(Some(2)) {
            return Judged::Refused(status::of(Reason::OutcomeUnknown, "unknown on demand"));
        }
        let partition = match self.led(
            &mut state,
            &request.topic,
            &request.topic_id,
            request.partition,
        ) {
            Ok(partition) => partition,
            Err(status) => return Judged::Refused(status),
        };
        let epoch = partition.epoch;
        if state.is_fenced(&request.batch) {
            return Judged::Refused(status::of(Reason::ProducerFenced, "the name went on"));
        }
        let Some(partition) = state.partition(&request.topic, request.partition as u32) else {
            return Judged::Dropped;
        };
        let appended = match partition.append(request.batch, 1 << 20) {
            Ok(appended) => appended,
            Err(status) => return Judged::Refused(status),
        };
        drop(state);
        self.shared.note_change();
        if appended.duplicate {
            self.shared
                .counters
                .duplicates
                .fetch_add(1, Ordering::SeqCst);
        }
        if dropped {
            return Judged::Dropped;
        }
        if unknown {
            return Judged::Refused(status::of(Reason::OutcomeUnknown, "unknown on demand"));
        }
        Judged::Ack(BatchAck {
            number: request.number,
            base_offset: appended.base as i64,
            append_time: 1000,
            leader_epoch: epoch,
            duplicate: appended.duplicate,
        })
    }

    /// Waits until acknowledgements are not held back.
    async fn acks_flow(&self) {
        let mut changes = self.shared.changed.subscribe();
        let held = |state: &State| state.faults.hold_acks || state.faults.mute == Some(self.id);
        while held(&self.shared.state()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn session(self, mut batches: Streaming<ProduceSessionRequest>, answers: Answers) {
        let credit_bytes = self.shared.state().faults.credit_bytes.unwrap_or(16 << 20);
        let opened = ProduceSessionResponse {
            opened: Some(ProduceSessionOpened {
                cluster_id: CLUSTER.to_owned(),
                broker: self.id,
                credit_bytes,
            }),
            ..ProduceSessionResponse::default()
        };
        if answers.send(Ok(opened)).await.is_err() {
            return;
        }
        // Answers have a task of their own, so that held acks do not stop the reading.
        let (judged, mut to_answer) = mpsc::unbounded_channel();
        let unanswered = Arc::new(AtomicU64::new(0));
        let (broker, answered) = (self.clone(), Arc::clone(&unanswered));
        tokio::spawn(async move {
            while let Some((number, bytes, answer)) = to_answer.recv().await {
                let mut message = ProduceSessionResponse::default();
                match answer {
                    Judged::Ack(ack) => {
                        broker.acks_flow().await;
                        if broker.swallows() {
                            answered.fetch_sub(bytes, Ordering::SeqCst);
                            continue;
                        }
                        message.acks.push(ack);
                    }
                    Judged::Refused(status) => {
                        message.errors.push(status::of_batch(number, &status));
                    }
                    Judged::Dropped => {
                        let _ = answers.send(Err(Status::unavailable("dropped"))).await;
                        return;
                    }
                }
                answered.fetch_sub(bytes, Ordering::SeqCst);
                if answers.send(Ok(message)).await.is_err() {
                    return;
                }
            }
        });
        while let Some(Ok(request)) = batches.next().await {
            let (number, bytes) = (request.number, request.batch.len() as u64);
            let before = unanswered.fetch_add(bytes, Ordering::SeqCst);
            if before > 0 && before + bytes > credit_bytes {
                self.shared.counters.overruns.fetch_add(1, Ordering::SeqCst);
            }
            let answer = self.judge(request);
            let dropped = matches!(answer, Judged::Dropped);
            if judged.send((number, bytes, answer)).is_err() || dropped {
                return;
            }
        }
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
        loop {
            changes.mark_unchanged();
            match self.next_message(&request, std::mem::take(&mut first)) {
                Ok(Some(message)) => {
                    request.offset = message.next_offset;
                    if messages.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => tokio::select! {
                    _ = changes.changed() => {}
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
        tokio::spawn(self.clone().session(batches, sender));
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
        let request = request.into_inner();
        let mut state = self.shared.state();
        state.led()?;
        let (id, epoch) = match request.name.as_str() {
            "" => {
                state.producers += 1;
                (state.producers, 0)
            }
            name => state.take_name(name, &request)?,
        };
        Ok(Response::new(InitProducerResponse {
            cluster_id: CLUSTER.to_owned(),
            producer_id: id as i64,
            producer_epoch: epoch.into(),
        }))
    }
}

impl State {
    /// The next epoch of a name, or the same one for a repeated asking.
    fn take_name(
        &mut self,
        name: &str,
        request: &InitProducerRequest,
    ) -> Result<(u64, i16), Status> {
        let Some((id, attempt)) = self.names.get_mut(name) else {
            self.producers += 1;
            self.names
                .insert(name.to_owned(), (self.producers, request.attempt));
            self.epochs.insert(self.producers, 0);
            return Ok((self.producers, 0));
        };
        let epoch = self.epochs.get_mut(id).unwrap();
        let held = (request.producer_id, request.producer_epoch);
        if request.attempt != *attempt {
            if held.0 != 0 && held != (*id as i64, i32::from(*epoch)) {
                return Err(status::of(Reason::ProducerFenced, "the name went on"));
            }
            *epoch += 1;
            *attempt = request.attempt;
        }
        Ok((*id, *epoch))
    }

    /// True if a named producer has a later epoch than this batch.
    fn is_fenced(&self, batch: &[u8]) -> bool {
        let header = BatchHeader::decode(batch).ok();
        let stamp = header.and_then(|header| header.producer());
        stamp.is_some_and(|stamp| {
            let current = self.epochs.get(&stamp.id.0);
            current.is_some_and(|current| i16::try_from(stamp.epoch.0).unwrap() < *current)
        })
    }
}
