//! A partition that takes nothing holds up no other one of a produce session.

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use highwater_proto::batch::ProducerStamp;
use highwater_proto::pb::v1;
use highwater_proto::pb::v1::log_service_client::LogServiceClient;
use highwater_proto::{ProducerEpoch, ProducerId, Sequence};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

use super::asking::{batch, create, start_on, topic};
use super::cold_reads::until_ready;
use super::*;
use crate::log::HeldDisk;
use crate::service::parse_batch;

const TOPIC: &str = "orders";
const LARGE: usize = 900_000;

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

#[tokio::test]
async fn a_partition_that_takes_nothing_holds_up_no_other_one_of_its_session() {
    let (mut disk, memory) = HeldDisk::new();
    let broker = start_on(&memory).await;
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

    // Nothing is committed from here on, and the first partition takes batches until it is full.
    disk.hold();
    let target = broker.services.target(TOPIC, "", 0).await.unwrap();
    let mut filling = Vec::new();
    let large = batch(1, &[7; LARGE], None);
    loop {
        let batch = parse_batch(large.clone(), 1 << 20).unwrap();
        let Some(taken) = broker.services.enqueue(&target, batch).now_or_never() else {
            break;
        };
        filling.push(taken.unwrap());
        tokio::task::yield_now().await;
    }
    client.send(0, large);
    client.send(0, batch(1, &[7; 10], None));
    // A repetition is answered without the disk.
    client.send(1, known);
    let acks = client.acks().await;
    assert_eq!(
        (acks.len(), acks[0].number, acks[0].duplicate),
        (1, 4, true)
    );

    let before = i64::try_from(filling.len()).unwrap();
    let filled = tokio::spawn(join_all(filling));
    disk.release();
    let mut acks = client.acks().await;
    while acks.len() < 2 {
        acks.extend(client.acks().await);
    }
    acks.sort_unstable_by_key(|ack| ack.number);
    let places: Vec<_> = acks
        .iter()
        .map(|ack| (ack.number, ack.base_offset))
        .collect();
    assert_eq!(places, [(2, before), (3, before + 1)], "in their order");
    let filled = timeout(LIMIT, filled).await.unwrap().unwrap();
    assert!(filled.iter().all(Result::is_ok));
    broker.shutdown().await;
}
