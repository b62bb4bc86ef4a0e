//! One ack for several batches: a session that asks for it gets fewer acks, and they say of each batch
//! exactly where it lies; one that does not ask gets one for each.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use bytes::Bytes;
use highwater_broker::testing::Broker;
use highwater_client::Record;
use highwater_proto::PartitionIndex;
use highwater_proto::pb::v1;
use highwater_tests::api::soon;
use highwater_tests::batches::{batch, sequenced};
use highwater_tests::{Api, Session};

const PARTITIONS: i32 = 2;
/// Batches that are sent at once.
const AT_ONCE: usize = 200;

/// A batch as the client that sent it knows it.
#[derive(Debug, Clone)]
struct Sent {
    partition: i32,
    values: Vec<String>,
}

/// Where a batch lies, and whether it was there before. The reason, of one that was refused.
type Told = Result<(i64, bool), String>;

/// A session that remembers what it sent.
struct Client {
    session: Session,
    sent: Vec<Sent>,
    told: BTreeMap<u64, Told>,
    acks: usize,
}

impl Client {
    async fn open(api: &Api, cumulative_acks: bool) -> Self {
        let mut session = Session::open(api).await;
        session.send_message(v1::ProduceSessionRequest {
            cumulative_acks,
            ..v1::ProduceSessionRequest::default()
        });
        Self {
            session,
            sent: Vec::new(),
            told: BTreeMap::new(),
            acks: 0,
        }
    }

    fn send(&mut self, partition: i32, values: Vec<String>) {
        let built = batch(&values);
        self.send_as(partition, values, built);
    }

    fn send_as(&mut self, partition: i32, values: Vec<String>, batch: Bytes) {
        let number = self.session.send("t", partition, batch);
        self.sent.push(Sent { partition, values });
        assert_eq!(usize::try_from(number).unwrap(), self.sent.len());
    }

    fn sent(&self, number: u64) -> &Sent {
        &self.sent[usize::try_from(number - 1).unwrap()]
    }

    /// Takes messages until every batch is answered, each exactly once.
    async fn all_told(&mut self) {
        while self.told.len() < self.sent.len() {
            let message = self.session.message().await;
            self.acks += message.acks.len();
            for ack in message.acks {
                self.take(&ack);
            }
            for error in message.errors {
                self.tell(error.number, Err(error.message));
            }
        }
    }

    /// What an ack says, worked out from what was sent alone.
    fn take(&mut self, ack: &v1::BatchAck) {
        let first = match ack.first_number {
            0 => ack.number,
            first => first,
        };
        assert!((1..=ack.number).contains(&first), "{ack:?}");
        let partition = self.sent(ack.number).partition;
        assert_eq!(self.sent(first).partition, partition, "{ack:?}");
        let mut base = ack.base_offset;
        for number in (first..=ack.number).rev() {
            if self.sent(number).partition != partition {
                continue;
            }
            if number < ack.number {
                base -= i64::try_from(self.sent(number).values.len()).unwrap();
            }
            self.tell(number, Ok((base, ack.duplicate)));
        }
    }

    fn tell(&mut self, number: u64, told: Told) {
        let before = self.told.insert(number, told);
        assert!(before.is_none(), "{number} is answered twice: {before:?}");
    }

    /// Holds what was told against what a reader sees.
    async fn check(&self, api: &Api, refused: &[u64]) {
        let mut logs = Vec::new();
        for partition in 0..PARTITIONS {
            logs.push(api.values("t", partition).await);
        }
        for (number, told) in &self.told {
            let sent = self.sent(*number);
            let Ok((base, _)) = told else {
                assert!(refused.contains(number), "{number}: {told:?}");
                continue;
            };
            assert!(!refused.contains(number), "{number}: {told:?}");
            let log = &logs[usize::try_from(sent.partition).unwrap()];
            let base = usize::try_from(*base).unwrap();
            assert_eq!(log[base..][..sent.values.len()], sent.values, "{number}");
        }
    }
}

async fn started() -> (Broker, Api) {
    let broker = Broker::start().await.unwrap();
    let api = Api::connect(&broker.address()).await;
    api.create("t", PARTITIONS, &[]).await;
    (broker, api)
}

/// Values that nobody else sends.
fn values(what: &str, batch: usize) -> Vec<String> {
    let value = |n| format!("{what} {batch} {n}");
    (0..=batch % 3).map(value).collect()
}

