//! Brings what this broker runs in line with the metadata: opens the replicas that are placed here,
//! deletes those that were removed, and keeps the links to the other brokers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::pb::peer::{Endpoints, Member};
use highwater_proto::{BrokerId, LogIndex, PartitionIndex, ReplicaId, TopicId};
use tokio::sync::{mpsc, watch};

use super::broken::{Broken, Next, explained};
use super::groups::{Groups, NotOpened, offloaded};
use super::identity::remember_addresses;
use super::to_open::{ToOpen, to_open};
use super::watching::{Ended, permission, watch_end, watch_leadership};
use crate::clock;
use crate::cluster::{ClusterState, Placed, Published, TopicConfig};
use crate::partition::{Partition, PartitionMachine, Retention, Shared, Surroundings};
use crate::raft::{GroupId, Replicas};
use crate::service::{Fault, FaultKind, Services};
use crate::tasks::Tasks;

mod removals;

use removals::Removals;

/// How long one attempt to catch up with the metadata takes.
const CATCH_UP: Duration = Duration::from_secs(1);
/// Without anything to do it looks again after this long.
const IDLE: Duration = Duration::from_secs(3600);
/// Replicas opened at the same time.
const OPEN_AT_ONCE: usize = 16;

/// The reconciler of one broker.
#[derive(Debug)]
pub(super) struct Reconciler {
    services: Arc<Services>,
    replicas: Arc<Replicas>,
    groups: Arc<Groups>,
    tasks: Tasks,
    /// Where it says why the broker must exit.
    failed: watch::Sender<Option<String>>,
    /// True once everything placed here has been opened.
    settled: watch::Sender<bool>,
    /// Replicas that could not be opened or have stopped; they stay out of their groups for a while.
    broken: Broken,
    /// Replicas that were removed, and are to be deleted and confirmed.
    removals: Removals,
    /// The peer addresses that the links have.
    addresses: BTreeMap<BrokerId, String>,
    /// True once the metadata had this life of the broker.
    registered: bool,
    ending: mpsc::UnboundedSender<Ended>,
    ended: mpsc::UnboundedReceiver<Ended>,
    /// Where repairs say how they ended.
    repairing: mpsc::UnboundedSender<Repaired>,
    repaired: mpsc::UnboundedReceiver<Repaired>,
    /// Where cores that ended late say so.
    going: mpsc::UnboundedSender<ReplicaId>,
    gone: mpsc::UnboundedReceiver<ReplicaId>,
}

/// How a repair ended.
struct Repaired {
    group: GroupId,
    replica: ReplicaId,
    result: Result<(), String>,
}

impl Reconciler {
    /// A reconciler that has not begun.
    pub(super) fn new(
        services: Arc<Services>,
        replicas: Arc<Replicas>,
        groups: Arc<Groups>,
        tasks: Tasks,
        failed: watch::Sender<Option<String>>,
        settled: watch::Sender<bool>,
    ) -> Self {
        let (ending, ended) = mpsc::unbounded_channel();
        let (repairing, repaired) = mpsc::unbounded_channel();
        let (going, gone) = mpsc::unbounded_channel();
        let (broken, addresses) = (Broken::default(), BTreeMap::new());
        let removals = Removals::default();
        Self {
            services,
            replicas,
            groups,
            tasks,
            failed,
            settled,
            broken,
            removals,
            addresses,
            registered: false,
            ending,
            ended,
            repairing,
            repaired,
            going,
            gone,
        }
    }

    /// Where to say that a replica has ended or is damaged.
    pub(super) fn ending(&self) -> mpsc::UnboundedSender<Ended> {
        self.ending.clone()
    }

