//! Histories of a simple log that is right, from a seed, and the same with one thing put wrong.

use super::*;

const SEEDS: u64 = 200;
const PARTITIONS: u32 = 3;

/// A small generator of well-mixed numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Producers that send one record after the other to partitions of a log which is right: a record
/// is sent, appended at some moment, and then answered, or never; what was refused is not there.
fn right(seed: u64) -> History {
    let mut random = Random(seed);
    let mut history = History::default();
    let mut now = 0;
    for number in 0..60 {
        let value = value(random.below(4) as u32, number);
        let partition = random.below(PARTITIONS as usize) as u32;
        let begun = now;
        now += 1 + random.below(3) as Moment;
        let log = history.log.entry(partition).or_default();
        let offset = log.len() as u64;
        let fate = match random.below(10) {
            0 => Fate::NotWritten,
            1 => Fate::Unknown,
            2 => Fate::Acknowledged(None),
            _ => Fate::Acknowledged(Some(offset)),
        };
        let appended = match fate {
            Fate::NotWritten => false,
            Fate::Unknown => random.below(2) == 0,
            Fate::Acknowledged(_) => true,
        };
        if appended {
            log.push((offset, value));
        }
        // The answer may come long after later records were sent and answered.
        let ended = now + random.below(8) as Moment;
        history.sent.push(Sent {
            value,
            partition,
            begun,
            ended,
            fate,
        });
        if random.below(4) == 0 {
            let offset = history.log[&partition].len() as u64;
            history.ends.push(End {
                partition,
                offset,
                age: 0,
                begun: now,
                ended: now,
            });
        }
    }
    consume(&mut history, &mut random, now + 10);
    history
}

fn consume(history: &mut History, random: &mut Random, at: Moment) {
    for consumer in 0..3 {
        for (partition, log) in &history.log {
            let from = random.below(log.len() / 2 + 1);
            let to = from + random.below(log.len() - from + 1);
            history.began.insert((consumer, *partition), from as u64);
            history
                .seen
                .extend(log[from..to].iter().map(|(offset, value)| Seen {
                    consumer,
                    partition: *partition,
                    offset: *offset,
                    value: *value,
                    at,
                }));
        }
    }
}

#[test]
fn what_a_right_log_does_is_accepted() {
    for seed in 0..SEEDS {
        assert_eq!(check(&right(seed)), [], "seed {seed}");
    }
}

type Fault = fn(&mut History, &mut Random) -> bool;

