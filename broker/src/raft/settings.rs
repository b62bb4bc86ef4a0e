//! How openraft is set up. Three of these settings protect acknowledged data; the test below holds
//! them.

use std::sync::Arc;

use openraft::{Config, SnapshotPolicy};

use super::GroupId;

/// The settings of a group, in milliseconds where they are times.
pub(crate) fn settings(group: GroupId) -> Arc<Config> {
    // A group's own timers are only the backstop of failure detection per broker pair: unlike pings
    // they wait for processors that are busy. The heartbeats of a partition are sent by
    // `super::heartbeats`; the interval here is how long one may take, and about a fifth of it how
    // often a follower looks at its timer.
    let (heartbeat, election_min, election_max) = match group {
        GroupId::Metadata => (500, 2_000, 3_000),
        GroupId::Partition(..) => (5_000, 8_000, 12_000),
    };
    // A leader that no majority answers must not keep its followers from electing another. One of a
    // partition sends no heartbeats while it cannot reach a majority, and must send some as soon as
    // it can: with this silence it would take no entries for the rest of it.
    let silence_without_quorum = match group {
        GroupId::Metadata => Some(election_max * 2),
        GroupId::Partition(..) => None,
    };
    Arc::new(Config {
        cluster_name: group.to_string(),
        heartbeat_interval: heartbeat,
        election_timeout_min: election_min,
        election_timeout_max: election_max,
        heartbeat_min_interval: Some(0),
        // A leader that lost its unsynced tail would come back in the same term and reuse indexes
        // that a quorum has acknowledged.
        enable_leader_restore: Some(false),
        enable_pre_vote: Some(true),
        quorum_loss_probe_interval: silence_without_quorum,
        allow_log_reversion: Some(false),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        max_payload_entries: 1024,
        api_channel_size: Some(2048),
        notification_channel_size: Some(4096),
        state_machine_channel_size: Some(1024),
        // Reserved for each group and used only by a feature that is not compiled in.
        log_stage_capacity: Some(1),
        // Without an end it would go on to a second, and a follower that is back waits for it.
        backoff: "20ms 50ms 100ms 200ms ...400ms".to_owned(),
        ..Config::default()
    })
}

#[cfg(test)]
mod tests {
    use highwater_proto::{PartitionIndex, TopicId};

    use super::*;
    use crate::raft::suspicion::SuspicionConfig;

    #[test]
    fn the_settings_that_protect_acknowledged_data_hold_for_every_group() {
        let partition = GroupId::Partition(TopicId::from_bytes([1; 16]), PartitionIndex(0));
        for group in [GroupId::Metadata, partition] {
            let config = (*settings(group)).clone().validate().unwrap();
            assert_eq!(config.enable_leader_restore, Some(false));
            assert_eq!(config.enable_pre_vote, Some(true));
            assert_eq!(config.allow_log_reversion, Some(false));
            assert_eq!(config.snapshot_policy, SnapshotPolicy::Never);
            assert_eq!(config.max_in_snapshot_log_to_keep, u64::MAX);
        }
    }

    #[test]
    fn no_timer_of_a_group_acts_before_pings_do() {
        let judged = SuspicionConfig::default();
        let judged = judged.suspect_after + judged.ping_interval;
        let partition = GroupId::Partition(TopicId::from_bytes([1; 16]), PartitionIndex(0));
        for group in [GroupId::Metadata, partition] {
            let config = settings(group);
            let busy = config.election_timeout_min - config.heartbeat_interval;
            assert!(
                u128::from(busy) >= 2 * judged.as_millis(),
                "{group}: {busy} ms"
            );
        }
    }

    #[test]
    fn a_leader_of_a_partition_may_always_ask_whether_it_still_leads() {
        let partition = GroupId::Partition(TopicId::from_bytes([1; 16]), PartitionIndex(0));
        assert_eq!(settings(partition).quorum_loss_probe_interval, None);
        let metadata = settings(GroupId::Metadata);
        let silence = metadata.quorum_loss_probe_interval.unwrap();
        assert!(silence >= 2 * metadata.election_timeout_max);
    }
}
