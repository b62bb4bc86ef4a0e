//! Whether what is read is what was sent: each record sound, in order, once. Pure.

use std::collections::BTreeMap;

use super::record::{Content, Flaw, Stamp, WARM_UP};

/// How many records each client sent to each partition.
pub(super) type Sent = BTreeMap<(u32, u32), u64>;

/// Which records belong to what is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of this run, from its first record on.
    Run(u64),
    /// Those of any run, from wherever the log begins.
    AnyRun,
}

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Sound, in order, and counted.
    pub(super) verified: u64,
    /// Sound, in order, and only sent to warm up.
    pub(super) warm_up: u64,
    /// Not there although later ones are, or although they were sent.
    pub(super) missing: u64,
    /// There again, or after later ones.
    pub(super) repeated: u64,
    /// Damaged.
    pub(super) broken: u64,
    /// Not of this run, or of no bench.
    pub(super) foreign: u64,
}

/// What the value of a record says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read(Result<Stamp, Flaw>);

impl Read {
    /// True for a record that was only sent to warm up.
    #[inline]
    pub(super) fn is_warm_up(self) -> bool {
        self.0.is_ok_and(|stamp| stamp.time == WARM_UP)
    }
}

/// Reads the value of a record.
#[inline]
pub(super) fn read(content: &Content, value: Option<&[u8]>) -> Read {
    Read(value.map_or(Err(Flaw::Foreign), |value| content.read(value)))
}

/// The records of one sender in a partition.
#[derive(Debug)]
struct Lane {
    run: u64,
    client: u32,
    next: u64,
}

/// The records of one partition.
#[derive(Debug)]
pub(super) struct PartitionCheck {
    scope: Scope,
    lanes: Vec<Lane>,
    /// The lane of the last record: the next one is mostly of the same.
    recent: usize,
    tally: Tally,
}

impl PartitionCheck {
    pub(super) fn new(scope: Scope) -> Self {
        Self {
            scope,
            lanes: Vec::new(),
            recent: 0,
            tally: Tally::default(),
        }
    }

    /// Takes the next record of the partition. Gives when it was due if it is sound, in order and
    /// to be counted.
    #[inline]
    pub(super) fn take(&mut self, Read(read): Read) -> Option<u64> {
        match (read, self.scope) {
            (Ok(stamp), Scope::Run(run)) if stamp.run != run => self.tally.foreign += 1,
            (Ok(stamp), _) => return self.order(stamp),
            (Err(Flaw::Foreign), _) => self.tally.foreign += 1,
            (Err(Flaw::Broken), _) => self.tally.broken += 1,
        }
        None
    }

    #[inline]
    fn order(&mut self, stamp: Stamp) -> Option<u64> {
        let lane = self.lane(stamp);
        let expected = lane.next;
        if stamp.sequence < expected {
            self.tally.repeated += 1;
            return None;
        }
        lane.next = stamp.sequence + 1;
        self.tally.missing += stamp.sequence - expected;
        if stamp.time == WARM_UP {
            self.tally.warm_up += 1;
            return None;
        }
        self.tally.verified += 1;
        Some(stamp.time)
    }

    #[inline]
    fn lane(&mut self, stamp: Stamp) -> &mut Lane {
        let is_of = |lane: &Lane| lane.client == stamp.client && lane.run == stamp.run;
        if !self.lanes.get(self.recent).is_some_and(is_of) {
            let known = self.lanes.iter().position(is_of);
            self.recent = known.unwrap_or(self.lanes.len());
        }
        if self.recent == self.lanes.len() {
            let next = match self.scope {
                Scope::Run(_) => 0,
                Scope::AnyRun => stamp.sequence,
            };
            self.lanes.push(Lane {
                run: stamp.run,
                client: stamp.client,
                next,
            });
        }
        &mut self.lanes[self.recent]
    }

    /// How many records of this client there are, missing ones counted.
    fn seen(&self, client: u32) -> u64 {
        let lane = self.lanes.iter().find(|lane| lane.client == client);
        lane.map_or(0, |lane| lane.next)
    }
}

/// The partitions of one reader.
#[derive(Debug)]
pub(super) struct Verifier {
    scope: Scope,
    partitions: BTreeMap<u32, PartitionCheck>,
}

impl Verifier {
    pub(super) fn new(scope: Scope, partitions: impl IntoIterator<Item = u32>) -> Self {
        let check = |partition| (partition, PartitionCheck::new(scope));
        Self {
            scope,
            partitions: partitions.into_iter().map(check).collect(),
        }
    }

    /// The check of one partition.
    pub(super) fn partition(&mut self, partition: u32) -> &mut PartitionCheck {
        let scope = self.scope;
        let entry = self.partitions.entry(partition);
        entry.or_insert_with(|| PartitionCheck::new(scope))
    }

    /// True if nothing of what was `sent` to these partitions is still to come.
    pub(super) fn is_complete(&self, sent: &Sent) -> bool {
        self.outstanding(sent) == 0
    }

