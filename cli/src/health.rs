//! Whether a cluster is healthy: every broker answers, every partition has a leader and every
//! replica is in sync, and the metadata is on as many brokers as it should be. Pure; the states come from the commands.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::output::{Row, count, table};
use crate::view::{BrokerRow, BrokerState, ClusterView, TopicView};

/// On how many brokers the metadata should be.
const METADATA_VOTERS: usize = 3;

/// The verdict, as `cluster health -o json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Health {
    pub(crate) status: Status,
    pub(crate) broker_count: usize,
    pub(crate) topic_count: usize,
    pub(crate) partition_count: usize,
    /// Brokers that leave leading to others, which is no problem.
    pub(crate) draining: Vec<u32>,
    pub(crate) problems: Vec<Problem>,
}

/// Healthy or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Healthy,
    Degraded,
}

/// One thing that is not as it should be, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) broker: Option<u32>,
    pub(crate) topic: Option<String>,
    pub(crate) partition: Option<u32>,
    pub(crate) problem: String,
}

impl Health {
    /// Judges the states of all brokers and topics.
    pub(crate) fn judge(
        cluster: &ClusterView,
        brokers: &[BrokerRow],
        topics: &[TopicView],
    ) -> Self {
        let mut problems = Vec::from_iter(metadata_problem(&cluster.metadata_voters, brokers));
        let drains = |broker: &&BrokerRow| broker.state == BrokerState::Draining;
        let draining = brokers.iter().filter(drains).map(|broker| broker.id);
        for broker in brokers
            .iter()
            .filter(|broker| broker.state == BrokerState::Down)
        {
            problems.push(Problem {
                broker: Some(broker.id),
                topic: None,
                partition: None,
                problem: format!("the broker at {} does not answer", broker.listen),
            });
        }
        problems.extend(brokers.iter().filter_map(clock_problem));
        for topic in topics {
            problems.extend(partition_problems(topic));
        }
        let healthy = problems.is_empty() && !brokers.is_empty();
        Self {
            status: if healthy {
                Status::Healthy
            } else {
                Status::Degraded
            },
            broker_count: brokers.len(),
            topic_count: topics.len(),
            partition_count: topics.iter().map(|topic| topic.partitions.len()).sum(),
            draining: draining.collect(),
            problems,
        }
    }

    /// The same verdict on a cluster that is only healthy if the brokers that listen on these addresses are
    /// all in it.
    pub(crate) fn with_all_of(mut self, members: &[String], brokers: &[BrokerRow]) -> Self {
        for member in members {
            if brokers.iter().all(|broker| broker.listen != *member) {
                self.status = Status::Degraded;
                self.problems.push(Problem {
                    broker: None,
                    topic: None,
                    partition: None,
                    problem: format!("the broker on {member} does not belong to this cluster"),
                });
            }
        }
        self
    }

    /// True when there is no problem.
    pub(crate) fn is_healthy(&self) -> bool {
        self.status == Status::Healthy
    }

    /// The verdict for people.
    pub(crate) fn text(&self) -> String {
        let verdict = if self.is_healthy() {
            "healthy"
        } else {
            "degraded"
        };
        let line = format!(
            "{verdict}: {}, {}, {}\n",
            count(self.broker_count, "broker"),
            count(self.topic_count, "topic"),
            count(self.partition_count, "partition")
        );
        let drained = |id: &u32| format!("broker {id} is drained and leaves leading to others\n");
        let line = line + &self.draining.iter().map(drained).collect::<String>();
        if self.problems.is_empty() {
            line
        } else {
            line + &table(&self.problems)
        }
    }
}

/// The metadata should be on three brokers, or on all if there are fewer: it grows by itself. A
/// broker of an earlier version does not say.
fn metadata_problem(voters: &[u32], brokers: &[BrokerRow]) -> Option<Problem> {
    let wanted = brokers.len().min(METADATA_VOTERS);
    if voters.is_empty() || voters.len() >= wanted {
        return None;
    }
    let on: Vec<String> = voters.iter().map(u32::to_string).collect();
    let on = on.join(" and ");
    Some(Problem {
        broker: None,
        topic: None,
        partition: None,
        problem: format!("the metadata is on broker {on} only, and not yet on {wanted}"),
    })
}