/// What can go wrong in a log, and what must be said of it. A fault gives false where the history
/// has no place for it.
const FAULTS: &[(&str, Kind, Fault)] = &[
    (
        "an acknowledged record vanishes",
        Kind::Lost,
        |history, random| {
            let acknowledged = pick(&history.sent, random, |sent| {
                matches!(sent.fate, Fate::Acknowledged(_))
            });
            let Some(sent) = acknowledged else {
                return false;
            };
            let log = history.log.get_mut(&sent.partition).unwrap();
            log.retain(|(_, value)| *value != sent.value);
            for (offset, entry) in log.iter_mut().enumerate() {
                entry.0 = offset as u64;
            }
            true
        },
    ),
    (
        "a record is appended again",
        Kind::Duplicated,
        |history, random| {
            let partition = random.below(PARTITIONS as usize) as u32;
            let log = history.log.get_mut(&partition).unwrap();
            let value = log[random.below(log.len())].1;
            log.push((log.len() as u64, value));
            true
        },
    ),
    (
        "a refused record is there after all",
        Kind::Resurrected,
        |history, random| {
            let refused = pick(&history.sent, random, |sent| sent.fate == Fate::NotWritten);
            let Some(sent) = refused else { return false };
            let log = history.log.get_mut(&sent.partition).unwrap();
            log.push((log.len() as u64, sent.value));
            true
        },
    ),
    ("a record of nobody", Kind::Phantom, |history, _| {
        let log = history.log.get_mut(&0).unwrap();
        log.push((log.len() as u64, value(99, 0)));
        true
    }),
    ("an offset is left out", Kind::Skipped, |history, random| {
        let log = history.log.get_mut(&0).unwrap();
        let from = 1 + random.below(log.len() - 1);
        log[from..].iter_mut().for_each(|(offset, _)| *offset += 1);
        true
    }),
    (
        "two records of a producer change places",
        Kind::Reordered,
        |history, _| {
            let fates: BTreeMap<Value, Fate> = history
                .sent
                .iter()
                .map(|sent| (sent.value, sent.fate))
                .collect();
            for log in history.log.values_mut() {
                let acknowledged = |value: &Value| matches!(fates[value], Fate::Acknowledged(_));
                for first in 0..log.len() {
                    let same = |at: &usize| log[*at].1.producer == log[first].1.producer;
                    let second = (first + 1..log.len())
                        .filter(same)
                        .find(|at| acknowledged(&log[*at].1));
                    if let (true, Some(second)) = (acknowledged(&log[first].1), second) {
                        let value = log[first].1;
                        log[first].1 = log[second].1;
                        log[second].1 = value;
                        return true;
                    }
                }
            }
            false
        },
    ),
    (
        "an acknowledgement names another offset",
        Kind::Misplaced,
        |history, random| {
            let known = |sent: &Sent| matches!(sent.fate, Fate::Acknowledged(Some(_)));
            let Some(chosen) = pick(&history.sent, random, known) else {
                return false;
            };
            let sent = history
                .sent
                .iter_mut()
                .find(|sent| sent.value == chosen.value);
            if let Some(Fate::Acknowledged(Some(offset))) = sent.map(|sent| &mut sent.fate) {
                *offset += 1;
            }
            true
        },
    ),
    (
        "a consumer is not given a record",
        Kind::Skipped,
        |history, random| {
            let Some(at) = between_two(history, random) else {
                return false;
            };
            history.seen.remove(at);
            true
        },
    ),
    (
        "a consumer is given a record twice",
        Kind::NotMonotonic,
        |history, random| {
            let Some(at) = between_two(history, random) else {
                return false;
            };
            let again = history.seen[at];
            history.seen.insert(at + 1, again);
            true
        },
    ),
    (
        "a consumer goes back",
        Kind::NotMonotonic,
        |history, random| {
            let Some(at) = between_two(history, random) else {
                return false;
            };
            history.seen.swap(at, at + 1);
            true
        },
    ),
    (
        "a consumer sees another record",
        Kind::Divergent,
        |history, random| {
            let Some(at) = between_two(history, random) else {
                return false;
            };
            history.seen[at].value = history.seen[at + 1].value;
            true
        },
    ),
    (
        "a record is seen before it is sent",
        Kind::Phantom,
        |history, random| {
            let Some(at) = between_two(history, random) else {
                return false;
            };
            let value = history.seen[at].value;
            let sent = history
                .sent
                .iter()
                .find(|sent| sent.value == value)
                .unwrap();
            if sent.begun == 0 {
                return false;
            }
            history.seen[at].at = sent.begun - 1;
            true
        },
    ),
    (
        "an end lags behind an acknowledgement",
        Kind::WrongEnd,
        |history, random| {
            let known = |sent: &Sent| matches!(sent.fate, Fate::Acknowledged(Some(_)));
            let Some(sent) = pick(&history.sent, random, known) else {
                return false;
            };
            let Fate::Acknowledged(Some(offset)) = sent.fate else {
                return false;
            };
            let asked = sent.ended + 1;
            history.ends.push(End {
                partition: sent.partition,
                offset,
                age: 0,
                begun: asked,
                ended: Moment::MAX,
            });
            true
        },
    ),
    (
        "an end counts what is not sent yet",
        Kind::WrongEnd,
        |history, random| {
            let known =
                |sent: &Sent| matches!(sent.fate, Fate::Acknowledged(Some(_))) && sent.begun > 0;
            let Some(sent) = pick(&history.sent, random, known) else {
                return false;
            };
            let Fate::Acknowledged(Some(offset)) = sent.fate else {
                return false;
            };
            history.ends.push(End {
                partition: sent.partition,
                offset: offset + 1,
                age: 0,
                begun: 0,
                ended: sent.begun - 1,
            });
            true
        },
    ),
];

fn pick(sent: &[Sent], random: &mut Random, wanted: impl Fn(&Sent) -> bool) -> Option<Sent> {
    let wanted: Vec<&Sent> = sent.iter().filter(|sent| wanted(sent)).collect();
    (!wanted.is_empty()).then(|| *wanted[random.below(wanted.len())])
}

/// A place among what was seen with a neighbour on each side in the same run.
fn between_two(history: &History, random: &mut Random) -> Option<usize> {
    let run = |at: usize| (history.seen[at].consumer, history.seen[at].partition);
    let places: Vec<usize> = (1..history.seen.len().saturating_sub(1))
        .filter(|at| run(at - 1) == run(*at) && run(*at) == run(at + 1))
        .collect();
    (!places.is_empty()).then(|| places[random.below(places.len())])
}

#[test]
fn every_fault_is_found_wherever_it_is() {
    for (name, kind, fault) in FAULTS {
        let mut planted = 0;
        for seed in 0..SEEDS {
            let (mut history, mut random) = (right(seed), Random(!seed));
            if !fault(&mut history, &mut random) {
                continue;
            }
            planted += 1;
            let found = check(&history);
            let kinds: Vec<Kind> = found.iter().map(|found| found.kind).collect();
            assert!(kinds.contains(kind), "{name}, seed {seed}: {found:?}");
        }
        assert!(planted > SEEDS / 2, "{name}: only in {planted} histories");
    }
}
