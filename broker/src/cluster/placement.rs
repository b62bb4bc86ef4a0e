//! Which brokers get the replicas of a new topic. Pure: the same brokers, the same seed, the same
//! placement.
//!
//! Per partition the first replica, which starts the group and so leads it at first, goes to the
//! broker that has the fewest first replicas; each further one to a rack that the partition uses
//! least, and there to the broker that has the fewest replicas. Spreading over racks comes before
//! balance: a rack with few brokers carries more, rather than leave a partition in one rack.

use std::collections::BTreeMap;

use highwater_proto::{BrokerId, Reason};

use super::refusal::Refusal;

/// A broker that can take replicas, and what it already has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The broker.
    pub broker: BrokerId,
    /// Its rack. Brokers without one (empty) count as one rack together.
    pub rack: String,
    /// How many replicas it has.
    pub replicas: u32,
    /// How many of them are the first of their partition.
    pub leaders: u32,
}

impl Candidate {
    /// A broker that has nothing yet.
    pub fn empty(broker: BrokerId, rack: &str) -> Self {
        Self {
            broker,
            rack: rack.to_owned(),
            replicas: 0,
            leaders: 0,
        }
    }
}

/// Why there is no placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// More replicas than brokers, or none.
    #[error(
        "{replication} replicas of each partition on {brokers} brokers; there can be from 1 to {brokers}"
    )]
    InvalidReplication {
        /// The replicas asked for.
        replication: usize,
        /// The brokers there are.
        brokers: usize,
    },
}

impl From<PlacementError> for Refusal {
    fn from(error: PlacementError) -> Self {
        Self::new(Reason::InvalidReplication, error.to_string())
    }
}

/// Places `replication` replicas of each of `partitions` partitions, each partition's on different
/// `brokers` (which are all different). `seed` chooses among equals, so that many small topics do
/// not all begin at the same broker.
pub fn place(
    brokers: &[Candidate],
    partitions: usize,
    replication: usize,
    seed: u64,
) -> Result<Vec<Vec<BrokerId>>, PlacementError> {
    if replication == 0 || replication > brokers.len() {
        return Err(PlacementError::InvalidReplication {
            replication,
            brokers: brokers.len(),
        });
    }
    let mut load: Vec<Candidate> = brokers.to_vec();
    load.sort_by_key(|candidate| (mix(seed ^ u64::from(candidate.broker.0)), candidate.broker));
    Ok((0..partitions)
        .map(|_| place_partition(&mut load, replication))
        .collect())
}

/// Chooses the brokers of one partition and counts them in `load`, whose order breaks ties.
fn place_partition(load: &mut [Candidate], replication: usize) -> Vec<BrokerId> {
    let mut chosen: Vec<usize> = Vec::with_capacity(replication);
    let mut racks: BTreeMap<String, usize> = BTreeMap::new();
    while chosen.len() < replication {
        let best = (0..load.len())
            .filter(|i| !chosen.contains(i))
            .min_by_key(|&i| match chosen.is_empty() {
                true => first_cost(&load[i]),
                false => further_cost(&load[i], &racks),
            });
        let Some(best) = best else { break };
        load[best].replicas += 1;
        load[best].leaders += u32::from(chosen.is_empty());
        *racks.entry(load[best].rack.clone()).or_default() += 1;
        chosen.push(best);
    }
    chosen.into_iter().map(|i| load[i].broker).collect()
}

type Cost = (usize, i64, i64);

fn first_cost(candidate: &Candidate) -> Cost {
    (0, candidate.leaders.into(), candidate.replicas.into())
}

/// Among brokers with as many replicas, the one with more first replicas: those with fewer will get
/// one soon, and a replica with it.
fn further_cost(candidate: &Candidate, racks: &BTreeMap<String, usize>) -> Cost {
    let in_rack = racks.get(&candidate.rack).copied().unwrap_or(0);
    let leaders = -i64::from(candidate.leaders);
    (in_rack, candidate.replicas.into(), leaders)
}

/// Scatters the bits of a number (the finalizer of SplitMix64).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
