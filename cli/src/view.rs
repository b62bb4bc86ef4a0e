//! Topics and brokers as the commands print them. The names of the fields are JSON keys, a
//! contract of `docs/cli.md`.

use std::collections::BTreeMap;

use highwater_client::BrokerId;
use highwater_client::topic::{
    Broker, Cluster, Drain, PartitionDescription, ReplicaFault, Topic, TopicDescription,
};
use serde::Serialize;

use crate::output::{Row, count, table};

/// A topic in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TopicRow {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) partition_count: u32,
    pub(crate) replication_factor: u32,
}

/// A topic in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TopicView {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) partitions: Vec<PartitionView>,
}

/// The state of a partition; broker ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PartitionView {
    pub(crate) partition: u32,
    pub(crate) leader: Option<u32>,
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<u32>,
    pub(crate) in_sync: Vec<u32>,
    /// These three are known only while there is a leader that says them.
    pub(crate) log_start_offset: Option<u64>,
    pub(crate) high_watermark: Option<u64>,
    pub(crate) disk_bytes: Option<u64>,
    /// Left out while there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) faults: Vec<FaultView>,
}

/// A replica that is out of its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FaultView {
    pub(crate) broker: Option<u32>,
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// A broker in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BrokerRow {
    pub(crate) id: u32,
    pub(crate) listen: String,
    pub(crate) peer: String,
    pub(crate) http: String,
    pub(crate) rack: String,
    pub(crate) state: BrokerState,
    /// By how much its machine's clock is ahead of the time that it goes by. A matter of health.
    #[serde(skip)]
    pub(crate) clock_ahead_ms: i64,
}

/// Whether a broker answers the one that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BrokerState {
    Up,
    Down,
    Draining,
    Unknown,
}

/// The cluster at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ClusterView {
    pub(crate) cluster_id: String,
    pub(crate) broker: Option<u32>,
    pub(crate) controller: Option<u32>,
    pub(crate) broker_count: u32,
    pub(crate) topic_count: u32,
    pub(crate) partition_count: u32,
    pub(crate) version: String,
    pub(crate) metadata_voters: Vec<u32>,
}

/// How far a broker is with handing over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DrainView {
    pub(crate) broker: u32,
    pub(crate) state: BrokerState,
    pub(crate) leaderships: u32,
    pub(crate) unmovable: u32,
}

impl DrainView {
    /// What is said when a drain has ended before everything was handed over.
    pub(crate) const ENDED: &str = "the drain has ended: it was cancelled, or the broker restarted; \
         drain it again if it is still to lead nothing";

    pub(crate) fn new(broker: BrokerId, drain: Drain) -> Self {
        Self {
            broker: broker.0,
            state: match drain.draining {
                true => BrokerState::Draining,
                false => BrokerState::Up,
            },
            leaderships: drain.leaderships,
            unmovable: drain.unmovable,
        }
    }

    /// How far it is, for people.
    pub(crate) fn text(&self) -> String {
        let broker = self.broker;
        let mut text = match (self.state, self.leaderships) {
            (BrokerState::Draining, 0) => format!("broker {broker} is drained\n"),
            (BrokerState::Draining, left) => {
                let left = count(left, "partition");
                format!("broker {broker} still leads {left} that others can take over\n")
            }
            _ => format!("broker {broker} may lead\n"),
        };
        if self.state == BrokerState::Draining && self.unmovable > 0 {
            let stay = count(self.unmovable, "partition");
            text += &format!(
                "it goes on leading {stay} that no other broker could lead now (the metadata counts as one)\n"
            );
        }
        text
    }
}

impl From<Topic> for TopicRow {
    fn from(topic: Topic) -> Self {
        Self {
            name: topic.name,
            id: topic.id,
            partition_count: topic.partition_count,
            replication_factor: topic.replication_factor,
        }
    }
}

