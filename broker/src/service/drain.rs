//! Handing over what this broker leads: for a stop, or to keep it from leading for a while.

use std::time::Duration;

use highwater_proto::BrokerId;
use highwater_proto::pb::v1;

use super::{Context, Error, Resource, Services};
use crate::raft::{GroupId, Members, Replica};

/// What this broker leads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Led {
    /// Groups that another broker which answers, and stays, could lead.
    pub movable: usize,
    /// All others.
    pub unmovable: usize,
}

impl Services {
    /// Begins or ends a drain of this broker, and says how far it is. It is forgotten at a restart.
    pub async fn drain_broker(
        &self,
        context: &Context,
        request: v1::DrainBrokerRequest,
    ) -> Result<v1::DrainBrokerResponse, Error> {
        context.authorize("highwater.v1.ClusterService/DrainBroker", Resource::Cluster)?;
        if self.drained_broker(&request)? != self.me.broker {
            let message = format!("broker {} was asked to drain another", self.me.broker);
            return Err(Error::invalid(message));
        }
        let leaving = !request.cancel;
        if self.liveness.is_leaving() != leaving {
            tracing::info!(leaving, "leading is left to others, or is not any more");
            self.liveness.set_leaving(leaving, &self.peers).await;
            self.wake_partitions();
        }
        let Led { movable, unmovable } = self.led_here();
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let state = match leaving {
            true => v1::BrokerState::Draining,
            false => v1::BrokerState::Up,
        };
        Ok(v1::DrainBrokerResponse {
            cluster_id: self.me.cluster.to_string(),
            state: state.into(),
            leaderships: count(movable),
            unmovable: count(unmovable),
        })
    }

    /// The broker that a request to drain is about.
    pub fn drained_broker(&self, request: &v1::DrainBrokerRequest) -> Result<BrokerId, Error> {
        let state = self.known_state()?;
        let id = u32::try_from(request.broker).ok().map(BrokerId);
        let known = id.filter(|id| state.broker(*id).is_some());
        known.ok_or_else(|| {
            let ids: Vec<String> = state.brokers().map(|b| b.id.to_string()).collect();
            let (broker, ids) = (request.broker, ids.join(", "));
            Error::invalid(format!(
                "there is no broker {broker}; the brokers are {ids}"
            ))
        })
    }

    /// Has others take over what this broker leads, as far as there are others that can, and leads
    /// nothing any more that they could. True when nothing of that kind was left, and everything of it
    /// had a leader that is known here, within `limit`.
    pub async fn hand_over(&self, limit: Duration) -> bool {
        let mut changes = self.leaders.changes();
        let led = self.movable_here();
        self.liveness.set_leaving(true, &self.peers).await;
        // What waits here is sent to the new leaders: each must be known.
        let is_led = |group: &GroupId| {
            let leader = self.leaders.leader(*group);
            leader.is_some_and(|leader| leader.broker != self.me.broker)
        };
        let done = || self.led_here().movable == 0 && led.iter().all(is_led);
        let handed_over = async { while !done() && changes.changed().await.is_ok() {} };
        tokio::time::timeout(limit, handed_over).await.is_ok()
    }

    /// How much this broker leads.
    pub fn led_here(&self) -> Led {
        let partitions = self.partitions.all();
        let replicas = partitions.values().map(|partition| partition.replica());
        let mut led = Led::default();
        for replica in replicas.chain([self.metadata.replica()]).filter(is_leader) {
            match self.is_movable(&replica.members()) {
                true => led.movable += 1,
                false => led.unmovable += 1,
            }
        }
        led
    }

    /// The groups led here that another broker could lead.
    fn movable_here(&self) -> Vec<GroupId> {
        let partitions = self.partitions.all();
        let replicas = partitions.values().map(|partition| partition.replica());
        let led = replicas.chain([self.metadata.replica()]).filter(is_leader);
        let movable = led.filter(|replica| self.is_movable(&replica.members()));
        movable.map(Replica::group).collect()
    }

    /// Whether another broker could lead the group: one that votes, answers, and does not itself
    /// leave leading to others.
    pub fn is_movable(&self, members: &Members) -> bool {
        let could = |broker: BrokerId| broker != self.me.broker && self.liveness.is_up(broker);
        members.voter_brokers().any(could)
    }

    /// What waits at a partition until another broker leads looks again whether it must.
    pub fn wake_partitions(&self) {
        for partition in self.partitions.all().values() {
            partition.wake();
        }
    }
}

fn is_leader(replica: &&Replica) -> bool {
    replica.leadership_now().mine
}
