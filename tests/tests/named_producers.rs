//! A named producer fences its predecessor on every partition, also where it has not written yet,
//! and what is fenced stays so through SIGKILL, changes of the leader and whole restarts.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use highwater_proto::pb::v1;
use highwater_tests::api::soon;
use highwater_tests::batches::sequenced;
use highwater_tests::{Api, Broker, Cluster, program};
use tonic::Code;

/// One life of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Life {
    id: i64,
    epoch: u16,
}

fn named(name: &str) -> v1::InitProducerRequest {
    v1::InitProducerRequest {
        name: name.to_owned(),
        ..v1::InitProducerRequest::default()
    }
}

impl Life {
    /// Takes the name over; asks again while not everything could be fenced.
    async fn begin(api: &Api, name: &str) -> Self {
        Self::of(&api.next_epoch(name).await)
    }

    fn of(answer: &v1::InitProducerResponse) -> Self {
        Self {
            id: answer.producer_id,
            epoch: u16::try_from(answer.producer_epoch).unwrap(),
        }
    }

    /// Appends record number `base` of this life to a partition.
    async fn write(self, api: &Api, partition: i32, base: i32) -> Result<i64, String> {
        let value = format!("{}/{} {base}", self.id, self.epoch);
        let batch = sequenced(self.id, self.epoch, base, [value]);
        loop {
            match api.append("t", partition, batch.clone()).await {
                Err(refusal) if refusal.reason == "OUTCOME_UNKNOWN" => {}
                answer => return answer.map(|at| at.base_offset).map_err(|e| e.reason),
            }
        }
    }
}

fn fenced() -> Result<i64, String> {
    Err("PRODUCER_FENCED".to_owned())
}

async fn ends(api: &Api) -> Vec<i64> {
    let mut ends = Vec::new();
    for partition in 0..4 {
        ends.push(api.high_watermark("t", partition).await);
    }
    ends
}

#[tokio::test]
async fn a_zombie_is_refused_everywhere_also_where_its_successor_never_wrote() {
    let mut cluster = Cluster::start(&program!(), 3);
    let api = Api::connect(cluster.brokers[1].listen()).await;
    api.create("t", 4, &[("segment.bytes", "1MiB")]).await;
    let first = Life::begin(&api, "writer").await;
    for (partition, base) in [(0, 0), (1, 0), (0, 1)] {
        first.write(&api, partition, base).await.unwrap();
    }
    let second = Life::begin(&api, "writer").await;
    assert_eq!((second.id, second.epoch), (first.id, first.epoch + 1));
    let before = ends(&api).await;
    // Where it wrote and would go on, where it would begin, and a repetition of what it wrote.
    for (partition, base) in [(0, 2), (1, 1), (2, 0), (3, 0), (0, 1)] {
        let told = first.write(&api, partition, base).await;
        assert_eq!(told, fenced(), "partition {partition}, record {base}");
    }
    assert_eq!(ends(&api).await, before, "nothing was written");
    assert_eq!(second.write(&api, 0, 0).await, Ok(2));

    for _ in 0..2 {
        let leader = cluster.leader_of("t", 1);
        let old = i32::try_from(cluster.brokers[leader].id()).unwrap();
        cluster.brokers[leader].kill();
        let other = Api::connect(cluster.brokers[(leader + 1) % 3].listen()).await;
        other.leader("t", 1, |id| id != old).await;
        assert_eq!(first.write(&other, 1, 1).await, fenced());
        assert_eq!(first.write(&other, 3, 0).await, fenced());
        cluster.brokers[leader].restart();
        cluster.until_healthy();
    }
    cluster.restart_all();
    let api = Api::connect(cluster.brokers[2].listen()).await;
    for (partition, base) in [(0, 2), (1, 1), (2, 0)] {
        assert_eq!(first.write(&api, partition, base).await, fenced());
    }
    assert_eq!(second.write(&api, 0, 1).await, Ok(3));
    assert_eq!(second.write(&api, 2, 0).await, Ok(0));
}

#[tokio::test]
async fn a_name_gives_the_next_epoch_and_a_repeated_asking_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    let first = Life::begin(&api, "a").await;
    let other = Life::begin(&api, "b").await;
    assert_ne!(first.id, other.id);
    let again = v1::InitProducerRequest {
        attempt: 77,
        ..named("a")
    };
    for _ in 0..2 {
        let answer = api.init_producer(again.clone()).await.unwrap();
        assert_eq!(Life::of(&answer).epoch, 1);
    }
    // Whoever says what it holds goes on only if that is still so.
    let holding = |epoch: i32| v1::InitProducerRequest {
        producer_id: first.id,
        producer_epoch: epoch,
        ..named("a")
    };
    broker.kill();
    broker.restart();
    let api = Api::connect(broker.listen()).await;
    let next = api.init_producer(holding(1)).await.unwrap();
    assert_eq!(Life::of(&next).epoch, 2);
    let late = api.init_producer(holding(1)).await.unwrap_err();
    late.is(Code::FailedPrecondition, "PRODUCER_FENCED", &["epoch 2"]);
    for (request, says) in [
        (named("a b"), "a b"),
        (named(&"n".repeat(250)), "249"),
        (holding(-1), "-1"),
        (holding(40_000), "40000"),
        (
            v1::InitProducerRequest {
                producer_id: 1,
                ..v1::InitProducerRequest::default()
            },
            "name",
        ),
    ] {
        let refused = api.init_producer(request).await.unwrap_err();
        refused.is(Code::InvalidArgument, "INVALID_REQUEST", &[says]);
    }
}

