use std::collections::BTreeSet;

use highwater_proto::{ProducerEpoch, ProducerName};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::cluster::command::ProducerIncarnation;

fn any_command() -> impl Strategy<Value = Command> {
    let topic = (0_u8..6, "[ab]{1,2}", prop::collection::vec(0_u32..5, 0..4));
    prop_oneof![
        (0_u8..8, prop::option::of(0_u32..6)).prop_map(|(life, broker)| {
            let mut registration = join(life, 7000);
            registration.broker = broker.map(BrokerId);
            Command::RegisterBroker(registration)
        }),
        topic.prop_map(|(id, name, brokers)| create(&name, id, &[&brokers, &[1]])),
        (0_u8..6, any::<bool>()).prop_map(|(id, valid)| {
            let value = if valid { "1h" } else { "never" };
            alter(id, &[("retention.ms", value)], &["segment.ms"])
        }),
        (0_u8..6).prop_map(|id| Command::DeleteTopic {
            topic: topic_id(id)
        }),
        (0_u64..5).prop_map(|count| Command::AllocateProducerIds { count }),
        prop::collection::vec((1_u64..40).prop_map(ReplicaId), 0..5)
            .prop_map(|replicas| Command::ConfirmRemoved { replicas }),
        ("[ab]", prop::option::of(any_incarnation()), 0_u64..3).prop_map(
            |(name, held, attempt)| Command::InitNamedProducer {
                name: ProducerName::parse(&name).unwrap(),
                held,
                attempt,
            }
        ),
        (any_incarnation(), 0_u8..6, 0_u32..3).prop_map(|(producer, topic, partition)| {
            Command::RegisterProducer {
                producer,
                topic: topic_id(topic),
                partition: PartitionIndex(partition),
            }
        }),
    ]
}

fn any_incarnation() -> impl Strategy<Value = ProducerIncarnation> {
    let id = (0_u64..3).prop_map(|number| ProducerId((1 << 62) + number));
    (id, 0_u16..3).prop_map(|(id, epoch)| ProducerIncarnation {
        id,
        epoch: ProducerEpoch(epoch),
    })
}

/// Every replica id in use, with repetitions.
fn replica_ids(state: &ClusterState) -> Vec<ReplicaId> {
    let metadata = state.brokers().map(|broker| broker.metadata_replica);
    let partitions = state.topics().flat_map(|topic| topic.partitions.clone());
    let placed = partitions
        .flat_map(|partition| partition.replicas)
        .map(|replica| replica.id);
    metadata
        .chain(placed)
        .chain(state.removed.keys().copied())
        .collect()
}

proptest! {
    #[test]
    fn whatever_is_applied_snapshots_restore_and_replicas_agree(
        commands in prop::collection::vec(any_command(), 0..60), restart in 0_usize..60,
    ) {
        let mut one = three_brokers();
        let mut other = three_brokers();
        let mut highest = ReplicaId(3);
        for (number, command) in commands.into_iter().enumerate() {
            if number == restart {
                let bytes = other.snapshot().encode_to_vec();
                other = ClusterState::restore(&MetadataState::decode(&bytes[..]).unwrap()).unwrap();
            }
            let before = one.clone();
            let now = Timestamp(NOW.0 + number as i64 * 100_000_000);
            let reply = one.apply(&command.to_pb(), now).unwrap();
            prop_assert_eq!(&reply, &other.apply(&command.to_pb(), now).unwrap());
            if let Reply::Refused(_) = reply {
                prop_assert_eq!(&one, &before);
            }
            let ids = replica_ids(&one);
            let distinct: BTreeSet<_> = ids.iter().copied().collect();
            prop_assert_eq!(distinct.len(), ids.len());
            let known: BTreeSet<_> = replica_ids(&before).into_iter().collect();
            let fresh = distinct.difference(&known).min().copied();
            prop_assert!(fresh.is_none_or(|id| id > highest), "{:?} given out twice", fresh);
            highest = highest.max(distinct.last().copied().unwrap_or_default());
        }
        prop_assert_eq!(one.snapshot().encode_to_vec(), other.snapshot().encode_to_vec());
        prop_assert_eq!(one, other);
    }
}