    /// Follows the metadata until it ends.
    pub(super) async fn run(mut self) {
        let mut published = self.services.metadata.watch();
        self.catch_up().await;
        loop {
            let Published { state, applied } = published.borrow_and_update().clone();
            if let Some(why) = self.replaced(&state) {
                self.failed.send_replace(Some(why));
                return;
            }
            self.follow_brokers(&state, applied).await;
            self.close_removed(&state).await;
            self.follow_settings(&state);
            self.open_placed(&state).await;
            if state.broker(self.services.me.broker).is_some() {
                self.settled.send_replace(true);
            }
            let retries = [self.broken.next_at(), self.removals.next_at()];
            let retry = retries.into_iter().flatten().min();
            let retry = retry.unwrap_or_else(|| clock::monotonic() + IDLE);
            tokio::select! {
                changed = published.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(ended) = self.ended.recv() => self.close_ended(ended).await,
                Some(repaired) = self.repaired.recv() => self.end_repair(repaired),
                Some(replica) = self.gone.recv() => self.broken.has_ended(replica),
                () = tokio::time::sleep_until(retry) => {}
            }
        }
    }

    /// Waits for the metadata of now. While the log is applied again the state goes through what
    /// was once true: a replica that is long deleted must not come to life meanwhile.
    async fn catch_up(&mut self) {
        let published = self.services.metadata.watch();
        loop {
            let Published { state, applied } = published.borrow().clone();
            self.follow_brokers(&state, applied).await;
            if self.services.metadata.catch_up(CATCH_UP).await {
                return;
            }
        }
    }

    /// Why this broker must stop, if another process has registered as this broker since: it runs
    /// on a copy of this data directory, and only one of them may vote and acknowledge.
    fn replaced(&mut self, state: &ClusterState) -> Option<String> {
        let me = &self.services.me;
        let known = state.broker(me.broker)?;
        if known.incarnation == me.incarnation {
            self.registered = true;
            return None;
        }
        self.registered.then(|| {
            format!(
                "another process runs as broker {} now, at {}; was this data directory copied?",
                me.broker, known.endpoints.peer
            )
        })
    }

    /// A replica whose core ended is opened again later; recovery decides what it still has.
    async fn close_ended(&mut self, ended: Ended) {
        let Ended {
            group,
            replica,
            kind,
            why,
        } = ended;
        let open = self.replicas.get(group).filter(|r| r.id() == replica);
        if let (Some(open), GroupId::Partition(topic, index)) = (open, group) {
            tracing::error!(%group, %why, "a replica has stopped");
            self.close(topic, index, replica).await;
            if kind == FaultKind::Diverged {
                let last = open.reader().last();
                self.groups.mark_diverged(replica, last, &why).await;
            }
            self.stays_out(group, replica, kind, &why);
        }
    }

    fn stays_out(&mut self, group: GroupId, replica: ReplicaId, kind: FaultKind, why: &str) {
        self.services.metrics.replica_failures.add(1);
        let space = self.groups.root.space();
        let again_in = self.broken.put(replica, kind, space.is_short());
        // First noted, then told: who reads the line finds it in the health of the cluster.
        let why = explained(why, space.place());
        let told = why.clone();
        let fault = Fault { replica, kind, why };
        self.services.faults.put(group, fault);
        tracing::error!(%group, %replica, ?kind, why = %told, ?again_in, "a replica stays out of its group");
    }

    fn is_back(&mut self, group: GroupId, replica: ReplicaId) {
        self.broken.remove(replica);
        self.services.faults.clear(group);
    }

    /// Begins to repair a damaged replica from the others of its group.
    fn begin_repair(&mut self, open: ToOpen) {
        self.broken.repairing(open.replica);
        let (groups, me) = (Arc::clone(&self.groups), self.services.me.broker);
        let done = self.repairing.clone();
        self.tasks.spawn(async move {
            let (group, replica) = (open.group(), open.replica);
            let others = open.voters.iter().map(|(_, broker)| *broker);
            let others: Vec<_> = others.filter(|broker| *broker != me).collect();
            let log = Some(open.log());
            let result = groups.repair(group, replica, log, &others).await;
            let result = result.map(drop);
            drop(done.send(Repaired {
                group,
                replica,
                result,
            }));
        });
    }

    fn end_repair(&mut self, repaired: Repaired) {
        let Repaired {
            group,
            replica,
            result,
        } = repaired;
        match result {
            Ok(()) => self.broken.repaired(replica),
            // One that was removed meanwhile is nobody's any more.
            Err(_) if !self.broken.is_repairing(replica) => {}
            Err(why) => self.stays_out(group, replica, FaultKind::Damaged, &why),
        }
    }

