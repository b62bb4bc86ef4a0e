//! The public API as its generated clients speak it: every call with a deadline, every failure
//! with its reason and its typed detail.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::pb::v1;
use highwater_proto::pb::v1::cluster_service_client::ClusterServiceClient;
use highwater_proto::pb::v1::log_service_client::LogServiceClient;
use highwater_proto::pb::v1::topic_service_client::TopicServiceClient;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use crate::reflect::codec::Plain;

mod refusal;
mod topics;

pub use refusal::{Answer, Refusal};

/// How long anything may take that a test waits for.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Why nobody could answer as the leader that a call needs.
const NO_LEADER: [&str; 3] = ["NO_LEADER", "NOT_LEADER", "QUORUM_LOST"];

/// Waits for `future`, and fails when it takes longer than [`LIMIT`].
#[track_caller]
pub fn soon<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    let future = Box::pin(future);
    async move {
        match tokio::time::timeout(LIMIT, future).await {
            Ok(value) => value,
            Err(_) => panic!("{place}: {what}: not within {LIMIT:?}"),
        }
    }
}

/// The clients of one broker, over one connection.
#[derive(Debug, Clone)]
pub struct Api {
    /// Appends and reads.
    pub log: LogServiceClient<Channel>,
    topics: TopicServiceClient<Channel>,
    cluster: ClusterServiceClient<Channel>,
    channel: Channel,
}

impl Api {
    /// Connects to a broker's address.
    pub async fn connect(address: &str) -> Self {
        let endpoint = Channel::from_shared(format!("http://{address}"));
        let endpoint = endpoint.expect("an address makes a URI");
        let channel = soon("connecting", endpoint.connect()).await;
        let channel = channel.expect("a broker can be connected to");
        Self {
            log: LogServiceClient::new(channel.clone()),
            topics: TopicServiceClient::new(channel.clone()),
            cluster: ClusterServiceClient::new(channel.clone()),
            channel,
        }
    }

    /// Waits until the leader of a partition, as this broker knows it, is one that `wanted`
    /// takes; gives its id.
    pub async fn leader(&self, topic: &str, partition: usize, wanted: impl Fn(i32) -> bool) -> i32 {
        let leader = |metadata: v1::Metadata| {
            let topic = metadata.topics.into_iter().next()?;
            let leader = topic.partitions[partition].leader;
            (leader != 0 && wanted(leader)).then_some(leader)
        };
        self.watch(topic, leader).await
    }

    /// Waits until the broker that leads the metadata group, as this broker knows it, is one that
    /// `wanted` takes; gives its id.
    pub async fn controller(&self, wanted: impl Fn(i32) -> bool) -> i32 {
        let controller = |metadata: v1::Metadata| {
            let controller = metadata.controller;
            (controller != 0 && wanted(controller)).then_some(controller)
        };
        self.watch("none", controller).await
    }

    /// Waits until the metadata of a topic, as this broker knows it, gives what is looked for.
    async fn watch<T>(&self, topic: &str, find: impl Fn(v1::Metadata) -> Option<T>) -> T {
        let mut cluster = self.cluster.clone();
        let topics = vec![topic.to_owned()];
        let waiting = async {
            let watched = cluster.watch_metadata(v1::WatchMetadataRequest { topics });
            let mut changes = watched.await.expect("metadata can be watched").into_inner();
            loop {
                let change = changes.message().await.expect("a broker watches metadata");
                let metadata = change.and_then(|change| change.metadata);
                if let Some(found) = metadata.and_then(&find) {
                    return found;
                }
            }
        };
        soon("a change of the metadata", waiting).await
    }

    /// Appends.
    pub async fn produce(&self, request: v1::ProduceRequest) -> Answer<v1::ProduceResponse> {
        self.produce_with(request, true).await
    }

