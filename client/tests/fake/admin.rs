//! Topics and metadata.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use highwater_client::Reason;
use highwater_proto::pb::v1::cluster_service_server::ClusterService;
use highwater_proto::pb::v1::topic_service_server::TopicService;
use highwater_proto::pb::v1::*;
use tonic::{Request, Response, Status};

use super::partition::Partition;
use super::{FakeBroker, State, Topic as FakeTopic, status};

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = tokio_stream::Empty<Result<T, Status>>;

pub(crate) const CLUSTER: &str = "fake-cluster";

impl State {
    pub(crate) fn create(
        &mut self,
        name: &str,
        partitions: u32,
        replication: u32,
        config: BTreeMap<String, String>,
    ) {
        let brokers: Vec<i32> = self.brokers.keys().copied().collect();
        self.topics_made += 1;
        let leader = |p: u32| brokers[p as usize % brokers.len()];
        let topic = FakeTopic {
            id: format!("topic-{}", self.topics_made),
            partitions: (0..partitions).map(|p| Partition::new(leader(p))).collect(),
            config,
            replication,
        };
        self.topics.insert(name.to_owned(), topic);
    }

    /// Whether somebody leads the metadata.
    pub(crate) fn led(&self) -> Result<(), Status> {
        match self.faults.leaderless {
            true => Err(status::of(Reason::NotReady, "nobody leads the metadata")),
            false => Ok(()),
        }
    }

    fn loses_answer(&mut self) -> Result<(), Status> {
        if self.faults.lose_answers == 0 {
            return Ok(());
        }
        self.faults.lose_answers -= 1;
        Err(Status::unavailable("the answer was lost"))
    }
}

fn described(name: &str, topic: &FakeTopic) -> Topic {
    Topic {
        name: name.to_owned(),
        id: topic.id.clone(),
        partition_count: topic.partitions.len() as i32,
        replication_factor: topic.replication as i32,
    }
}

fn not_found(name: &str) -> Status {
    status::of(Reason::TopicNotFound, format!("no topic {name:?}"))
}

impl FakeBroker {
    /// Never resolves at a broker that answers nothing.
    async fn unless_mum(&self) {
        if self.shared.state().faults.mum == Some(self.id) {
            std::future::pending::<()>().await;
        }
    }
}

#[tonic::async_trait]
impl TopicService for FakeBroker {
    async fn create_topic(
        &self,
        request: Request<CreateTopicRequest>,
    ) -> Answer<CreateTopicResponse> {
        self.unless_mum().await;
        let request = request.into_inner();
        let mut state = self.shared.state();
        state.led()?;
        if state.topics.contains_key(&request.name) {
            let reason = state.faults.refuse_repeated;
            let reason = reason.unwrap_or(Reason::TopicExists);
            return Err(status::of(reason, "it cannot be created"));
        }
        let partitions = request.partition_count.unwrap_or(1) as u32;
        let replication = request.replication_factor.unwrap_or(1) as u32;
        let config = request.config.into_iter().collect();
        state.create(&request.name, partitions, replication, config);
        state.loses_answer()?;
        let topic = described(&request.name, &state.topics[&request.name]);
        Ok(Response::new(CreateTopicResponse {
            cluster_id: CLUSTER.to_owned(),
            topic: Some(topic),
        }))
    }

    async fn list_topics(&self, _: Request<ListTopicsRequest>) -> Answer<ListTopicsResponse> {
        let state = self.shared.state();
        let topics = state
            .topics
            .iter()
            .map(|(name, topic)| described(name, topic));
        Ok(Response::new(ListTopicsResponse {
            cluster_id: CLUSTER.to_owned(),
            topics: topics.collect(),
        }))
    }

    async fn describe_topic(
        &self,
        request: Request<DescribeTopicRequest>,
    ) -> Answer<DescribeTopicResponse> {
        let name = request.into_inner().name;
        let state = self.shared.state();
        let topic = state.topics.get(&name).ok_or_else(|| not_found(&name))?;
        let partition = |(i, p): (usize, &Partition)| PartitionDescription {
            partition: i as i32,
            leader: Some(p.leader),
            leader_epoch: p.epoch,
            replicas: vec![p.leader],
            in_sync: vec![p.leader],
            log_start_offset: p.log_start as i64,
            high_watermark: p.next_offset as i64,
            disk_bytes: 0,
            faults: vec![],
        };
        Ok(Response::new(DescribeTopicResponse {
            cluster_id: CLUSTER.to_owned(),
            topic: Some(described(&name, topic)),
            config: topic.config.clone().into_iter().collect(),
            partitions: topic.partitions.iter().enumerate().map(partition).collect(),
        }))
    }

    async fn alter_topic(&self, request: Request<AlterTopicRequest>) -> Answer<AlterTopicResponse> {
        let request = request.into_inner();
        let mut state = self.shared.state();
        let topic = state.topics.get_mut(&request.name);
        let topic = topic.ok_or_else(|| not_found(&request.name))?;
        topic.config.extend(request.set);
        for name in request.unset {
            topic.config.remove(&name);
        }
        Ok(Response::new(AlterTopicResponse {
            cluster_id: CLUSTER.to_owned(),
            config: topic.config.clone().into_iter().collect(),
        }))
    }

