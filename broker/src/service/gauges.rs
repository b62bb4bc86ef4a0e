//! The state of the broker, for its metrics. Looked up when somebody asks.

use highwater_proto::{BrokerId, PartitionIndex, ReplicaId};

use super::{FaultKind, Services};
use crate::cluster::ClusterState;
use crate::metrics::{Gauges, PartitionGauges};
use crate::partition::{Bounds, Partition};
use crate::raft::GroupId;

/// A replica that lacks more committed entries than this is far behind; one that keeps up lacks the
/// few that are on their way.
const FAR_BEHIND: u64 = 1_000;

impl Services {
    /// The state of this broker and of its cluster, as it knows it. What only the machine knows is
    /// left out. With `each`, the partitions led here are listed.
    pub fn gauges(&self, each: bool) -> Gauges {
        let state = self.metadata.state();
        let me = self.me.broker;
        let is_up = |id: &BrokerId| self.liveness.answers(*id);
        let up = state.brokers().filter(|broker| is_up(&broker.id)).count();
        let controller = self.leaders.leader(GroupId::Metadata);
        let mut gauges = Gauges {
            broker: me.0,
            cluster: self.me.cluster.to_string(),
            controller: controller.is_some_and(|leader| leader.broker == me),
            brokers_up: up as u64,
            brokers_down: (state.brokers().len() - up) as u64,
            clock_offset_ms: self.liveness.clock_ahead_ms(me),
            clock_skew_ms: self.liveness.clock_skew_ms(),
            topics: state.topic_count() as u64,
            partitions: state.partition_count() as u64,
            partitions_leaderless: self.leaderless(&state),
            ..Gauges::default()
        };
        self.add_partitions(&mut gauges, &state, each);
        gauges
    }

    fn leaderless(&self, state: &ClusterState) -> u64 {
        let groups = state.topics().flat_map(|topic| {
            let numbers = (0_u32..).zip(&topic.partitions);
            numbers.map(|(number, _)| GroupId::Partition(topic.id, PartitionIndex(number)))
        });
        groups
            .filter(|group| self.leaders.leader(*group).is_none())
            .count() as u64
    }

    fn add_partitions(&self, gauges: &mut Gauges, state: &ClusterState, each: bool) {
        let here = self.partitions.all();
        let placed = state.replicas_on(self.me.broker).count();
        gauges.replicas = here.len() as u64;
        gauges.replicas_damaged = self.faults.count(FaultKind::Damaged);
        gauges.replicas_diverged = self.faults.count(FaultKind::Diverged);
        gauges.replicas_out = placed.saturating_sub(here.len()) as u64;
        for partition in here.values() {
            let has_next = partition.replica().room().has_next_file();
            gauges.ready_segments += u64::from(has_next);
            let Some(led) = self.led(partition) else {
                continue;
            };
            gauges.partitions_led += 1;
            gauges.partitions_under_replicated += u64::from(led.is_under_replicated);
            gauges.lag_entries = gauges.lag_entries.max(led.lag_entries);
            let topic = state.topic(partition.topic());
            if let (true, Some(topic)) = (each, topic) {
                gauges.each.push(PartitionGauges {
                    topic: topic.name.to_string(),
                    partition: partition.index().0,
                    log_start_offset: led.bounds.log_start_offset.0,
                    high_watermark: led.bounds.high_watermark.0,
                    leader_epoch: led.bounds.term.0,
                    in_sync: led.in_sync,
                    lag_entries: led.lag_entries,
                });
            }
        }
    }

    /// What the leader of a partition knows of it, if this broker is that leader.
    fn led(&self, partition: &Partition) -> Option<Led> {
        let bounds = partition.led()?;
        let lags = partition.replica().lags()?;
        let brokers = partition.replica().members().brokers;
        let is_up = |replica: &ReplicaId| {
            let broker = brokers.get(replica);
            broker.is_some_and(|broker| self.liveness.answers(*broker))
        };
        let is_in_sync = |(replica, lag): &&(ReplicaId, u64)| *lag == 0 && is_up(replica);
        let lacks = |(replica, lag): &(ReplicaId, u64)| *lag > FAR_BEHIND || !is_up(replica);
        Some(Led {
            bounds,
            is_under_replicated: lags.iter().any(lacks),
            in_sync: 1 + lags.iter().filter(|entry| is_in_sync(entry)).count() as u64,
            lag_entries: lags.iter().map(|(_, lag)| *lag).max().unwrap_or(0),
        })
    }
}

struct Led {
    bounds: Bounds,
    is_under_replicated: bool,
    in_sync: u64,
    lag_entries: u64,
}
