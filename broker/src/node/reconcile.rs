//! Brings what this broker runs in line with the metadata: opens the replicas that are placed here,
//! deletes those that were removed, and keeps the links to the other brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use highwater_proto::pb::peer::{Endpoints, Member};
use highwater_proto::{BrokerId, PartitionIndex, ReplicaId, TopicId};
use tokio::sync::watch;

use super::groups::{Groups, Sizes, offloaded};
use super::identity::remember_addresses;
use crate::cluster::{ClusterState, Command, Placed, Published, Topic};
use crate::partition::{AppendError, Partition, PartitionMachine, Permission, Shared};
use crate::raft::{GroupId, Replica, Replicas};
use crate::service::Services;
use crate::tasks::Tasks;

/// How long the metadata group may take to confirm.
const CONFIRM_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
/// Replicas opened at the same time.
const OPEN_AT_ONCE: usize = 16;

/// The reconciler of one broker.
#[derive(Debug)]
pub(super) struct Reconciler {
    pub(super) services: Arc<Services>,
    pub(super) replicas: Arc<Replicas>,
    pub(super) groups: Arc<Groups>,
    pub(super) tasks: Tasks,
    /// Where it says why the broker must exit.
    pub(super) failed: watch::Sender<Option<String>>,
    /// True once everything placed here has been opened.
    pub(super) settled: watch::Sender<bool>,
    /// Replicas that could not be opened, with the reason; they stay out of their groups.
    pub(super) broken: BTreeMap<ReplicaId, String>,
}

/// A replica that is to be opened.
struct ToOpen {
    topic: Arc<Topic>,
    partition: PartitionIndex,
    replica: ReplicaId,
    voters: Vec<(ReplicaId, BrokerId)>,
}

impl Reconciler {
    /// Follows the metadata until it ends.
    pub(super) async fn run(mut self) {
        let mut published = self.services.metadata.watch();
        let mut addresses = BTreeMap::new();
        loop {
            let Published { state, .. } = published.borrow_and_update().clone();
            self.follow_brokers(&state, &mut addresses).await;
            self.close_removed(&state).await;
            self.open_placed(&state).await;
            if state.broker(self.services.me.broker).is_some() {
                self.settled.send_replace(true);
            }
            if published.changed().await.is_err() {
                return;
            }
        }
    }

    /// Keeps the links, and the addresses that a restart begins with.
    async fn follow_brokers(&self, state: &ClusterState, known: &mut BTreeMap<BrokerId, String>) {
        let now: BTreeMap<_, _> = state
            .brokers()
            .map(|broker| (broker.id, broker.endpoints.peer.clone()))
            .collect();
        if now.is_empty() || now == *known {
            return;
        }
        self.services.peers.update(&now);
        let member = |broker: &crate::cluster::Broker| Member {
            broker_id: broker.id.0,
            endpoints: Some(Endpoints {
                listen: broker.endpoints.listen.clone(),
                peer: broker.endpoints.peer.clone(),
                http: broker.endpoints.http.clone(),
            }),
        };
        let members: Vec<_> = state.brokers().map(member).collect();
        let root = Arc::clone(&self.groups.root);
        let kept = offloaded(&self.groups.root, move || {
            remember_addresses(root.as_ref(), &members)
        });
        if let Err(error) = kept.await {
            tracing::warn!(%error, "the addresses of the other brokers were not kept");
        }
        *known = now;
    }

    async fn close_removed(&mut self, state: &ClusterState) {
        let removed: Vec<_> = state.removed_on(self.services.me.broker).cloned().collect();
        if removed.is_empty() {
            return;
        }
        let mut confirmed = Vec::new();
        for removed in removed {
            let (topic, index, id) = (removed.topic, removed.partition, removed.replica.id);
            let group = GroupId::Partition(topic, index);
            self.close(topic, index, id).await;
            self.broken.remove(&id);
            match self.groups.delete(group, id).await {
                Ok(()) => confirmed.push(id),
                Err(error) => tracing::error!(%group, %error, "a removed replica is not deleted"),
            }
        }
        let (services, command) = (
            Arc::clone(&self.services),
            Command::ConfirmRemoved {
                replicas: confirmed,
            },
        );
        self.tasks.spawn(async move {
            if let Err(refused) = services.metadata.propose(&command, CONFIRM_LIMIT).await {
                tracing::debug!(%refused, "removed replicas are confirmed later");
            }
        });
    }

    async fn close(&self, topic: TopicId, index: PartitionIndex, id: ReplicaId) {
        let group = GroupId::Partition(topic, index);
        if self
            .replicas
            .get(group)
            .is_none_or(|replica| replica.id() != id)
        {
            return;
        }
        self.replicas.remove(group);
        if let Some(partition) = self.services.partitions.get(topic, index) {
            self.services.partitions.remove(topic, index);
            partition.stop().await;
        }
        self.services.leaders.forget(group);
    }

