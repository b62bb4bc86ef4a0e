//! A partition remembers 4,096 producers. Whoever is pushed out by others is never appended twice, and who
//! is healthy goes on without noticing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use highwater_broker::testing::Broker;
use highwater_client::{Client, Outcome, PartitionIndex, Producer, Record};
use highwater_tests::Api;
use highwater_tests::api::soon;
use highwater_tests::batches::sequenced;
use highwater_tests::session::Session;

/// More than a partition remembers.
const OTHERS: usize = 4_200;

/// After so long without an answer, a producer sends a batch again.
const SILENCE: Duration = Duration::from_secs(3);

/// Tries to append the first batch of a producer again.
async fn again(api: &Api, producer: i64, epoch: u16) -> Result<i64, String> {
    let batch = sequenced(producer, epoch, 0, ["first"]);
    let asking = async {
        loop {
            match api.append("t", 0, batch.clone()).await {
                // The broker has yet to begin.
                Err(refusal) if refusal.reason == "NOT_READY" => {}
                answer => return answer.map(|at| at.base_offset).map_err(|e| e.reason),
            }
        }
    };
    soon("an answer to a batch", asking).await
}

/// The ids of new producers, each of which has appended one batch, in this order.
async fn new_producers(api: &Api) -> Vec<i64> {
    let mut ids = Vec::new();
    while ids.len() < OTHERS {
        ids.extend(join_all((0..300).map(|_| api.producer_id())).await);
    }
    let mut session = Session::open(api).await;
    let first = |id: &i64| sequenced(*id, 0, 0, ["first"]);
    let sent: Vec<u64> = ids
        .iter()
        .map(|id| session.send("t", 0, first(id)))
        .collect();
    for number in sent {
        session.answer(number).await.unwrap();
    }
    ids
}

async fn write(producer: &Producer, partition: u32, value: &str) {
    let record = Record::new(value).partition(PartitionIndex(partition));
    let delivery = producer.send(record).await.unwrap();
    soon("an acknowledgement", delivery).await.unwrap();
}

/// Writes to partition 0, which has forgotten later ids than this producer's.
async fn write_late(producer: &Producer, value: &str) {
    loop {
        let began = Instant::now();
        let record = Record::new(value).partition(PartitionIndex(0));
        let delivery = producer.send(record).await.unwrap();
        match soon("an acknowledgement", delivery).await {
            Ok(_) => return,
            // A machine that stands still loses the first answer for the producer; whether the batch
            // was written is not known then.
            Err(error) if began.elapsed() >= SILENCE => {
                assert_eq!(error.outcome(), Outcome::Unknown)
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_batch_is_not_appended_again_after_4096_others_and_late_producers_go_on() {
    let mut broker = Broker::start().await.unwrap();
    let mut api = Api::connect(&broker.address()).await;
    api.create("t", 2, &[]).await;
    let client = Client::connect(broker.address()).await.unwrap();
    let plain = client.producer("t").build().await.unwrap();
    let named = client.producer("t").name("late").build().await.unwrap();
    // They have their ids, and partition 0 does not know them.
    write(&plain, 1, "plain").await;
    write(&named, 1, "named").await;

    let oldest = api.producer_id().await;
    assert_eq!(again(&api, oldest, 0).await, Ok(0));
    let name = api.next_epoch("n").await.producer_id;
    assert_eq!(again(&api, name, 0).await, Ok(1));
    let others = new_producers(&api).await;
    for producer in [plain, named] {
        write_late(&producer, "late").await;
        write(&producer, 0, "later").await;
    }
    let mut values = api.values("t", 0).await.split_off(others.len() + 2);
    values.dedup();
    assert_eq!(values, ["late", "later", "late", "later"]);

    let end = api.high_watermark("t", 0).await;
    let (last, last_at) = (others[others.len() - 1], others.len() as i64 + 1);
    let unknown = Err("UNKNOWN_PRODUCER".to_owned());
    for _ in 0..2 {
        for id in [oldest, name, others[0]] {
            assert_eq!(again(&api, id, 0).await, unknown, "{id}");
        }
        assert_eq!(again(&api, last, 0).await, Ok(last_at), "it is remembered");
        assert_eq!(api.high_watermark("t", 0).await, end);
        broker.restart().await.unwrap();
        api = Api::connect(&broker.address()).await;
    }
    assert_eq!(api.next_epoch("n").await.producer_epoch, 1);
    assert_eq!(again(&api, name, 1).await, Ok(end));
    let fenced = Err("PRODUCER_FENCED".to_owned());
    assert_eq!(again(&api, name, 0).await, fenced);
}
