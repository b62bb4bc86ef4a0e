//! What the client knows of the cluster. Pure: answers and hints go in, routes come out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use highwater_proto::batch::{DEFAULT_MAX_BATCH_BYTES, MAX_BATCH_BYTES};
use highwater_proto::pb::v1;
use highwater_proto::{BrokerId, PartitionIndex, Reason};

use crate::channels::Address;
use crate::error::{Error, NotLeader, Result};

/// Brokers, topics and leaders, as far as they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    cluster_id: Option<String>,
    brokers: BTreeMap<BrokerId, Reachable>,
    topics: HashMap<String, TopicRoutes>,
}

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reachable {
    address: Address,
    /// Empty when it said none.
    rack: String,
}

/// A topic's identity, limits and leaders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicRoutes {
    pub(crate) id: String,
    /// 0 if the broker did not say.
    max_batch_bytes: usize,
    partitions: Vec<Route>,
}

/// Who leads a partition, as of an epoch, and who has a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Route {
    leader: Option<BrokerId>,
    epoch: i32,
    replicas: Vec<BrokerId>,
}

impl TopicRoutes {
    /// How many partitions the topic has.
    pub(crate) fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// The largest batch that the topic takes, in bytes.
    pub(crate) fn largest_batch(&self) -> usize {
        match self.max_batch_bytes {
            0 => DEFAULT_MAX_BATCH_BYTES,
            bytes => bytes.min(MAX_BATCH_BYTES),
        }
    }

    fn from_answer(topic: &v1::TopicMetadata) -> Self {
        let mut partitions = Vec::new();
        for partition in &topic.partitions {
            // Numbers are dense; one that is not belongs to an answer nobody can route by.
            if usize::try_from(partition.partition) == Ok(partitions.len()) {
                partitions.push(Route {
                    leader: broker_id(partition.leader),
                    epoch: partition.leader_epoch,
                    replicas: partition
                        .replicas
                        .iter()
                        .filter_map(|b| broker_id(*b))
                        .collect(),
                });
            }
        }
        Self {
            id: topic.id.clone(),
            max_batch_bytes: usize::try_from(topic.max_batch_bytes).unwrap_or(0),
            partitions,
        }
    }

    /// Keeps what is newer in `known`: an answer of a broker that lags must not undo a hint.
    fn keep_newer(&mut self, known: &Self) {
        if self.id != known.id {
            return;
        }
        for (route, old) in self.partitions.iter_mut().zip(&known.partitions) {
            let same_epoch_without_leader = old.epoch == route.epoch && route.leader.is_none();
            if old.epoch > route.epoch || same_epoch_without_leader {
                (route.leader, route.epoch) = (old.leader, old.epoch);
            }
        }
    }
}

impl Topology {
    /// Takes the brokers of an answer, unless it comes from another cluster.
    pub(crate) fn learn_brokers(&mut self, cluster: &str, brokers: &[v1::Broker]) -> Result<()> {
        match &self.cluster_id {
            Some(known) if known != cluster => {
                let message = format!("the broker belongs to cluster {cluster}, not {known}");
                return Err(Error::new(Reason::WrongCluster, message));
            }
            Some(_) => {}
            None => self.cluster_id = Some(cluster.to_owned()),
        }
        if !brokers.is_empty() {
            let reachable = |broker: &v1::Broker| Reachable {
                address: Arc::from(broker.listen.as_str()),
                rack: broker.rack.clone(),
            };
            self.brokers = brokers
                .iter()
                .filter_map(|b| Some((broker_id(b.id)?, reachable(b))))
                .collect();
        }
        Ok(())
    }

    /// Takes the brokers and topics of an answer.
    pub(crate) fn learn(&mut self, answer: &v1::Metadata) -> Result<()> {
        self.learn_brokers(&answer.cluster_id, &answer.brokers)?;
        for topic in &answer.topics {
            let mut routes = TopicRoutes::from_answer(topic);
            if let Some(known) = self.topics.get(&topic.name) {
                routes.keep_newer(known);
            }
            self.topics.insert(topic.name.clone(), routes);
        }
        Ok(())
    }

    /// Takes the leader that an error named, unless a later one is known. True if it helps.
    ///
    /// The hint is about the topic that the caller asked for, the one with `topic_id`. It may be old,
    /// and the name may stand for another topic since: that one has epochs of its own, which begin
    /// low, and would never get past those of a hint for another.
    pub(crate) fn hint(&mut self, hint: &NotLeader, topic_id: &str) -> bool {
        let Some(leader) = broker_id(hint.leader) else {
            return false;
        };
        if hint.leader_listen.is_empty() && !self.brokers.contains_key(&leader) {
            return false;
        }
        let index = usize::try_from(hint.partition).unwrap_or(usize::MAX);
        let routes = self.topics.get_mut(&hint.topic);
        let routes = routes.filter(|routes| routes.id == topic_id);
        let Some(route) = routes.and_then(|topic| topic.partitions.get_mut(index)) else {
            return false;
        };
        if hint.leader_epoch < route.epoch {
            return false;
        }
        (route.leader, route.epoch) = (Some(leader), hint.leader_epoch);
        if !hint.leader_listen.is_empty() {
            let known = self.brokers.remove(&leader);
            let reachable = Reachable {
                address: Arc::from(hint.leader_listen.as_str()),
                rack: known.map_or_else(String::new, |known| known.rack),
            };
            self.brokers.insert(leader, reachable);
        }
        true
    }

    /// Forgets a topic, so that the next question asks the cluster.
    pub(crate) fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// What is known of a topic.
    pub(crate) fn topic(&self, name: &str) -> Option<&TopicRoutes> {
        self.topics.get(name)
    }

    /// The address of a partition's leader, if one is known.
    pub(crate) fn leader(&self, topic: &str, partition: PartitionIndex) -> Option<Address> {
        let route = self
            .topics
            .get(topic)?
            .partitions
            .get(partition.0 as usize)?;
        let leader = self.brokers.get(&route.leader?)?;
        Some(Arc::clone(&leader.address))
    }

    /// The addresses of a partition's replicas, nearest first: those in `rack` before others (an
    /// empty one is nowhere), and among equals the leader last, which has enough to do. `salt`
    /// spreads clients over replicas that are equally near.
    pub(crate) fn nearest(
        &self,
        topic: &str,
        partition: PartitionIndex,
        (rack, salt): (&str, usize),
    ) -> Vec<Address> {
        let routes = self.topics.get(topic);
        let route = routes.and_then(|routes| routes.partitions.get(partition.0 as usize));
        let Some(route) = route else {
            return Vec::new();
        };
        let replicas = route.replicas.iter().enumerate();
        let mut found: Vec<_> = replicas
            .filter_map(|(place, id)| {
                let broker = self.brokers.get(id)?;
                let far = rack.is_empty() || broker.rack != rack;
                let leads = route.leader == Some(*id);
                let turn = (place + salt) % route.replicas.len();
                Some(((far, leads, turn), &broker.address))
            })
            .collect();
        found.sort_unstable_by_key(|(order, _)| *order);
        let addresses = found.into_iter().map(|(_, address)| Arc::clone(address));
        addresses.collect()
    }

    /// Every broker learned so far.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.brokers.values().map(|broker| &broker.address)
    }
}

/// The broker a wire number names; 0 stands for none.
pub(crate) fn broker_id(number: i32) -> Option<BrokerId> {
    u32::try_from(number)
        .ok()
        .filter(|id| *id > 0)
        .map(BrokerId)
}

#[cfg(test)]
mod tests;