#[tokio::test]
async fn epochs_and_ids_of_names_that_were_never_given_are_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 4, &[]).await;
    let life = Life::begin(&api, "a").await;
    let unknown = Err("UNKNOWN_PRODUCER".to_owned());
    let ahead = Life { epoch: 9, ..life };
    let stranger = Life {
        id: life.id + 1,
        ..life
    };
    for never in [ahead, stranger] {
        assert_eq!(never.write(&api, 0, 0).await, unknown);
    }
    assert_eq!(life.write(&api, 0, 5).await, unknown, "nothing to follow");
    assert_eq!(life.write(&api, 0, 0).await, Ok(0));
    assert_eq!(ahead.write(&api, 0, 0).await, unknown);
    assert_eq!(ends(&api).await, [1, 0, 0, 0]);
}

#[tokio::test]
async fn a_name_is_not_taken_over_before_its_partitions_are_told() {
    let mut cluster = Cluster::start(&program!(), 3);
    let api = Api::connect(cluster.brokers[0].listen()).await;
    let create = v1::CreateTopicRequest {
        name: "t".to_owned(),
        partition_count: Some(4),
        replication_factor: Some(1),
        ..v1::CreateTopicRequest::default()
    };
    api.create_topic(create).await.unwrap();
    let life = Life::begin(&api, "a").await;
    for partition in 0..4 {
        life.write(&api, partition, 0).await.unwrap();
    }
    let away = cluster.leader_of("t", 0);
    cluster.brokers[away].kill();
    let api = Api::connect(cluster.brokers[(away + 1) % 3].listen()).await;
    // Not before a leader was waited for. The one that went may have led the metadata as well.
    let refusing = async {
        loop {
            let refused = api.init_producer(named("a")).await.unwrap_err();
            if refused.reason == "NO_LEADER" && refused.message.contains("not taken over") {
                return refused;
            }
            let again = refused.retriable || refused.reason == "OUTCOME_UNKNOWN";
            assert!(again, "{refused:?}");
        }
    };
    let refused = soon("a refusal", refusing).await;
    let says = ["not taken over", "t/", "cannot be told"];
    refused.is(Code::Unavailable, "NO_LEADER", &says);
    cluster.brokers[away].restart();
    let next = Life::begin(&api, "a").await;
    assert!(next.epoch > life.epoch);
    for partition in 0..4 {
        assert_eq!(life.write(&api, partition, 1).await, fenced());
    }
}

/// Takes the name of the request over in one attempt, whatever becomes of its answers.
async fn attempted(api: &Api, request: &v1::InitProducerRequest) -> Life {
    let request = v1::InitProducerRequest {
        attempt: 77,
        ..request.clone()
    };
    loop {
        match api.led(|| api.init_producer(request.clone())).await {
            Err(refusal) if refusal.reason == "OUTCOME_UNKNOWN" => {}
            answer => return Life::of(&answer.unwrap()),
        }
    }
}

#[tokio::test]
async fn names_are_in_the_snapshot_that_a_broker_gets_which_missed_the_metadata() {
    let mut cluster = Cluster::start(&program!(), 3);
    let api = Api::connect(cluster.brokers[0].listen()).await;
    api.create("t", 4, &[]).await;
    let first = Life::begin(&api, "writer").await;
    assert_eq!(first.write(&api, 0, 0).await, Ok(0));
    let controller = api.controller(|_| true).await;
    let is_controller =
        |broker: &Broker| i32::try_from(broker.id()).is_ok_and(|id| id == controller);
    let late = (0..3).find(|place| !is_controller(&cluster.brokers[*place]));
    let late = late.unwrap();
    cluster.brokers[late].kill();
    let others: Vec<usize> = (0..3).filter(|place| *place != late).collect();

    let api = Api::connect(cluster.brokers[others[0]].listen()).await;
    let again = named("writer");
    let second = attempted(&api, &again).await;
    assert_eq!((second.id, second.epoch), (first.id, first.epoch + 1));
    for round in 0..13 {
        let names = (0..100).map(|number| format!("{round}-{number}"));
        let api = &api;
        let taken = names.map(async |name| attempted(api, &named(&name)).await.epoch);
        let epochs = futures_util::future::join_all(taken).await;
        assert_eq!(epochs, [0; 100]);
    }
    cluster.brokers[others[0]].log_line("the log of the metadata was purged");

    cluster.brokers[late].restart();
    cluster.until_healthy();
    cluster.brokers[late].log_line("taking up a snapshot");
    for place in others {
        let id = cluster.brokers[place].id().to_string();
        cluster.run(&["cluster", "drain", &id]).ok();
    }
    let api = Api::connect(cluster.brokers[late].listen()).await;
    let id = i32::try_from(cluster.brokers[late].id()).unwrap();
    api.controller(|controller| controller == id).await;
    assert_eq!(first.write(&api, 0, 1).await, fenced());
    assert_eq!(attempted(&api, &again).await, second);
    let third = Life::begin(&api, "writer").await;
    assert_eq!((third.id, third.epoch), (first.id, second.epoch + 1));
    assert_eq!(second.write(&api, 0, 0).await, fenced());
    assert_eq!(third.write(&api, 0, 0).await, Ok(1));
}