impl From<TopicDescription> for TopicView {
    fn from(description: TopicDescription) -> Self {
        Self {
            name: description.topic.name,
            id: description.topic.id,
            config: description.config,
            partitions: description.partitions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<PartitionDescription> for PartitionView {
    fn from(partition: PartitionDescription) -> Self {
        let ids = |brokers: Vec<BrokerId>| brokers.into_iter().map(|id| id.0).collect();
        Self {
            partition: partition.partition.0,
            leader: partition.leader.map(|id| id.0),
            leader_epoch: partition.leader_epoch,
            replicas: ids(partition.replicas),
            in_sync: ids(partition.in_sync),
            log_start_offset: known(partition.leader, partition.log_start_offset.0),
            high_watermark: known(partition.leader, partition.high_watermark.0),
            disk_bytes: known(partition.leader, partition.disk_bytes),
            faults: partition.faults.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<ReplicaFault> for FaultView {
    fn from(fault: ReplicaFault) -> Self {
        Self {
            broker: fault.broker.map(|id| id.0),
            kind: fault.kind,
            message: fault.message,
        }
    }
}

impl From<Broker> for BrokerRow {
    fn from(broker: Broker) -> Self {
        Self {
            id: broker.id.0,
            listen: broker.listen,
            peer: broker.peer,
            http: broker.http,
            rack: broker.rack,
            state: match broker.up {
                Some(_) if broker.draining => BrokerState::Draining,
                Some(true) => BrokerState::Up,
                Some(false) => BrokerState::Down,
                None => BrokerState::Unknown,
            },
            clock_ahead_ms: broker.clock_ahead_ms,
        }
    }
}

impl From<Cluster> for ClusterView {
    fn from(cluster: Cluster) -> Self {
        Self {
            cluster_id: cluster.id,
            broker: cluster.broker.map(|id| id.0),
            controller: cluster.controller.map(|id| id.0),
            broker_count: cluster.broker_count,
            topic_count: cluster.topic_count,
            partition_count: cluster.partition_count,
            version: cluster.version,
            metadata_voters: cluster.metadata_voters.iter().map(|id| id.0).collect(),
        }
    }
}

impl Row for TopicRow {
    const COLUMNS: &'static [&'static str] = &["NAME", "PARTITIONS", "REPLICAS", "ID"];

    fn cells(&self) -> Vec<String> {
        let counts = [self.partition_count, self.replication_factor].map(|n| n.to_string());
        let [partitions, replicas] = counts;
        vec![self.name.clone(), partitions, replicas, self.id.clone()]
    }
}

impl Row for PartitionView {
    const COLUMNS: &'static [&'static str] = &[
        "PARTITION",
        "LEADER",
        "EPOCH",
        "REPLICAS",
        "IN-SYNC",
        "START",
        "HIGH-WATERMARK",
        "DISK",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.partition.to_string(),
            optional(self.leader),
            self.leader_epoch.to_string(),
            ids(&self.replicas),
            ids(&self.in_sync),
            optional(self.log_start_offset),
            optional(self.high_watermark),
            optional(self.disk_bytes.map(mebibytes)),
        ]
    }
}

impl Row for BrokerRow {
    const COLUMNS: &'static [&'static str] = &["ID", "STATE", "LISTEN", "PEER", "HTTP", "RACK"];

    fn cells(&self) -> Vec<String> {
        let state = match self.state {
            BrokerState::Up => "up",
            BrokerState::Down => "down",
            BrokerState::Draining => "draining",
            BrokerState::Unknown => "unknown",
        };
        vec![
            self.id.to_string(),
            state.to_owned(),
            self.listen.clone(),
            self.peer.clone(),
            self.http.clone(),
            self.rack.clone(),
        ]
    }
}

impl TopicView {
    /// The topic for people.
    pub(crate) fn text(&self) -> String {
        let settings: Vec<String> = self
            .config
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let head = format!("topic   {}\nid      {}\n", self.name, self.id);
        let config = format!("config  {}\n\n", settings.join(" "));
        let faults = self.partitions.iter().flat_map(PartitionView::fault_lines);
        head + &config + &table(&self.partitions) + &faults.collect::<String>()
    }
}

impl PartitionView {
    /// A line for each replica that is out of the group.
    fn fault_lines(&self) -> impl Iterator<Item = String> {
        self.faults.iter().map(|fault| {
            let (broker, kind) = (optional(fault.broker), &fault.kind);
            let partition = self.partition;
            let message = &fault.message;
            format!("partition {partition} on broker {broker} is {kind}: {message}\n")
        })
    }
}

impl ClusterView {
    /// The cluster for people.
    pub(crate) fn text(&self) -> String {
        format!(
            "cluster     {}\nbrokers     {}\ncontroller  {}\ntopics      {}\npartitions  {}\n\
             metadata    on brokers {}\nanswered    broker {}, version {}\n",
            self.cluster_id,
            self.broker_count,
            optional(self.controller),
            self.topic_count,
            self.partition_count,
            ids(&self.metadata_voters),
            optional(self.broker),
            self.version,
        )
    }
}

/// What a leader says; without one it is not known, and not zero.
fn known(leader: Option<BrokerId>, value: u64) -> Option<u64> {
    leader.map(|_| value)
}

/// A dash for what is not known.
fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn ids(ids: &[u32]) -> String {
    let texts: Vec<String> = ids.iter().map(u32::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests;