    async fn delete_topic(
        &self,
        request: Request<DeleteTopicRequest>,
    ) -> Answer<DeleteTopicResponse> {
        let request = request.into_inner();
        let mut state = self.shared.state();
        let topic = state.topics.get(&request.name);
        let topic_id = topic.ok_or_else(|| not_found(&request.name))?.id.clone();
        if !request.topic_id.is_empty() && request.topic_id != topic_id {
            return Err(status::of(Reason::TopicIdMismatch, "another topic"));
        }
        state.topics.remove(&request.name);
        state.loses_answer()?;
        Ok(Response::new(DeleteTopicResponse {
            cluster_id: CLUSTER.to_owned(),
            topic_id,
        }))
    }

    async fn trim_partition(
        &self,
        request: Request<TrimPartitionRequest>,
    ) -> Answer<TrimPartitionResponse> {
        use trim_partition_request::To;
        let request = request.into_inner();
        let mut state = self.shared.state();
        let topic = state.topics.get_mut(&request.topic);
        let topic = topic.ok_or_else(|| not_found(&request.topic))?;
        let partition = &mut topic.partitions[request.partition as usize];
        let (before, end) = (partition.log_start, partition.next_offset);
        let to = match request.to {
            Some(To::Offset(offset)) => offset as u64,
            Some(To::End(_) | To::Timestamp(_)) | None => end,
        };
        let log_start = before.max(to);
        if !request.dry_run {
            partition.log_start = log_start;
        }
        state.loses_answer()?;
        Ok(Response::new(TrimPartitionResponse {
            cluster_id: CLUSTER.to_owned(),
            log_start_offset: log_start as i64,
            previous_log_start_offset: before as i64,
            high_watermark: end as i64,
            ..TrimPartitionResponse::default()
        }))
    }
}

fn brokers(state: &State) -> Vec<Broker> {
    let broker = |(id, listen): (&i32, &String)| Broker {
        id: *id,
        listen: listen.clone(),
        state: BrokerState::Up as i32,
        ..Broker::default()
    };
    state.brokers.iter().map(broker).collect()
}

#[tonic::async_trait]
impl ClusterService for FakeBroker {
    type WatchMetadataStream = Stream<WatchMetadataResponse>;

    async fn get_cluster(&self, _: Request<GetClusterRequest>) -> Answer<GetClusterResponse> {
        let state = self.shared.state();
        Ok(Response::new(GetClusterResponse {
            cluster_id: CLUSTER.to_owned(),
            broker: self.id,
            controller: 1,
            broker_count: state.brokers.len() as i32,
            topic_count: state.topics.len() as i32,
            partition_count: 0,
            version: "0".to_owned(),
            metadata_voters: vec![1],
        }))
    }

    async fn list_brokers(&self, _: Request<ListBrokersRequest>) -> Answer<ListBrokersResponse> {
        self.unless_mum().await;
        let mut state = self.shared.state();
        if state.faults.starting > 0 {
            state.faults.starting -= 1;
            return Err(status::of(Reason::NotReady, "the broker is starting"));
        }
        Ok(Response::new(ListBrokersResponse {
            cluster_id: CLUSTER.to_owned(),
            brokers: brokers(&state),
        }))
    }

    async fn get_metadata(
        &self,
        request: Request<GetMetadataRequest>,
    ) -> Answer<GetMetadataResponse> {
        self.shared
            .counters
            .metadata_requests
            .fetch_add(1, Ordering::SeqCst);
        self.shared.note_change();
        let held = |state: &State| state.faults.hold_metadata;
        self.shared.wait_while(held).await;
        let wanted = request.into_inner().topics;
        let state = self.shared.state();
        let is_wanted = |name: &String| wanted.is_empty() || wanted.contains(name);
        let behind = state.faults.behind == Some(self.id);
        let partition = |(i, p): (usize, &Partition)| PartitionMetadata {
            partition: i as i32,
            leader: if behind { self.id } else { p.leader },
            leader_epoch: p.epoch - i32::from(behind),
            replicas: match state.faults.followers_serve {
                true => state.brokers.keys().copied().collect(),
                false => vec![p.leader],
            },
        };
        let told = state.faults.told_limit;
        let told_id = state.faults.told_id;
        let topics = state.topics.iter().filter(|(name, _)| is_wanted(name));
        let topics = topics.map(|(name, topic)| TopicMetadata {
            name: name.clone(),
            id: told_id.map_or_else(|| topic.id.clone(), str::to_owned),
            partitions: topic.partitions.iter().enumerate().map(partition).collect(),
            max_batch_bytes: told.unwrap_or(topic.max_batch_bytes() as i32),
        });
        let metadata = Metadata {
            cluster_id: CLUSTER.to_owned(),
            version: 1,
            brokers: brokers(&state),
            topics: topics.collect(),
            controller: 1,
        };
        Ok(Response::new(GetMetadataResponse {
            metadata: Some(metadata),
        }))
    }

    async fn watch_metadata(
        &self,
        _: Request<WatchMetadataRequest>,
    ) -> Answer<Self::WatchMetadataStream> {
        Ok(Response::new(tokio_stream::empty()))
    }

    async fn get_drain(&self, _: Request<GetDrainRequest>) -> Answer<GetDrainResponse> {
        Ok(Response::new(GetDrainResponse {
            cluster_id: CLUSTER.to_owned(),
            state: BrokerState::Up.into(),
            ..GetDrainResponse::default()
        }))
    }

    async fn drain_broker(
        &self,
        request: Request<DrainBrokerRequest>,
    ) -> Answer<DrainBrokerResponse> {
        let state = match request.into_inner().cancel {
            true => BrokerState::Up,
            false => BrokerState::Draining,
        };
        Ok(Response::new(DrainBrokerResponse {
            cluster_id: CLUSTER.to_owned(),
            state: state.into(),
            ..DrainBrokerResponse::default()
        }))
    }
}