fn clock_problem(broker: &BrokerRow) -> Option<Problem> {
    let ahead = broker.clock_ahead_ms;
    let side = match ahead {
        0 => return None,
        1.. => "ahead of",
        _ => "behind",
    };
    let seconds = ahead.unsigned_abs() as f64 / 1000.0;
    Some(Problem {
        broker: Some(broker.id),
        topic: None,
        partition: None,
        problem: format!(
            "the clock of its machine is {seconds:.1} s {side} the time that the broker goes by"
        ),
    })
}

fn partition_problems(topic: &TopicView) -> Vec<Problem> {
    let mut problems = Vec::new();
    for partition in &topic.partitions {
        let problem = |broker, problem: &str| Problem {
            broker,
            topic: Some(topic.name.clone()),
            partition: Some(partition.partition),
            problem: problem.to_owned(),
        };
        for fault in &partition.faults {
            let what = format!("the replica is {}: {}", fault.kind, fault.message);
            problems.push(problem(fault.broker, &what));
        }
        if partition.leader.is_none() {
            problems.push(problem(None, "the partition has no leader"));
            continue;
        }
        let is_told = |replica: u32| {
            partition
                .faults
                .iter()
                .any(|fault| fault.broker == Some(replica))
        };
        let in_sync: BTreeSet<u32> = partition.in_sync.iter().copied().collect();
        let behind = partition
            .replicas
            .iter()
            .filter(|replica| !in_sync.contains(replica) && !is_told(**replica));
        problems
            .extend(behind.map(|replica| problem(Some(*replica), "the replica is not in sync")));
    }
    problems
}

