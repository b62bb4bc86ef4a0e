//! What becomes of a drain when it is cancelled.

use futures_util::FutureExt;
use highwater_proto::pb::v1::{self, BrokerState};
use highwater_proto::{BrokerId, Reason};
use tokio::net::TcpListener;

use super::asking::{create, start_on, topic, until_sent};
use super::*;

fn order(cancel: bool) -> v1::DrainBrokerRequest {
    v1::DrainBrokerRequest { broker: 1, cancel }
}

fn state(broker: &Broker) -> BrokerState {
    let question = v1::GetDrainRequest { broker: 1 };
    let drain = broker.services.get_drain(&context(), &question);
    drain.unwrap().state()
}

#[tokio::test]
async fn a_question_about_a_drain_changes_nothing() {
    let broker = start_on(&MemDir::new()).await;
    assert_eq!(state(&broker), BrokerState::Up);
    let drained = broker.services.drain_broker(&context(), order(false)).await;
    assert_eq!(drained.unwrap().state(), BrokerState::Draining);
    assert_eq!(state(&broker), BrokerState::Draining);
    let cancelled = broker.services.drain_broker(&context(), order(true)).await;
    assert_eq!(cancelled.unwrap().state(), BrokerState::Up);
    assert_eq!(state(&broker), BrokerState::Up);
    broker.abandon().await;
}

#[tokio::test]
async fn a_cancel_whose_caller_goes_away_is_done_as_a_whole() {
    let broker = start_on(&MemDir::new()).await;
    create(&broker, topic("t")).await;
    until_sent(&broker, "t", 1).await;
    let services = &broker.services;
    // A peer that never answers: whoever tells it something waits.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    assert!(services.peers.redirect(BrokerId(9), &address));
    services.liveness.set_drained(true);

    let partition = services.partitions.all().values().next().unwrap().clone();
    let mut published = partition.published();
    published.mark_unchanged();
    let caller = context();
    let told = services.drain_broker(&caller, order(true));
    assert!(told.now_or_never().is_none(), "nobody was told");
    assert!(!services.liveness.is_leaving());
    assert!(published.has_changed().unwrap(), "what waits was not woken");
    broker.abandon().await;
}

#[tokio::test]
async fn a_broker_that_stops_does_not_lead_again_for_a_cancel() {
    let broker = start_on(&MemDir::new()).await;
    let services = &broker.services;
    services
        .drain_broker(&context(), order(false))
        .await
        .unwrap();
    services.liveness.set_stopping();
    let refused = services.drain_broker(&context(), order(true)).await;
    assert_eq!(refused.unwrap_err().reason, Reason::NotReady);
    // Nor for one that was on its way.
    assert!(!services.liveness.set_drained(false));
    assert!(services.liveness.is_leaving());
    assert_eq!(state(&broker), BrokerState::Draining);
    broker.abandon().await;
}
