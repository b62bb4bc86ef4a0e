//! A partition that takes nothing holds up no other one of a produce session, and no call for longer
//! than it may take.

use bytes::Bytes;
use highwater_proto::batch::ProducerStamp;
use highwater_proto::pb::v1;
use highwater_proto::pb::v1::log_service_client::LogServiceClient;
use highwater_proto::{ProducerEpoch, ProducerId, Reason, Sequence};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

use super::asking::{batch, create, start_on, topic};
use super::cold_reads::until_ready;
use super::*;

const TOPIC: &str = "orders";

/// What a producer that nobody else is writes first.
async fn first_batch(broker: &Broker) -> Bytes {
    let request = v1::InitProducerRequest::default();
    let given = broker.services.init_producer(&context(), &request).await;
    let id = given.unwrap().response.producer_id;
    let stamp = ProducerStamp {
        id: ProducerId(u64::try_from(id).unwrap()),
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(0),
    };
    batch(1, &[7; 10], Some(stamp))
}

/// A produce session as a client has it.
struct Client {
    messages: UnboundedSender<v1::ProduceSessionRequest>,
    answers: Streaming<v1::ProduceSessionResponse>,
    sent: u64,
}

impl Client {
    async fn open(broker: &Broker) -> Self {
        let address = format!("http://{}", broker.listen_addr());
        let (messages, outgoing) = unbounded_channel();
        let mut log = LogServiceClient::connect(address).await.unwrap();
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let answers = timeout(LIMIT, log.produce_session(outgoing)).await;
        Self {
            messages,
            answers: answers.unwrap().unwrap().into_inner(),
            sent: 0,
        }
    }

    fn send(&mut self, partition: i32, batch: Bytes) {
        self.sent += 1;
        let request = v1::ProduceSessionRequest {
            number: self.sent,
            topic: TOPIC.to_owned(),
            partition,
            batch,
            ..Default::default()
        };
        self.messages.send(request).unwrap();
    }

    /// The next acks, which come alone.
    async fn acks(&mut self) -> Vec<v1::BatchAck> {
        loop {
            let answer = timeout(LIMIT, self.answers.message()).await;
            let answer = answer.expect("an answer in time").unwrap().unwrap();
            assert!(answer.errors.is_empty(), "{:?}", answer.errors);
            if !answer.acks.is_empty() {
                return answer.acks;
            }
        }
    }
}

/// Fills the first partition: it takes nothing until the result is dropped.
async fn fill(broker: &Broker) -> impl Drop + use<> {
    let target = broker.services.target(TOPIC, "", 0).await.unwrap();
    let partition = broker.services.local(&target).unwrap();
    timeout(LIMIT, partition.fill()).await.unwrap()
}

#[tokio::test]
async fn a_call_to_a_partition_that_takes_nothing_ends_at_its_deadline() {
    let broker = start_on(&MemDir::new()).await;
    create(&broker, topic(TOPIC)).await;
    until_ready(&broker, 0).await;
    let full = fill(&broker).await;
    let call = v1::ProduceRequest {
        topic: TOPIC.to_owned(),
        partition: Some(0),
        batch: batch(1, &[7; 10], None),
        ..Default::default()
    };
    let brief = Context {
        deadline: HELD_UP,
        ..context()
    };
    let answer = broker.services.produce(&brief, &call);
    let answer = timeout(LIMIT, answer).await.unwrap();
    assert_eq!(answer.unwrap_err().reason, Reason::TimedOut);

    drop(full);
    let answer = broker.services.produce(&context(), &call).await;
    assert_eq!(answer.unwrap().base_offset, 0);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_partition_that_takes_nothing_holds_up_no_other_one_of_its_session() {
    let broker = start_on(&MemDir::new()).await;
    let of_two = v1::CreateTopicRequest {
        partition_count: Some(2),
        ..topic(TOPIC)
    };
    create(&broker, of_two).await;
    until_ready(&broker, 0).await;
    until_ready(&broker, 1).await;
    let mut client = Client::open(&broker).await;
    let known = first_batch(&broker).await;
    client.send(1, known.clone());
    assert!(!client.acks().await[0].duplicate);

    let full = fill(&broker).await;
    client.send(0, batch(1, &[7; 10], None));
    client.send(0, batch(2, &[7; 10], None));
    client.send(1, known);
    let acks = client.acks().await;
    assert_eq!(
        (acks.len(), acks[0].number, acks[0].duplicate),
        (1, 4, true)
    );

    drop(full);
    let mut acks = client.acks().await;
    while acks.len() < 2 {
        acks.extend(client.acks().await);
    }
    acks.sort_unstable_by_key(|ack| ack.number);
    let places: Vec<_> = acks
        .iter()
        .map(|ack| (ack.number, ack.base_offset))
        .collect();
    assert_eq!(places, [(2, 0), (3, 1)], "in their order");
    broker.shutdown().await;
}