    /// Appends, and says whether the call may be forwarded to the leader.
    pub async fn produce_with(
        &self,
        request: v1::ProduceRequest,
        may_forward: bool,
    ) -> Answer<v1::ProduceResponse> {
        let mut log = self.log.clone();
        let request = routed(request, may_forward);
        Ok(soon("Produce", log.produce(request)).await?.into_inner())
    }

    /// Appends a batch to a partition; asks again while there is no leader that can answer.
    pub async fn append(
        &self,
        topic: &str,
        partition: i32,
        batch: impl Into<Bytes>,
    ) -> Answer<v1::ProduceResponse> {
        let request = v1::ProduceRequest {
            topic: topic.to_owned(),
            partition: Some(partition),
            batch: batch.into(),
            ..v1::ProduceRequest::default()
        };
        self.led(|| self.produce(request.clone())).await
    }

    /// As [`Self::append_surely_to`], to partition 0.
    pub async fn append_surely(&self, topic: &str, batch: &Bytes) -> v1::ProduceResponse {
        self.append_surely_to(topic, 0, batch).await
    }

    /// Appends a batch that its producer numbered, and asks again until it is known to be in the
    /// log.
    pub async fn append_surely_to(
        &self,
        topic: &str,
        partition: i32,
        batch: &Bytes,
    ) -> v1::ProduceResponse {
        let appending = async {
            loop {
                match self.append(topic, partition, batch.clone()).await {
                    Err(refusal) if refusal.reason == "OUTCOME_UNKNOWN" => {}
                    answer => return answer.expect("the batch is sound"),
                }
            }
        };
        soon("a batch is in the log", appending).await
    }

    /// Describes a topic; asks again while a partition has no leader that answers.
    pub async fn described(&self, name: &str) -> v1::DescribeTopicResponse {
        let describing = async {
            loop {
                let described = self.describe(name).await.expect("a topic can be described");
                if described.partitions.iter().all(|p| p.leader.is_some()) {
                    return described;
                }
            }
        };
        soon("a description by leaders", describing).await
    }

    /// Asks again while there is no leader that can answer: nothing is written by a call that is
    /// refused so, and another broker may take over at any time.
    pub async fn led<T, F: Future<Output = Answer<T>>>(&self, ask: impl Fn() -> F) -> Answer<T> {
        let asking = async {
            loop {
                match ask().await {
                    Err(refusal) if NO_LEADER.contains(&&*refusal.reason) => {}
                    answer => return answer,
                }
            }
        };
        soon("an answer of a leader", asking).await
    }

    /// Reads as the leader has it; asks again while there is none that can answer.
    pub async fn fetch_led(&self, request: v1::FetchRequest) -> Answer<v1::FetchResponse> {
        self.led(|| self.fetch(request.clone())).await
    }

    /// Looks an offset up; asks again while there is no leader that can answer.
    pub async fn list_led(
        &self,
        request: v1::ListOffsetsRequest,
    ) -> Answer<v1::ListOffsetsResponse> {
        self.led(|| self.list_offsets(request.clone())).await
    }

    /// Reads.
    pub async fn fetch(&self, request: v1::FetchRequest) -> Answer<v1::FetchResponse> {
        self.fetch_with(request, true).await
    }

    /// Reads, and says whether the call may be forwarded to the leader.
    pub async fn fetch_with(
        &self,
        request: v1::FetchRequest,
        may_forward: bool,
    ) -> Answer<v1::FetchResponse> {
        let mut log = self.log.clone();
        let request = routed(request, may_forward);
        Ok(soon("Fetch", log.fetch(request)).await?.into_inner())
    }

    /// Looks up the offset at a position.
    pub async fn list_offsets(
        &self,
        request: v1::ListOffsetsRequest,
    ) -> Answer<v1::ListOffsetsResponse> {
        self.list_offsets_with(request, true).await
    }

