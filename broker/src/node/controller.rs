//! What the leader of the metadata group sees to: every broker learns the metadata, and up to three
//! of them vote on it.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::{BrokerId, ReplicaId};
use tokio::time::MissedTickBehavior;

use crate::service::Services;

const ROUND: Duration = Duration::from_millis(200);
/// The most voters of the metadata group.
pub(super) const VOTERS: usize = 3;

/// Lets the metadata group grow as brokers join, as long as this broker leads it.
pub(super) async fn run(services: Arc<Services>) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        if services.metadata.replica().leadership_now().mine {
            grow(&services).await;
        }
    }
}

async fn grow(services: &Services) {
    let replica = services.metadata.replica();
    let state = services.metadata.state();
    let members = replica.members();
    if members.voters.len() != 1 {
        // A change takes two steps. Whoever led when this one was begun did not live to take the second.
        if let Err(error) = replica.add_voters([]).await {
            tracing::debug!(%error, "a change of the metadata's voters is not yet complete");
        }
        return;
    }
    let missing = |broker: &&crate::cluster::Broker| {
        !members.brokers.contains_key(&broker.metadata_replica)
            && services.liveness.is_up(broker.id)
    };
    if let Some(broker) = state.brokers().find(missing) {
        let added = replica
            .add_learner(broker.metadata_replica, broker.id)
            .await;
        report(broker.id, "learns the metadata", added);
        return;
    }
    let voters = members.voter_brokers().count();
    if voters >= VOTERS.min(state.brokers().len()) {
        return;
    }
    let Some(in_sync) = replica.in_sync() else {
        return;
    };
    let ready = |(id, broker): &(&ReplicaId, &BrokerId)| {
        !members.is_voter(**id) && in_sync.contains(id) && services.liveness.is_up(**broker)
    };
    if let Some((id, broker)) = members.brokers.iter().find(ready) {
        report(
            *broker,
            "votes on the metadata",
            replica.add_voters([*id]).await,
        );
    }
}

fn report(broker: BrokerId, what: &str, result: Result<(), String>) {
    match result {
        Ok(()) => tracing::info!(%broker, "the broker {what}"),
        Err(error) => tracing::debug!(%broker, %error, "the broker not yet {what}"),
    }
}
