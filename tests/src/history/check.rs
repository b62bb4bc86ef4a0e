//! PURE. The checks. The offsets of the log fix the order of all appends, so each of them looks at
//! every record once or twice; nothing is searched.

use std::collections::{BTreeMap, BTreeSet};

use super::{Anomaly, End, Fate, History, INCARNATION, Kind, Moment, Seen, Sent, Value};

/// What no correct log does and this history shows; empty for a history that is possible.
pub fn check(history: &History) -> Vec<Anomaly> {
    let mut checker = Checker {
        sent: history.sent.iter().map(|sent| (sent.value, sent)).collect(),
        places: BTreeMap::new(),
        found: Vec::new(),
    };
    checker.log(history);
    checker.sent(history);
    checker.seen(history);
    for (partition, log) in &history.log {
        checker.order_of_producers(*partition, log);
        checker.order_in_time(*partition, log);
        checker.fences(*partition, log, &history.named);
    }
    checker.replicas(history);
    for end in &history.ends {
        checker.end(end, history);
    }
    checker.found
}

struct Checker<'a> {
    sent: BTreeMap<Value, &'a Sent>,
    /// Where each value is in the log: partition and offset.
    places: BTreeMap<Value, (u32, u64)>,
    found: Vec<Anomaly>,
}

impl Checker<'_> {
    fn report(&mut self, kind: Kind, what: String) {
        self.found.push(Anomaly { kind, what });
    }

    /// The log has no hole, each value once, and only what was sent.
    fn log(&mut self, history: &History) {
        for (partition, log) in &history.log {
            let mut next = log.first().map_or(0, |(offset, _)| *offset);
            for (offset, value) in log {
                if *offset != next {
                    let what = format!("the log of {partition} goes on at {offset}, not {next}");
                    self.report(Kind::Skipped, what);
                }
                next = offset + 1;
                if let Some((other, at)) = self.places.insert(*value, (*partition, *offset)) {
                    let what = format!("{value} is at {other}/{at} and at {partition}/{offset}");
                    self.report(Kind::Duplicated, what);
                }
                self.was_sent(*partition, *offset, *value, None);
            }
        }
    }

    /// A record that is somewhere was sent there before, and its producer was not told otherwise.
    fn was_sent(&mut self, partition: u32, offset: u64, value: Value, at: Option<Moment>) {
        let place = format!("{value} is at {partition}/{offset}");
        match self.sent.get(&value) {
            None => self.report(Kind::Phantom, format!("{place} and was never sent")),
            Some(sent) if sent.partition != partition => {
                let what = format!("{place} and was sent to {}", sent.partition);
                self.report(Kind::Phantom, what);
            }
            Some(sent) if at.is_some_and(|at| at < sent.begun) => {
                self.report(
                    Kind::Phantom,
                    format!("{place} and was seen before it was sent"),
                );
            }
            Some(sent) if sent.fate == Fate::NotWritten => {
                let what = format!("{place} and its producer was told that it was not written");
                self.report(Kind::Resurrected, what);
            }
            Some(_) => {}
        }
    }

    /// What was acknowledged is in the log, where its acknowledgement says.
    fn sent(&mut self, history: &History) {
        for sent in &history.sent {
            let Fate::Acknowledged(offset) = sent.fate else {
                continue;
            };
            let (value, partition) = (sent.value, sent.partition);
            match (self.places.get(&value), offset) {
                (None, _) => {
                    let what = format!("{value} was acknowledged by {partition} and is nowhere");
                    self.report(Kind::Lost, what);
                }
                (Some((_, at)), Some(offset)) if *at != offset => {
                    let what = format!("{value} is at {partition}/{at}, acknowledged at {offset}");
                    self.report(Kind::Misplaced, what);
                }
                _ => {}
            }
        }
    }

    /// Each consumer sees one offset after the other, and at each what the log has there.
    fn seen(&mut self, history: &History) {
        let mut next = history.began.clone();
        for seen in &history.seen {
            let Seen {
                consumer,
                partition,
                offset,
                value,
                at,
            } = *seen;
            let expected = next.insert((consumer, partition), offset + 1);
            let expected = expected.unwrap_or(offset);
            let what =
                format!("consumer {consumer} got {partition}/{offset} after {expected} was due");
            if offset > expected {
                self.report(Kind::Skipped, what);
            } else if offset < expected {
                self.report(Kind::NotMonotonic, what);
            }
            self.was_sent(partition, offset, value, Some(at));
            let log = history.log.get(&partition).map_or(&[][..], Vec::as_slice);
            let there = log.binary_search_by_key(&offset, |(offset, _)| *offset);
            let there = there.ok().map(|at| log[at].1);
            if there != Some(value) {
                let there = there.map_or("nothing".to_owned(), |value| value.to_string());
                let what = format!(
                    "consumer {consumer} got {value} at {partition}/{offset}, where {there} is"
                );
                self.report(Kind::Divergent, what);
            }
        }
    }

    /// What a producer sent in order stands in order, apart from what it was never told of.
    fn order_of_producers(&mut self, partition: u32, log: &[(u64, Value)]) {
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        for (offset, value) in log {
            let acknowledged = self
                .sent
                .get(value)
                .is_some_and(|sent| matches!(sent.fate, Fate::Acknowledged(_)));
            if !acknowledged {
                continue;
            }
            let before = last.insert(value.producer, value.number);
            if before.is_some_and(|before| before > value.number) {
                let what = format!("{value} is at {partition}/{offset}, behind a later one of it");
                self.report(Kind::Reordered, what);
            }
        }
    }

    /// What was acknowledged before another record was sent stands before it.
    fn order_in_time(&mut self, partition: u32, log: &[(u64, Value)]) {
        let mut earliest_end = Moment::MAX;
        for (offset, value) in log.iter().rev() {
            let Some(sent) = self.sent.get(value) else {
                continue;
            };
            if sent.begun > earliest_end {
                let what = format!(
                    "{value} at {partition}/{offset} was sent after a record behind it was acknowledged"
                );
                self.report(Kind::Reordered, what);
                return;
            }
            if matches!(sent.fate, Fate::Acknowledged(_)) {
                earliest_end = earliest_end.min(sent.ended);
            }
        }
    }

    /// Once a later producer of a name has written, no earlier one has, whatever it was told.
    fn fences(&mut self, partition: u32, log: &[(u64, Value)], named: &BTreeSet<u32>) {
        let mut latest: BTreeMap<u32, u64> = BTreeMap::new();
        for (offset, value) in log {
            if !named.contains(&value.producer) {
                continue;
            }
            let incarnation = value.number / INCARNATION;
            let latest = latest.entry(value.producer).or_default();
            if incarnation < *latest {
                let what = format!("{value} is at {partition}/{offset}, behind one of {latest}");
                self.report(Kind::Unfenced, what);
            }
            *latest = incarnation.max(*latest);
        }
    }

    /// Every replica has the same log.
    fn replicas(&mut self, history: &History) {
        for ((broker, partition), replica) in &history.replicas {
            let log = history.log.get(partition).map_or(&[][..], Vec::as_slice);
            let differs = log.iter().zip(replica).find(|(one, other)| one != other);
            let what = match differs {
                Some((one, other)) => format!("{other:?} where the leader has {one:?}"),
                None if log.len() != replica.len() => {
                    format!("{} records, not {}", replica.len(), log.len())
                }
                None => continue,
            };
            let what = format!("broker {broker} has in {partition}: {what}");
            self.report(Kind::Divergent, what);
        }
    }

    /// An end is beyond all that was acknowledged before it was asked for, or long enough before, and
    /// what is below it was sent before it was answered.
    fn end(&mut self, end: &End, history: &History) {
        let partition = end.partition;
        let log = history.log.get(&partition).map_or(&[][..], Vec::as_slice);
        let known = log.iter().filter_map(|(offset, value)| {
            let sent = self.sent.get(value)?;
            Some((*offset, sent))
        });
        let mut wrong = Vec::new();
        for (offset, sent) in known {
            let acknowledged = matches!(sent.fate, Fate::Acknowledged(_));
            if offset >= end.offset
                && acknowledged
                && sent.ended.saturating_add(end.age) < end.begun
            {
                wrong.push(format!("{offset} was acknowledged before"));
            }
            if offset < end.offset && sent.begun > end.ended {
                wrong.push(format!("{offset} was sent later"));
            }
        }
        let beyond = log.last().map_or(0, |(offset, _)| offset + 1) < end.offset;
        if beyond {
            wrong.push("the log never was that long".to_owned());
        }
        for why in wrong {
            let what = format!(
                "the end of {partition} was said to be {}: {why}",
                end.offset
            );
            self.report(Kind::WrongEnd, what);
        }
    }
}
