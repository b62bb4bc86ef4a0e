//! Makes the metadata know this life of a broker and its addresses: the last step of a start.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::BrokerId;
use highwater_proto::pb::peer::Endpoints;

use super::identity::{Applicant, Asked, Membership, ask_members};
use crate::clock;
use crate::cluster::{Command, LEVELS, Refusal, Registration};
use crate::peer::Link;
use crate::raft::GroupId;
use crate::service::Services;

/// Shards of consumer groups that a cluster is founded with.
const GROUP_SHARDS: u32 = 16;
/// How long a broker waits for its cluster before it gives up starting.
const REGISTER_FOR: Duration = Duration::from_secs(60);
/// A broker that waits for its cluster says so no more often than this.
const REGISTER_LOG: Duration = Duration::from_secs(5);
/// When nothing changes meanwhile, it is tried again after this long.
const REGISTER_AGAIN: Duration = Duration::from_millis(100);
const PROPOSE_LIMIT: Duration = Duration::from_secs(5);
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// Registers the broker and waits until its own metadata says so.
pub(super) async fn register(
    services: &Arc<Services>,
    membership: &Membership,
    applicant: &Applicant,
) -> Result<(), String> {
    let attempts = async {
        let mut changes = services.leaders.changes();
        let mut next_log = clock::monotonic() + REGISTER_LOG;
        loop {
            match attempt(services, membership, applicant).await {
                Ok(()) => return Ok(()),
                Err(Asked::Refused(why)) => return Err(why),
                Err(Asked::NoAnswer(why)) if clock::monotonic() >= next_log => {
                    let others = others(services);
                    tracing::info!(%why, %others, "not registered yet; trying on");
                    next_log = clock::monotonic() + REGISTER_LOG;
                }
                Err(Asked::NoAnswer(why)) => tracing::debug!(%why, "not registered yet"),
            }
            drop(tokio::time::timeout(REGISTER_AGAIN, changes.changed()).await);
        }
    };
    match tokio::time::timeout(REGISTER_FOR, attempts).await {
        Ok(registered) => registered?,
        Err(_) => {
            return Err(format!(
                "the cluster's metadata could not be reached for {} s: {}; are the other brokers running? \
                 A majority of those that hold it must be. If they have other addresses now, start this \
                 one with --join and the peer address of one of them",
                REGISTER_FOR.as_secs(),
                others(services)
            ));
        }
    }
    let me = services.me.broker;
    let mut published = services.metadata.watch();
    let known = published.wait_for(|published| published.state.broker(me).is_some());
    known
        .await
        .map(drop)
        .map_err(|_| "the metadata group has stopped".to_owned())
}

/// What is known of the other brokers, for whoever has to find out why they do not come together.
fn others(services: &Services) -> String {
    let links = services.peers.all();
    if links.is_empty() {
        return "no other broker is known".to_owned();
    }
    let other = |link: &Arc<Link>| {
        let answers = match services.liveness.answers(link.broker) {
            true => "answers",
            false => "does not answer",
        };
        format!("broker {} at {} {answers}", link.broker, link.address)
    };
    links.values().map(other).collect::<Vec<_>>().join(", ")
}

async fn attempt(
    services: &Arc<Services>,
    membership: &Membership,
    applicant: &Applicant,
) -> Result<(), Asked> {
    let me = services.me;
    let replica = services.metadata.replica();
    if membership.founder && replica.leadership_now().mine {
        let barrier = replica.read_barrier().await;
        barrier.map_err(|error| Asked::NoAnswer(error.to_string()))?;
        if services.metadata.state().cluster_id().is_none() {
            let cluster = me.cluster;
            let found = Command::FoundCluster {
                cluster,
                group_shards: GROUP_SHARDS,
            };
            propose(services, &found).await?;
        }
        let known = services.metadata.state().broker(me.broker).is_some();
        return announce(services, known.then_some(me.broker), applicant).await;
    }
    let known = services.metadata.state().broker(me.broker).is_some();
    if known && services.leaders.leader(GroupId::Metadata).is_some() {
        return announce(services, Some(me.broker), applicant).await;
    }
    // The metadata is not here yet: ask those whose addresses are known from before.
    let links = services.peers.all();
    let addresses: Vec<_> = links.values().map(|link| link.address.clone()).collect();
    let hello = me.hello();
    ask_members(&addresses, &hello, applicant, ASK_LIMIT)
        .await
        .map(drop)
}

async fn announce(
    services: &Services,
    broker: Option<BrokerId>,
    applicant: &Applicant,
) -> Result<(), Asked> {
    let Endpoints { listen, peer, http } = applicant.endpoints.clone();
    let registration = Registration {
        broker,
        incarnation: services.me.incarnation,
        endpoints: crate::cluster::Endpoints { listen, peer, http },
        rack: applicant.rack.clone(),
        levels: LEVELS,
    };
    propose(services, &Command::RegisterBroker(registration)).await
}

async fn propose(services: &Services, command: &Command) -> Result<(), Asked> {
    let proposed = services.metadata.propose(command, PROPOSE_LIMIT).await;
    let failed = |Refusal { reason, message }: Refusal| match reason.outcome() {
        highwater_proto::reason::Outcome::Refused => Asked::Refused(message),
        _ => Asked::NoAnswer(message),
    };
    proposed.map(drop).map_err(failed)
}