    /// What was found, given what was sent: what has not come is missing.
    pub(super) fn finish(&self, sent: &Sent) -> Tally {
        let mut tally = self.tally();
        tally.missing += self.outstanding(sent);
        tally
    }

    /// What was found so far.
    pub(super) fn tally(&self) -> Tally {
        let tallies = self.partitions.values().map(|check| check.tally);
        tallies.fold(Tally::default(), Tally::plus)
    }

    fn outstanding(&self, sent: &Sent) -> u64 {
        let of_ours = sent.iter().filter_map(|((partition, client), count)| {
            let check = self.partitions.get(partition)?;
            Some(count.saturating_sub(check.seen(*client)))
        });
        of_ours.sum()
    }
}

impl Tally {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            verified: self.verified + other.verified,
            warm_up: self.warm_up + other.warm_up,
            missing: self.missing + other.missing,
            repeated: self.repeated + other.repeated,
            broken: self.broken + other.broken,
            foreign: self.foreign + other.foreign,
        }
    }

    /// How many records are not as they should be.
    pub(super) fn errors(&self) -> u64 {
        self.missing + self.repeated + self.broken + self.foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u64 = 5;

    fn value(run: u64, client: u32, sequence: u64) -> Vec<u8> {
        let mut value = vec![0; 64];
        let stamp = Stamp {
            run,
            client,
            sequence,
            time: sequence * 10,
        };
        Content::new().write(stamp.source(64), stamp, &mut value);
        value
    }

    fn taken(scope: Scope, values: &[Vec<u8>]) -> Verifier {
        let content = Content::new();
        let mut verifier = Verifier::new(scope, [0]);
        for value in values {
            verifier.partition(0).take(read(&content, Some(value)));
        }
        verifier
    }

    #[test]
    fn records_in_order_are_verified_whichever_client_comes_next() {
        let values: Vec<_> = [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1)]
            .map(|(client, sequence)| value(RUN, client, sequence))
            .into();
        let verifier = taken(Scope::Run(RUN), &values);
        let sent = Sent::from([((0, 0), 3), ((0, 1), 2), ((9, 0), 7)]);
        assert!(verifier.is_complete(&sent), "partition 9 is another's");
        let expected = Tally {
            verified: 5,
            ..Tally::default()
        };
        assert_eq!(verifier.finish(&sent), expected);
    }

    #[test]
    fn a_broken_record_is_noticed_and_so_is_the_gap_it_leaves() {
        let mut values: Vec<_> = (0..3).map(|sequence| value(RUN, 0, sequence)).collect();
        values[1][50] ^= 1;
        let tally = taken(Scope::Run(RUN), &values).tally();
        assert_eq!((tally.verified, tally.broken, tally.missing), (2, 1, 1));
        assert_eq!(tally.errors(), 2);
    }

    #[test]
    fn repeated_records_and_records_out_of_order_are_noticed() {
        let values = [0, 1, 1, 3, 2].map(|sequence| value(RUN, 0, sequence));
        let tally = taken(Scope::Run(RUN), &values).tally();
        assert_eq!((tally.verified, tally.repeated, tally.missing), (3, 2, 1));
    }

    #[test]
    fn what_does_not_come_at_all_is_missing() {
        let verifier = taken(Scope::Run(RUN), &[value(RUN, 0, 0)]);
        let sent = Sent::from([((0, 0), 4), ((0, 1), 2)]);
        assert!(!verifier.is_complete(&sent));
        assert_eq!(verifier.finish(&sent).missing, 5);
    }

    #[test]
    fn records_of_others_are_foreign() {
        let values = [
            value(RUN, 0, 0),
            b"not of a bench".to_vec(),
            value(RUN + 1, 0, 0),
        ];
        let tally = taken(Scope::Run(RUN), &values).tally();
        assert_eq!((tally.verified, tally.foreign), (1, 2));
        let mut verifier = taken(Scope::AnyRun, &values);
        assert_eq!(verifier.tally().foreign, 1);
        verifier.partition(0).take(read(&Content::new(), None));
        assert_eq!(verifier.tally().foreign, 2, "no value at all");
    }

    #[test]
    fn a_log_of_earlier_runs_may_begin_anywhere_and_must_go_on_without_a_gap() {
        let values = [(1, 7), (1, 8), (2, 0), (1, 10)].map(|(run, n)| value(run, 0, n));
        let tally = taken(Scope::AnyRun, &values).tally();
        assert_eq!((tally.verified, tally.missing), (4, 1));
    }

    #[test]
    fn records_that_warm_up_are_checked_but_not_counted() {
        let content = Content::new();
        let stamp = Stamp {
            run: RUN,
            client: 0,
            sequence: 0,
            time: WARM_UP,
        };
        let mut warm = vec![0; 64];
        content.write(stamp.source(64), stamp, &mut warm);
        let mut check = PartitionCheck::new(Scope::Run(RUN));
        assert_eq!(check.take(read(&content, Some(&warm))), None);
        assert_eq!(
            check.take(read(&content, Some(&value(RUN, 0, 1)))),
            Some(10)
        );
        assert_eq!((check.tally.warm_up, check.tally.verified), (1, 1));
    }
}
