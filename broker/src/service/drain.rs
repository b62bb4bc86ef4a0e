//! Handing over what this broker leads: for a stop, or to keep it from leading for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_proto::pb::v1;
use highwater_proto::{BrokerId, Reason, ReplicaId};

use super::{Context, Error, Resource, Services};
use crate::clock::monotonic;
use crate::raft::{GroupId, Replica};

/// A replica that acknowledged nothing that its leader sent in this time is not there: heartbeats are
/// sent more often than twice in it.
const THERE: Duration = Duration::from_secs(5);

/// What this broker leads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Led {
    /// Groups that another broker could lead: a majority of the voters is there to elect it.
    pub movable: usize,
    /// All others.
    pub unmovable: usize,
}

impl Services {
    /// Begins or ends a drain of this broker, and says how far it is. It is forgotten at a restart:
    /// a broker that is stopping does not begin to lead again before.
    pub async fn drain_broker(
        &self,
        context: &Context,
        request: v1::DrainBrokerRequest,
    ) -> Result<v1::DrainBrokerResponse, Error> {
        context.authorize("highwater.v1.ClusterService/DrainBroker", Resource::Cluster)?;
        self.is_about_this_broker(request.broker)?;
        if request.cancel && self.liveness.is_stopping() {
            let message = format!(
                "broker {} is stopping; a drain ends with its restart",
                self.me.broker
            );
            return Err(Error::new(Reason::NotReady, message));
        }
        if self.set_drained(!request.cancel) {
            self.liveness.tell(&self.peers).await;
        }
        let now = self.drain_now();
        Ok(v1::DrainBrokerResponse {
            cluster_id: now.cluster_id,
            state: now.state,
            leaderships: now.leaderships,
            unmovable: now.unmovable,
        })
    }

    /// How far a drain of this broker is.
    pub fn get_drain(
        &self,
        context: &Context,
        request: &v1::GetDrainRequest,
    ) -> Result<v1::GetDrainResponse, Error> {
        context.authorize("highwater.v1.ClusterService/GetDrain", Resource::Cluster)?;
        self.is_about_this_broker(request.broker)?;
        Ok(self.drain_now())
    }

    /// Begins or ends a drain; true if that is news to the peers. At once and as a whole, since the
    /// caller may go away at any await: what was held back goes on.
    fn set_drained(&self, drained: bool) -> bool {
        let changed = self.liveness.set_drained(drained);
        if changed {
            tracing::info!(drained, "leading is left to others, or is not any more");
            self.holding.restart();
            self.wake_partitions();
        }
        changed
    }

    fn drain_now(&self) -> v1::GetDrainResponse {
        let Led { movable, unmovable } = self.led_here();
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let state = match self.liveness.is_leaving() {
            true => v1::BrokerState::Draining,
            false => v1::BrokerState::Up,
        };
        v1::GetDrainResponse {
            cluster_id: self.me.cluster.to_string(),
            state: state.into(),
            leaderships: count(movable),
            unmovable: count(unmovable),
        }
    }

    fn is_about_this_broker(&self, broker: i32) -> Result<(), Error> {
        if self.drained_broker(broker)? == self.me.broker {
            return Ok(());
        }
        let message = format!("broker {} was asked about another's drain", self.me.broker);
        Err(Error::invalid(message))
    }

    /// The broker that a request about a drain names.
    pub fn drained_broker(&self, broker: i32) -> Result<BrokerId, Error> {
        let state = self.known_state()?;
        let id = u32::try_from(broker).ok().map(BrokerId);
        let known = id.filter(|id| state.broker(*id).is_some());
        known.ok_or_else(|| {
            let ids: Vec<String> = state.brokers().map(|b| b.id.to_string()).collect();
            let ids = ids.join(", ");
            Error::invalid(format!(
                "there is no broker {broker}; the brokers are {ids}"
            ))
        })
    }

    /// Has others take over what this broker leads, as far as there are others that can, and leads
    /// nothing any more that they could. True when nothing of that kind was left, and everything of it
    /// had a leader that is known here, within `limit`. There is no way back.
    pub async fn hand_over(&self, limit: Duration) -> bool {
        let mut changes = self.leaders.changes();
        let led = self.movable_here();
        self.holding.restart();
        self.liveness.set_stopping();
        self.liveness.tell(&self.peers).await;
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
            match self.is_movable(replica) {
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
        let movable = led.filter(|replica| self.is_movable(replica));
        movable.map(Replica::group).collect()
    }

    /// Whether another broker could lead the group: one that votes, is there as far as this replica
    /// knows, and does not itself leave leading to others. A majority must be there to elect it, this
    /// replica included.
    pub fn is_movable(&self, replica: &Replica) -> bool {
        let members = replica.members();
        let acknowledged = replica.acknowledged_since(THERE);
        let is_there = |id| acknowledged.as_ref().is_none_or(|those| those.contains(id));
        let others = members
            .brokers
            .iter()
            .filter(|(id, _)| **id != replica.id() && members.is_voter(**id) && is_there(*id));
        let others: BTreeMap<ReplicaId, BrokerId> = others.map(|(id, on)| (*id, *on)).collect();
        let votes = |id: &ReplicaId| {
            let other = others.get(id);
            *id == replica.id() || other.is_some_and(|on| self.liveness.answers(*on))
        };
        members.have_majorities(votes) && others.values().any(|on| self.liveness.is_up(*on))
    }

    /// Whether what comes to this replica waits for another leader.
    pub fn is_held_back(&self, replica: &Replica) -> bool {
        self.liveness.is_leaving()
            && self.is_movable(replica)
            && self.holding.holds(replica.group(), monotonic())
    }

    /// Whether this broker leaves leading the group to others as far as it can now. Not for a while after
    /// they did not take it over: an election that fails holds up what this replica serves again.
    pub fn yields(&self, replica: &Replica) -> bool {
        let leads = replica.leadership_now().mine;
        self.liveness.is_leaving()
            && (!leads || !self.is_movable(replica) || self.is_held_back(replica))
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
