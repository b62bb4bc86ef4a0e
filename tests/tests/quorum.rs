//! A leader that cannot reach a majority refuses at once and honestly, and goes on by itself when the
//! majority is back.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and shows its figures"
)]

use std::time::{Duration, Instant};

use highwater_proto::pb::v1::BatchAck;
use highwater_tests::batches::{batch, sequenced};
use highwater_tests::{Answer, Api, Broker, Cluster, Session, figure, may_take, program};
use rustix::process::Signal;
use tokio::time::timeout;

/// The suspicion window is 400 ms and three pings. What else the machine does can only add to it, so
/// the shortest of some rounds counts.
const REFUSED_AFTER: Duration = may_take(Duration::from_millis(700), Duration::from_secs(5));
const ROUNDS: usize = 5;
const LIMIT: Duration = Duration::from_secs(60);
/// How long a batch is given to be answered before the next is tried.
const NEXT: Duration = Duration::from_millis(50);

/// Sends batches until one is answered within [`NEXT`]; those before it are pushed to `unanswered`.
async fn until_answered(
    session: &mut Session,
    unanswered: &mut Vec<u64>,
) -> (u64, Answer<BatchAck>) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < LIMIT, "no batch is answered any more");
        let number = session.send("t", 0, batch([(unanswered.len() + 1).to_string()]));
        match timeout(NEXT, session.answer(number)).await {
            Ok(answer) => return (number, answer),
            Err(_) => unanswered.push(number),
        }
    }
}

/// Takes the majority away and gives it back: how long it took to be refused, and whether something
/// had been proposed by then.
async fn round(cluster: &Cluster) -> (Duration, bool) {
    let leader = cluster.leader_of("t", 0);
    let api = Api::connect(cluster.brokers[leader].listen()).await;
    let mut session = Session::open(&api).await;
    let first = session.send("t", 0, batch(["0"]));
    let before = match session.answer(first).await {
        Ok(ack) => ack.base_offset,
        // Another leads by now.
        Err(_) => return (LIMIT, false),
    };

    let others = || (0..3).filter(|broker| *broker != leader);
    others().for_each(|broker| cluster.brokers[broker].signal(Signal::STOP));
    let stopped = Instant::now();
    let mut unknown = Vec::new();
    let (_, refused) = until_answered(&mut session, &mut unknown).await;
    let took = stopped.elapsed();
    others().for_each(|broker| cluster.brokers[broker].signal(Signal::CONT));
    figure(&format!(
        "QUORUM_LOST after {took:?}, {} batches before it",
        unknown.len()
    ));
    let refusal = refused.unwrap_err();
    assert_eq!(refusal.reason, "QUORUM_LOST", "{refusal:?}");

    let producer = api.producer_id().await;
    let after = sequenced(producer, 0, 0, ["after"]);
    let acknowledged = api.append_surely("t", &after).await.base_offset;
    // What was proposed is not called refused: it is there, or nobody says that it is not.
    let proposed = !unknown.is_empty();
    let mut known = before + 1;
    for number in unknown {
        match session.answer(number).await {
            Ok(ack) => {
                assert_eq!(ack.base_offset, known);
                known += 1;
            }
            Err(refusal) => assert_eq!(refusal.reason, "OUTCOME_UNKNOWN", "{refusal:?}"),
        }
    }
    assert!(acknowledged >= known, "{acknowledged}, {known} before it");
    assert!(api.high_watermark("t", 0).await > acknowledged);
    (took, proposed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_new_batches_are_refused_and_what_was_proposed_stays_unknown() {
    let cluster = Cluster::start(&program!(), 3);
    let api = Api::connect(cluster.brokers[0].listen()).await;
    api.create("t", 1, &[]).await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(round(&cluster).await);
        // Where the machine stood still, the leader may have noticed before anything was sent to it.
        let proper = |(took, proposed): &(Duration, bool)| *proposed && *took < REFUSED_AFTER;
        if rounds.iter().any(proper) {
            return;
        }
        cluster.until_healthy();
    }
    panic!("no round in time with something proposed: {rounds:?}");
}

/// Longer than a leader whom nobody answers takes anything.
const LEASE: Duration = Duration::from_secs(13);

fn is_not_written(reason: &str) -> bool {
    ["QUORUM_LOST", "NO_LEADER"].contains(&reason)
}

/// The place of the leader, and a session there in which it has acknowledged a batch. On a busy machine
/// another may lead by the time it is asked.
async fn acknowledging(cluster: &Cluster) -> (usize, Session) {
    let begun = Instant::now();
    loop {
        let leader = cluster.leader_of("t", 0);
        let api = Api::connect(cluster.brokers[leader].listen()).await;
        let mut session = Session::open(&api).await;
        let first = session.send("t", 0, batch(["0"]));
        match session.answer(first).await {
            Ok(_) => return (leader, session),
            Err(refusal) => assert!(begun.elapsed() < LIMIT, "{refusal:?}"),
        }
    }
}

/// Whether `broker` says that this one does not answer, and nothing else since.
fn is_suspected(broker: &Broker, id: u64) -> bool {
    let log = broker.log();
    let last = |said: &str| log.rfind(&format!("{said} broker={id}"));
    last("does not answer, or leaves leading to others") > last("answers and may lead again")
}

/// The leader has nothing on its way that would tell it, when the others answer again, that it leads
/// on: what it refuses meanwhile is not unknown, and it does not wait for an election.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_partition_goes_on_after_its_followers_stood_still_for_long() {
    let cluster = Cluster::start(&program!(), 3);
    let api = Api::connect(cluster.brokers[0].listen()).await;
    api.create("t", 1, &[]).await;
    let (leader, mut session) = acknowledging(&cluster).await;

    let others = || (0..3).filter(|broker| *broker != leader);
    others().for_each(|broker| cluster.brokers[broker].signal(Signal::STOP));
    let stopped = Instant::now();
    let mut rounds = tokio::time::interval(NEXT);
    let misses =
        |broker: usize| is_suspected(&cluster.brokers[leader], cluster.brokers[broker].id());
    while !others().all(misses) {
        rounds.tick().await;
        assert!(stopped.elapsed() < LIMIT, "the others are not missed");
    }
    while stopped.elapsed() < LEASE {
        rounds.tick().await;
        let number = session.send("t", 0, batch(["refused"]));
        let refusal = session.answer(number).await.unwrap_err();
        assert!(is_not_written(&refusal.reason), "{refusal:?}");
    }

    others().for_each(|broker| cluster.brokers[broker].signal(Signal::CONT));
    let goes_on = Instant::now();
    loop {
        assert!(goes_on.elapsed() < LIMIT, "no batch is acknowledged");
        let number = session.send("t", 0, batch(["1"]));
        match session.answer(number).await {
            Ok(_) => break,
            Err(refusal) if is_not_written(&refusal.reason) => {}
            // The others may elect one of themselves all the same.
            Err(refusal) if refusal.reason == "NOT_LEADER" => break,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
    figure(&format!(
        "acknowledged {:?} after SIGCONT",
        goes_on.elapsed()
    ));
    cluster.until_healthy();
}
