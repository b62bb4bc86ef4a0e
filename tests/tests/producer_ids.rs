//! Ids and epochs of producers: what was given out to somebody is taken from a batch, what a client
//! made up is refused, and nobody can be harmed by it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use highwater_broker::testing::Broker;
use highwater_proto::pb::v1;
use highwater_tests::api::{Answer, soon};
use highwater_tests::batches::sequenced;
use highwater_tests::{Api, Cluster, program};
use tonic::Code;

/// Appends record number `base` of a producer; gives its offset or why not.
async fn write(api: &Api, (id, epoch): (i64, u16), base: i32) -> Result<i64, String> {
    let batch = sequenced(id, epoch, base, [format!("{id}/{epoch} {base}")]);
    loop {
        match api.append("t", 0, batch.clone()).await {
            // What it was, a repetition is told.
            Err(refusal) if refusal.reason == "OUTCOME_UNKNOWN" => {}
            answer => return answer.map(|at| at.base_offset).map_err(|e| e.reason),
        }
    }
}

#[tokio::test]
async fn an_id_or_epoch_that_nobody_was_given_is_refused_and_harms_nobody() {
    let mut cluster = Cluster::start(&program!(), 3);
    let api = Api::connect(cluster.brokers[0].listen()).await;
    api.create("t", 1, &[]).await;
    let plain = (api.producer_id().await, 0);
    let named = (api.next_epoch("n").await.producer_id, 0);
    for round in 0..2 {
        let api = Api::connect(cluster.brokers[1].listen()).await;
        let end = i64::from(round) * 2;
        assert_eq!(write(&api, plain, round).await, Ok(end));
        assert_eq!(write(&api, named, round).await, Ok(end + 1));
        // Each would fence its owner, or be taken for what the next producer sends first.
        for (id, epoch) in [
            (plain.0, 1),
            (plain.0, 32_767),
            (named.0, 1),
            (named.0 + 1, 0),
            (plain.0 + 1, 0),
            (0, 0),
        ] {
            let made_up = sequenced(id, epoch, 0, ["x"]);
            let refused = api.append("t", 0, made_up).await.unwrap_err();
            let id = format!("{id} ");
            let parts = [&*id, "never given out"];
            refused.is(Code::FailedPrecondition, "UNKNOWN_PRODUCER", &parts);
        }
        assert_eq!(api.high_watermark("t", 0).await, end + 2, "nothing more");
        cluster.restart_all();
    }
    let api = Api::connect(cluster.brokers[2].listen()).await;
    let next = (api.producer_id().await, 0);
    assert_eq!(next.0, plain.0 + 1, "the id that was made up");
    assert_eq!(write(&api, next, 0).await, Ok(4));
    assert_eq!(write(&api, plain, 2).await, Ok(5));
    assert_eq!(write(&api, named, 2).await, Ok(6));
}

#[tokio::test]
async fn a_higher_epoch_takes_over_and_begins_at_zero() {
    let broker = Broker::start().await.unwrap();
    let api = Api::connect(&broker.address()).await;
    api.create("t", 1, &[]).await;
    let first = (api.next_epoch("n").await.producer_id, 0);
    assert_eq!(write(&api, first, 0).await, Ok(0));
    assert_eq!(api.next_epoch("n").await.producer_epoch, 1);
    let early = sequenced(first.0, 1, 1, ["x"]);
    let gap = api.append("t", 0, early).await.unwrap_err();
    assert_eq!(gap.reason, "SEQUENCE_GAP");
    assert_eq!(gap.sequence_gap().expected_sequence, 0);
    for base in 0..6 {
        assert_eq!(
            write(&api, (first.0, 1), base).await,
            Ok(i64::from(base) + 1)
        );
    }
    let fenced = Err("PRODUCER_FENCED".to_owned());
    assert_eq!(write(&api, first, 1).await, fenced);
}

#[tokio::test]
async fn callers_that_ask_for_an_id_at_once_get_different_ones() {
    let broker = Broker::start().await.unwrap();
    let api = Api::connect(&broker.address()).await;
    let asked = (0..200).map(|_| api.producer_id());
    let mut given = futures_util::future::join_all(asked).await;
    given.sort_unstable();
    let first = given[0];
    let dense: Vec<i64> = (first..first + 200).collect();
    assert_eq!(given, dense, "each once, and none is left over");
}

/// Takes the name `n`; asks again while the broker has yet to begin.
async fn take(api: &Api, attempt: u64) -> Answer<v1::InitProducerResponse> {
    let request = v1::InitProducerRequest {
        name: "n".to_owned(),
        attempt,
        ..v1::InitProducerRequest::default()
    };
    let taking = async {
        loop {
            match api.init_producer(request.clone()).await {
                Err(refusal) if ["NOT_READY", "NO_LEADER"].contains(&&*refusal.reason) => {}
                answer => return answer,
            }
        }
    };
    soon("an answer about the name", taking).await
}

#[tokio::test]
async fn a_late_copy_of_a_call_that_took_a_name_does_not_end_its_next_owner() {
    let mut broker = Broker::start().await.unwrap();
    let mut api = Api::connect(&broker.address()).await;
    api.create("t", 1, &[]).await;
    let first = take(&api, 1).await.unwrap();
    assert_eq!(write(&api, (first.producer_id, 0), 0).await, Ok(0));
    let second = take(&api, 2).await.unwrap();
    assert_eq!(second.producer_epoch, 1);
    for round in 0..2 {
        let late = take(&api, 1).await.unwrap_err();
        let parts = ["followed by another", "epoch 1"];
        late.is(Code::FailedPrecondition, "PRODUCER_FENCED", &parts);
        let next = (second.producer_id, 1);
        assert_eq!(write(&api, next, round).await, Ok(i64::from(round) + 1));
        assert_eq!(take(&api, 2).await.unwrap(), second);
        broker.restart().await.unwrap();
        api = Api::connect(&broker.address()).await;
    }
}
