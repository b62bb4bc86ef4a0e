//! Leaders that move, die, fall silent or come back elsewhere.

use super::*;

#[tokio::test]
async fn leaders_may_move_at_any_time_with_and_without_a_hint() {
    let mut cluster = FakeCluster::start(3);
    cluster.create_topic("t", 2);
    let moves = |cluster: &mut FakeCluster, i: u32| {
        if i.is_multiple_of(500) {
            let turn = i / 500;
            cluster.faults(|faults| faults.no_hints = turn.is_multiple_of(2));
            cluster.lead("t", turn % 2, (turn % 3 + 1) as i32);
        }
    };
    send_all(&mut cluster, 2, 20_000, moves).await;
}

#[tokio::test]
async fn a_leader_may_die_and_come_back_at_another_address() {
    let mut cluster = FakeCluster::start(3);
    cluster.create_topic("t", 3);
    let deaths = |cluster: &mut FakeCluster, i: u32| match i {
        3_000 => cluster.kill(2),
        6_000 => cluster.start_broker(2),
        7_000 => cluster.kill(1),
        8_000 => cluster.lead("t", 0, 3),
        _ => {}
    };
    send_all(&mut cluster, 3, 12_000, deaths).await;
}

#[tokio::test]
async fn one_bootstrap_broker_that_lives_is_enough() {
    let mut cluster = FakeCluster::start(3);
    cluster.create_topic("t", 1);
    cluster.lead("t", 0, 3);
    let bootstrap = cluster.bootstrap();
    cluster.kill(1);
    let client = patiently(Client::connect(&bootstrap)).await.unwrap();
    let producer = producer(&client).build().await.unwrap();
    cluster.kill(2);
    patiently(producer.send("a").await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_leader_that_falls_silent_is_left_for_the_one_that_took_over() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.mute = Some(1));
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    let delivery = producer.send("a").await.unwrap();
    let appended = |state: &mut fake::State| state.partition("t", 0).unwrap().next_offset == 1;
    cluster.wait_until("the batch is appended", appended).await;
    cluster.lead("t", 0, 2);
    let ack = patiently(delivery).await.unwrap();
    assert!(ack.duplicate, "it is found where the silent leader put it");
    assert_eq!(ack.offset, Some(Offset(0)));
}

#[tokio::test]
async fn a_leader_that_does_not_open_a_session_is_not_waited_for_once_another_leads() {
    let mut cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    cluster.hang(1);
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    let delivery = producer.send("a").await.unwrap();
    cluster.lead("t", 0, 2);
    // The session that never opens would be given up much later.
    let soon = Duration::from_secs(8);
    let ack = tokio::time::timeout(soon, delivery).await.expect("soon");
    assert_eq!(ack.unwrap().offset, Some(Offset(0)));
}

#[tokio::test]
async fn a_broker_that_is_cut_off_from_the_others_keeps_nobody_from_the_leader() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    // Whoever writes has to ask where the leader is, and the one that is asked first tells what was so.
    cluster.faults(|faults| {
        faults.behind = Some(1);
        faults.no_hints = true;
    });
    cluster.lead("t", 0, 2);
    let ack = patiently(producer.send("a").await.unwrap()).await.unwrap();
    assert_eq!(ack.offset, Some(Offset(0)));
}