    async fn open_placed(&mut self, state: &ClusterState) {
        let missing = |placed: &Placed<'_>| {
            let group = GroupId::Partition(placed.topic.id, placed.partition);
            let open = self
                .replicas
                .get(group)
                .is_some_and(|r| r.id() == placed.replica);
            !open && !self.broken.contains_key(&placed.replica)
        };
        let to_open: Vec<_> = state
            .replicas_on(self.services.me.broker)
            .filter(missing)
            .map(to_open)
            .collect();
        let mut to_open = to_open.into_iter();
        loop {
            let some: Vec<_> = to_open.by_ref().take(OPEN_AT_ONCE).collect();
            if some.is_empty() {
                return;
            }
            let ids: Vec<_> = some.iter().map(|open| open.replica).collect();
            let opened = some.into_iter().map(|open| self.open(open));
            let opened = futures_util::future::join_all(opened).await;
            for (id, result) in ids.into_iter().zip(opened) {
                if let Err(error) = result {
                    tracing::error!(replica = %id, %error, "a replica stays out of its group");
                    self.broken.insert(id, error);
                }
            }
        }
    }

    async fn open(&self, open: ToOpen) -> Result<(), String> {
        let group = GroupId::Partition(open.topic.id, open.partition);
        let shared = Shared::new();
        let machine = Box::new(PartitionMachine(Arc::clone(&shared)));
        let config = &open.topic.config;
        let sizes = Sizes {
            max_segment_bytes: config.segment_bytes,
            segment_ms: i64::try_from(config.segment_ms).ok(),
        };
        let tasks = self.tasks.child();
        let replica = self
            .groups
            .open(group, open.replica, Some(sizes), machine, &tasks)
            .await?;
        watch_leadership(&replica, &self.services, &tasks);
        watch_end(&replica, self.failed.clone(), &self.tasks, &tasks);
        let partition = Partition::start(
            (open.topic.id, open.partition),
            replica.clone(),
            shared,
            Arc::clone(&self.services.clock),
            self.permission(&replica),
            tasks,
        );
        self.services.partitions.insert(&partition);
        self.replicas.insert(replica.clone());
        let begins = open
            .voters
            .first()
            .is_some_and(|(first, _)| *first == open.replica);
        if begins {
            replica
                .initialize(open.voters)
                .await
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Whether the leader may propose: not while a majority of the replica's voters cannot be
    /// reached, as the pings have it, and not once this broker is stopping.
    fn permission(&self, replica: &Replica) -> Permission {
        let (services, replica) = (Arc::clone(&self.services), replica.clone());
        Arc::new(move || {
            if services.liveness.is_leaving() && replica.members().brokers.len() > 1 {
                return Err(AppendError::NotLeader);
            }
            let suspected = services.liveness.suspected();
            if suspected.borrow().is_empty() {
                return Ok(());
            }
            let members = replica.members();
            let is_up = |id: &ReplicaId| {
                let broker = members.brokers.get(id);
                broker.is_some_and(|broker| services.liveness.is_up(*broker))
            };
            let majority = |set: &BTreeSet<ReplicaId>| {
                set.iter().filter(|id| is_up(id)).count() > set.len() / 2
            };
            match members.voters.iter().all(majority) {
                true => Ok(()),
                false => Err(AppendError::QuorumLost),
            }
        })
    }
}

fn to_open(placed: Placed<'_>) -> ToOpen {
    ToOpen {
        topic: Arc::clone(placed.topic),
        partition: placed.partition,
        replica: placed.replica,
        voters: placed
            .replicas
            .iter()
            .map(|replica| (replica.id, replica.broker))
            .collect(),
    }
}

/// Tells the table of leaders what the replica knows, whenever it changes.
pub(super) fn watch_leadership(replica: &Replica, services: &Services, tasks: &Tasks) {
    let (group, leaders) = (replica.group(), Arc::clone(&services.leaders));
    let mut leadership = replica.leadership();
    tasks.spawn(async move {
        loop {
            let now = *leadership.borrow_and_update();
            leaders.see(group, now);
            if leadership.changed().await.is_err() {
                return;
            }
        }
    });
}

/// A core that ends by itself met an error that it must not go on after: the broker exits.
pub(super) fn watch_end(
    replica: &Replica,
    failed: watch::Sender<Option<String>>,
    broker: &Tasks,
    own: &Tasks,
) {
    let (replica, broker) = (replica.clone(), broker.clone());
    own.spawn(async move {
        let why = replica.ended().await;
        if !broker.is_cancelled() {
            tracing::error!(group = %replica.group(), %why, "a group has stopped");
            failed.send_replace(Some(format!("{}: {why}", replica.group())));
        }
    });
}