    /// Looks up the offset at a position, and says whether the call may be forwarded.
    pub async fn list_offsets_with(
        &self,
        request: v1::ListOffsetsRequest,
        may_forward: bool,
    ) -> Answer<v1::ListOffsetsResponse> {
        let mut log = self.log.clone();
        let request = routed(request, may_forward);
        let found = soon("ListOffsets", log.list_offsets(request)).await?;
        Ok(found.into_inner())
    }

    /// The end of what can be read of a partition.
    pub async fn high_watermark(&self, topic: &str, partition: i32) -> i64 {
        let request = v1::ListOffsetsRequest {
            topic: topic.to_owned(),
            partition,
            ..v1::ListOffsetsRequest::default()
        };
        let found = self.led(|| self.list_offsets(request.clone())).await;
        found.expect("the partition is led").high_watermark
    }

    /// The values of all records of a partition, in the order of their offsets, which are dense.
    pub async fn values(&self, topic: &str, partition: i32) -> Vec<String> {
        let end = self.high_watermark(topic, partition).await;
        let mut values = Vec::new();
        let mut offset = 0;
        while offset < end {
            let request = v1::FetchRequest {
                topic: topic.to_owned(),
                partition,
                offset,
                ..v1::FetchRequest::default()
            };
            let read = self.led(|| self.fetch(request.clone())).await;
            let read = read.expect("committed data is read");
            for record in read.records {
                assert_eq!(record.offset, offset, "offsets are dense");
                offset += 1;
                values.push(text(record));
            }
            assert_eq!(read.next_offset, offset);
        }
        values
    }

    /// Begins a subscription.
    pub async fn subscribe(
        &self,
        request: v1::SubscribeRequest,
    ) -> Answer<Streaming<v1::SubscribeResponse>> {
        let mut log = self.log.clone();
        Ok(soon("Subscribe", log.subscribe(request))
            .await?
            .into_inner())
    }

    /// Calls a unary method, such as `highwater.v1.LogService/Produce`, with any bytes.
    pub async fn call(&self, method: &str, request: impl Into<Bytes>) -> Answer<Bytes> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let path = format!("/{method}").parse().expect("a method is a path");
        let calling = async {
            grpc.ready().await.expect("the connection is open");
            grpc.unary(Request::new(request.into()), path, Plain).await
        };
        Ok(soon("an answer to a call", calling).await?.into_inner())
    }

    /// Asks for a producer id.
    pub async fn producer_id(&self) -> i64 {
        let given = self.init_producer(v1::InitProducerRequest::default()).await;
        let given = given.expect("an id is given");
        assert_eq!(given.producer_epoch, 0);
        given.producer_id
    }

    /// Takes a name over; asks again while not everything can be fenced.
    pub async fn next_epoch(&self, name: &str) -> v1::InitProducerResponse {
        let request = v1::InitProducerRequest {
            name: name.to_owned(),
            ..v1::InitProducerRequest::default()
        };
        let given = self.led(|| self.init_producer(request.clone())).await;
        given.expect("an epoch is given")
    }

    /// Asks for a producer id or the next epoch of a name.
    pub async fn init_producer(
        &self,
        request: impl tonic::IntoRequest<v1::InitProducerRequest>,
    ) -> Answer<v1::InitProducerResponse> {
        let mut log = self.log.clone();
        let given = soon("InitProducer", log.init_producer(request)).await?;
        Ok(given.into_inner())
    }
}

/// The value of a record as text; empty without one.
pub fn text(record: v1::Record) -> String {
    use v1::record::ValueContent;
    match record.value_content {
        Some(ValueContent::ValueText(text)) => text,
        Some(ValueContent::Value(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Some(ValueContent::ValueJson(_)) | None => String::new(),
    }
}

fn routed<T>(message: T, may_forward: bool) -> Request<T> {
    let mut request = Request::new(message);
    if !may_forward {
        let never = MetadataValue::from_static("never");
        request.metadata_mut().insert("highwater-forward", never);
    }
    request
}
