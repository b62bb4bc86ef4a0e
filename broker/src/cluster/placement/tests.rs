use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn brokers(racks: &[&str]) -> Vec<Candidate> {
    (1..)
        .zip(racks)
        .map(|(id, rack)| Candidate::empty(BrokerId(id), rack))
        .collect()
}

/// What each broker would have after `placed`.
fn after(brokers: &[Candidate], placed: &[Vec<BrokerId>]) -> Vec<Candidate> {
    let mut after = brokers.to_vec();
    for candidate in &mut after {
        for partition in placed {
            candidate.replicas += u32::from(partition.contains(&candidate.broker));
            candidate.leaders += u32::from(partition[0] == candidate.broker);
        }
    }
    after
}

fn spread(counts: impl Iterator<Item = u32> + Clone) -> u32 {
    counts.clone().max().unwrap_or(0) - counts.min().unwrap_or(0)
}

#[test]
fn more_replicas_than_brokers_and_none_at_all_are_refused() {
    for (count, replication) in [(3, 4), (3, 0), (0, 1), (0, 0)] {
        let candidates = brokers(&vec![""; count]);
        let error = place(&candidates, 1, replication, 7).unwrap_err();
        let expected = PlacementError::InvalidReplication {
            replication,
            brokers: count,
        };
        assert_eq!(error, expected);
        assert_eq!(Refusal::from(error).reason, Reason::InvalidReplication);
    }
}

#[test]
fn six_partitions_on_three_brokers_give_each_two_leaders_and_all_replicas() {
    let candidates = brokers(&["", "", ""]);
    let placed = place(&candidates, 6, 3, 1).unwrap();
    for candidate in after(&candidates, &placed) {
        assert_eq!((candidate.replicas, candidate.leaders), (6, 2));
    }
}

#[test]
fn a_new_broker_gets_the_replicas_of_the_next_topics() {
    let mut candidates = brokers(&["", "", ""]);
    for old in &mut candidates[..2] {
        (old.replicas, old.leaders) = (10, 5);
    }
    let placed = place(&candidates, 5, 1, 3).unwrap();
    assert!(placed.iter().all(|replicas| replicas == &[BrokerId(3)]));
}

#[test]
fn replicas_lie_in_different_racks_even_when_one_rack_is_small() {
    let candidates = brokers(&["a", "b", "b", "b", "b"]);
    for partition in place(&candidates, 20, 2, 9).unwrap() {
        assert!(partition.contains(&BrokerId(1)), "{partition:?}");
    }
}

#[test]
fn with_fewer_racks_than_replicas_the_racks_share_them_evenly() {
    let candidates = brokers(&["a", "a", "a", "b", "b", "b"]);
    for partition in place(&candidates, 30, 4, 5).unwrap() {
        let in_a = partition.iter().filter(|broker| broker.0 <= 3).count();
        assert_eq!(in_a, 2, "{partition:?}");
    }
}

#[test]
fn the_seed_moves_the_beginning() {
    let candidates = brokers(&[""; 5]);
    let firsts = |seed| place(&candidates, 1, 1, seed).unwrap()[0][0];
    let seen: BTreeSet<_> = (0..100).map(firsts).collect();
    assert_eq!(seen.len(), 5);
}

proptest! {
    #[test]
    fn placements_are_valid_repeatable_and_balanced_on_an_empty_cluster(
        count in 1_usize..9, partitions in 0_usize..80, replication in 1_usize..6, seed: u64,
    ) {
        let replication = replication.min(count);
        let candidates = brokers(&vec![""; count]);
        let placed = place(&candidates, partitions, replication, seed).unwrap();
        prop_assert_eq!(placed.len(), partitions);
        for partition in &placed {
            let distinct: BTreeSet<_> = partition.iter().collect();
            prop_assert_eq!(distinct.len(), replication);
        }
        let load = after(&candidates, &placed);
        prop_assert!(spread(load.iter().map(|c| c.leaders)) <= 1);
        prop_assert!(spread(load.iter().map(|c| c.replicas)) <= 1);
        prop_assert_eq!(placed, place(&candidates, partitions, replication, seed).unwrap());
    }

    #[test]
    fn no_rack_holds_more_of_a_partition_than_it_must(
        racks in prop::collection::vec(0_usize..4, 1..9), replication in 1_usize..6, seed: u64,
    ) {
        let replication = replication.min(racks.len());
        let names: Vec<_> = racks.iter().map(|rack| ["a", "b", "c", "d"][*rack]).collect();
        let candidates = brokers(&names);
        let sizes = |rack: &str| names.iter().filter(|name| **name == rack).count();
        for partition in place(&candidates, 10, replication, seed).unwrap() {
            let held = |rack: &str| {
                partition.iter().filter(|broker| candidates[broker.0 as usize - 1].rack == rack).count()
            };
            // A rack that could take one more holds at most one less than any other.
            for more in ["a", "b", "c", "d"] {
                for less in ["a", "b", "c", "d"] {
                    prop_assert!(held(less) == sizes(less) || held(more) <= held(less) + 1);
                }
            }
        }
    }
}