    /// Keeps the links, and the addresses that a restart begins with.
    async fn follow_brokers(&mut self, state: &ClusterState, applied: LogIndex) {
        let now: BTreeMap<_, _> = state
            .brokers()
            .map(|broker| (broker.id, broker.endpoints.peer.clone()))
            .collect();
        if now.is_empty() || now == self.addresses {
            return;
        }
        if !self.services.peers.update(&now, applied) {
            return;
        }
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
            remember_addresses(root.as_ref(), &members, applied)
        });
        if let Err(error) = kept.await {
            tracing::warn!(%error, "the addresses of the other brokers were not kept");
        }
        self.addresses = now;
    }

    async fn close(&mut self, topic: TopicId, index: PartitionIndex, id: ReplicaId) {
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
            if let Some(ending) = partition.stop().await {
                self.broken.ends_late(id);
                let gone = self.going.clone();
                self.tasks.spawn(async move {
                    ending.await;
                    let _ = gone.send(id);
                });
            }
        }
        self.services.leaders.forget(group);
    }

    /// Tells the partitions here what their topics say now.
    fn follow_settings(&self, state: &ClusterState) {
        for placed in state.replicas_on(self.services.me.broker) {
            let here = self
                .services
                .partitions
                .get(placed.topic.id, placed.partition);
            if let Some(partition) = here {
                partition.retain(retention(&placed.topic.config));
            }
        }
    }

    async fn open_placed(&mut self, state: &ClusterState) {
        let missing = |placed: &Placed<'_>| {
            let group = GroupId::Partition(placed.topic.id, placed.partition);
            let open = self.replicas.get(group);
            open.is_none_or(|replica| replica.id() != placed.replica)
        };
        let missing = state
            .replicas_on(self.services.me.broker)
            .filter(missing)
            .map(to_open);
        let mut to_open = Vec::new();
        for open in missing.collect::<Vec<_>>() {
            match self.broken.next(open.replica) {
                Next::Open => to_open.push(open),
                Next::Repair => self.begin_repair(open),
                Next::Wait => {}
            }
        }
        let mut to_open = to_open.into_iter();
        loop {
            let some: Vec<_> = to_open.by_ref().take(OPEN_AT_ONCE).collect();
            if some.is_empty() {
                return;
            }
            let opened = some.iter().map(|open| self.open(open));
            let opened = futures_util::future::join_all(opened).await;
            for (open, result) in some.into_iter().zip(opened) {
                let (group, id) = (open.group(), open.replica);
                match result {
                    Ok(()) => self.is_back(group, id),
                    Err(error) => {
                        self.stays_out(group, id, error.kind(), error.why());
                        if error.kind() == FaultKind::Damaged {
                            self.begin_repair(open);
                        }
                    }
                }
            }
        }
    }

    async fn open(&self, open: &ToOpen) -> Result<(), NotOpened> {
        let group = open.group();
        let shared = Shared::new();
        let machine = Box::new(PartitionMachine(Arc::clone(&shared)));
        let tasks = self.tasks.child();
        let replica = self
            .groups
            .open(group, open.replica, Some(open.log()), machine, &tasks)
            .await?;
        watch_leadership(&replica, &self.services, &tasks);
        watch_end(&replica, self.ending.clone(), self.failed.clone(), &tasks);
        let partition = Partition::start(
            (open.topic.id, open.partition),
            replica.clone(),
            shared,
            Surroundings {
                clock: Arc::clone(&self.services.clock),
                metrics: Arc::clone(&self.services.metrics),
                permission: permission(&self.services, &replica),
                retention: retention(&open.topic.config),
            },
            tasks,
        );
        self.services.partitions.insert(&partition);
        self.replicas.insert(replica.clone());
        let first = open.voters.first();
        if open.voters.len() > 1 && first.is_some_and(|(first, _)| *first == open.replica) {
            replica.lead_if_new().await;
        }
        Ok(())
    }
}

/// What a topic says of the storage of its partitions.
fn retention(config: &TopicConfig) -> Retention {
    Retention {
        ms: config.retention_ms.and_then(|ms| i64::try_from(ms).ok()),
        bytes: config.retention_bytes,
        file_bytes: config.file_bytes(),
        file_ms: config.file_ms(),
    }
}