/// Sends batches to both partitions by turns, with refused ones among them, while another writes to
/// the same partitions. How many batches were acknowledged with how many acks.
async fn sent_among_others(api: &Api, cumulative_acks: bool) -> (usize, usize) {
    let mut client = Client::open(api, cumulative_acks).await;
    let mut other = Client::open(api, false).await;
    let mut refused = Vec::new();
    for at in 0..AT_ONCE {
        let partition = i32::try_from(at % 2).unwrap();
        match at % 50 {
            20 => client.send_as(partition, values("refused", at), Bytes::from("no batch")),
            // No such partition.
            30 => client.send(PARTITIONS, values("nowhere", at)),
            _ => client.send(partition, values("mine", at)),
        }
        if matches!(at % 50, 20 | 30) {
            refused.push(u64::try_from(at + 1).unwrap());
        }
        if at % 40 == 25 {
            other.send(partition, values("other", at));
        }
    }
    client.all_told().await;
    other.all_told().await;
    client.check(api, &refused).await;
    other.check(api, &[]).await;
    (AT_ONCE - refused.len(), client.acks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_says_of_each_of_its_batches_where_it_lies() {
    let fewer = async {
        loop {
            let (_broker, api) = started().await;
            let (batches, acks) = sent_among_others(&api, true).await;
            assert!(acks <= batches);
            // How many are answered together is up to chance.
            if acks * 2 <= batches {
                return;
            }
        }
    };
    soon("half as many acks as batches", fewer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_does_not_ask_gets_an_ack_for_each_batch() {
    let (_broker, api) = started().await;
    let (batches, acks) = sent_among_others(&api, false).await;
    assert_eq!(acks, batches);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_twice_has_its_first_place_and_is_told_apart() {
    let (_broker, api) = started().await;
    let mut client = Client::open(&api, true).await;
    let producers = [api.producer_id().await, api.producer_id().await];
    // As many as a partition remembers of a producer.
    for round in [1, 2] {
        let mut sequence = 0;
        for at in 0..5 {
            let values = values("mine", at);
            for (partition, producer) in (0..).zip(producers) {
                let built = sequenced(producer, 0, sequence, &values);
                client.send_as(partition, values.clone(), built);
            }
            sequence += i32::try_from(values.len()).unwrap();
        }
        assert_eq!(client.sent.len(), round * 10);
    }
    client.all_told().await;
    client.check(&api, &[]).await;
    for number in 1..=10 {
        let (base, duplicate) = client.told[&number].clone().unwrap();
        assert!(!duplicate, "{number}");
        let again = client.told[&(number + 10)].clone().unwrap();
        assert_eq!(again, (base, true), "{number}");
    }
    for partition in 0..PARTITIONS {
        assert_eq!(api.values("t", partition).await.len(), 9);
    }
}

/// Sends records of a writer to both partitions, in small batches. Gives the offsets that it was told.
async fn written(address: &str, writer: &str) -> Vec<Vec<(i64, String)>> {
    let client = highwater_client::Client::connect(address).await.unwrap();
    let producer = client.producer("t").batch_bytes(256).build().await.unwrap();
    let mut deliveries = Vec::new();
    for n in 0..2_000 {
        let partition = PartitionIndex(n % 2);
        let value = format!("{writer} {n}");
        let record = Record::new(value.clone()).partition(partition);
        deliveries.push((value, producer.send(record).await.unwrap()));
    }
    let mut told = vec![Vec::new(); 2];
    for (value, delivery) in deliveries {
        let ack = delivery.await.unwrap();
        let offset = ack.offset.unwrap().to_i64();
        told[ack.partition.0 as usize].push((offset, value));
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_tells_the_offset_of_each_record_whoever_else_writes() {
    let (broker, api) = started().await;
    let address = broker.address();
    let writing = async { tokio::join!(written(&address, "one"), written(&address, "two")) };
    let (one, two) = soon("everything is written", writing).await;
    for (partition, told) in (0..).zip(one.into_iter().zip(two)) {
        let mut told = [told.0, told.1].concat();
        told.sort();
        let log = api.values("t", partition).await;
        assert_eq!(told, (0..).zip(log).collect::<Vec<_>>());
    }
}