impl Row for Problem {
    const COLUMNS: &'static [&'static str] = &["BROKER", "TOPIC", "PARTITION", "PROBLEM"];

    fn cells(&self) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            or_dash(self.broker.map(|id| id.to_string())),
            or_dash(self.topic.clone()),
            or_dash(self.partition.map(|number| number.to_string())),
            self.problem.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{FaultView, PartitionView};

    fn broker(id: u32, state: BrokerState) -> BrokerRow {
        let address = |port: u32| format!("127.0.0.1:{}", port + id);
        BrokerRow {
            id,
            listen: address(7000),
            peer: address(8000),
            http: address(9000),
            rack: String::new(),
            state,
            clock_ahead_ms: 0,
        }
    }

    fn topic(leader: Option<u32>, in_sync: &[u32]) -> TopicView {
        let partition = PartitionView {
            partition: 0,
            leader,
            leader_epoch: 1,
            replicas: vec![1, 2, 3],
            in_sync: in_sync.to_vec(),
            log_start_offset: Some(0),
            high_watermark: Some(10),
            disk_bytes: Some(0),
            faults: vec![],
        };
        TopicView {
            name: "t".to_owned(),
            id: "id".to_owned(),
            config: std::collections::BTreeMap::new(),
            partitions: vec![partition],
        }
    }

    fn cluster(metadata_voters: &[u32]) -> ClusterView {
        ClusterView {
            cluster_id: "c".to_owned(),
            broker: Some(1),
            controller: Some(1),
            broker_count: 3,
            topic_count: 1,
            partition_count: 1,
            version: "1".to_owned(),
            metadata_voters: metadata_voters.to_vec(),
        }
    }

    fn judge(brokers: &[BrokerRow], topics: &[TopicView]) -> Health {
        Health::judge(&cluster(&[1, 2, 3]), brokers, topics)
    }

    #[test]
    fn metadata_on_two_of_three_brokers_degrades_and_a_drained_broker_does_not() {
        let mut brokers = brokers();
        brokers[2].state = BrokerState::Draining;
        let health = judge(&brokers, &[]);
        assert!(health.is_healthy());
        assert!(health.text().contains("broker 3 is drained"), "{health:?}");
        let health = Health::judge(&cluster(&[1, 3]), &brokers, &[]);
        assert!(!health.is_healthy());
        assert!(health.problems[0].problem.contains("broker 1 and 3 only"));
    }

    fn brokers() -> Vec<BrokerRow> {
        (1..=3).map(|id| broker(id, BrokerState::Up)).collect()
    }

    #[test]
    fn a_cluster_with_everything_in_place_is_healthy() {
        let health = judge(&brokers(), &[topic(Some(2), &[3, 2, 1])]);
        assert!(health.is_healthy());
        assert_eq!(health.text(), "healthy: 3 brokers, 1 topic, 1 partition\n");
        let json = serde_json::to_string(&health).unwrap();
        let expected = r#"{"status":"healthy","broker_count":3,"topic_count":1,"partition_count":1,"draining":[],"problems":[]}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn a_broker_that_does_not_answer_degrades() {
        let mut brokers = brokers();
        brokers[1].state = BrokerState::Down;
        let health = judge(&brokers, &[]);
        assert!(!health.is_healthy());
        assert_eq!(health.problems[0].broker, Some(2));
        assert!(health.text().starts_with("degraded: "), "{}", health.text());
    }

    #[test]
    fn a_clock_that_is_not_followed_degrades_and_says_by_how_much() {
        for (ahead, told) in [(86_400_049, "86400.0 s ahead of"), (-1_500, "1.5 s behind")] {
            let mut brokers = brokers();
            brokers[2].clock_ahead_ms = ahead;
            let health = judge(&brokers, &[]);
            assert!(!health.is_healthy());
            assert_eq!(health.problems.len(), 1);
            assert_eq!(health.problems[0].broker, Some(3));
            let problem = &health.problems[0].problem;
            assert!(problem.contains(told), "{problem}");
        }
    }

    #[test]
    fn a_partition_without_leader_or_with_a_replica_behind_degrades() {
        let health = judge(&brokers(), &[topic(None, &[])]);
        assert_eq!(health.problems.len(), 1);
        assert_eq!(health.problems[0].problem, "the partition has no leader");
        let health = judge(&brokers(), &[topic(Some(1), &[1, 3])]);
        assert_eq!(health.problems.len(), 1);
        let problem = &health.problems[0];
        assert_eq!((problem.broker, problem.partition), (Some(2), Some(0)));
    }

    #[test]
    fn a_replica_that_is_out_of_its_group_degrades_and_says_why() {
        let mut topic = topic(Some(1), &[1, 3]);
        topic.partitions[0].faults.push(FaultView {
            broker: Some(2),
            kind: "damaged".to_owned(),
            message: "00000001.seg is damaged".to_owned(),
        });
        let health = judge(&brokers(), &[topic]);
        assert!(!health.is_healthy());
        assert_eq!(health.problems.len(), 1, "once: {:?}", health.problems);
        assert_eq!(health.problems[0].broker, Some(2));
        let told = "the replica is damaged: 00000001.seg is damaged";
        assert_eq!(health.problems[0].problem, told);
    }

    #[test]
    fn a_broker_of_another_cluster_is_missing() {
        let brokers = brokers();
        let mut members: Vec<String> = brokers.iter().map(|broker| broker.listen.clone()).collect();
        let health = judge(&brokers, &[]);
        assert!(health.clone().with_all_of(&members, &brokers).is_healthy());
        members.push("127.0.0.1:1".to_owned());
        let health = health.with_all_of(&members, &brokers);
        assert!(!health.is_healthy());
        assert!(
            health.text().contains("the broker on 127.0.0.1:1 "),
            "{}",
            health.text()
        );
    }

    #[test]
    fn nobody_is_not_healthy() {
        assert!(!judge(&[], &[]).is_healthy());
    }
}
