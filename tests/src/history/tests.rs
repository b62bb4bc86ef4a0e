//! The checker itself: histories it must accept, by hand and generated, and for every kind of anomaly
//! histories it must reject.

use std::collections::BTreeSet;

use super::*;

mod generated;

const fn value(producer: u32, number: u64) -> Value {
    Value { producer, number }
}

fn sent(value: Value, begun: Moment, ended: Moment, fate: Fate) -> Sent {
    Sent {
        value,
        partition: 0,
        begun,
        ended,
        fate,
    }
}

fn seen(consumer: u32, offset: u64, value: Value, at: Moment) -> Seen {
    Seen {
        consumer,
        partition: 0,
        offset,
        value,
        at,
    }
}

const A: Value = value(1, 1);
const B: Value = value(1, 2);
const C: Value = value(2, 1);
const ACK: fn(u64) -> Fate = |offset| Fate::Acknowledged(Some(offset));

/// Two producers, three records in the log, one that was refused and one of which nobody knows.
fn clean() -> History {
    History {
        sent: vec![
            sent(A, 0, 10, ACK(0)),
            sent(B, 1, 20, ACK(1)),
            sent(C, 5, 30, Fate::Acknowledged(None)),
            sent(value(2, 2), 6, 40, Fate::NotWritten),
            sent(value(2, 3), 7, 50, Fate::Unknown),
        ],
        seen: vec![
            seen(1, 0, A, 11),
            seen(1, 1, B, 21),
            seen(1, 2, C, 31),
            seen(2, 1, B, 21),
        ],
        began: BTreeMap::from([((1, 0), 0), ((2, 0), 1)]),
        ends: vec![End {
            partition: 0,
            offset: 2,
            age: 0,
            begun: 21,
            ended: 25,
        }],
        log: BTreeMap::from([(0, vec![(0, A), (1, B), (2, C)])]),
        replicas: [1, 2]
            .map(|broker| ((broker, 0), vec![(0, A), (1, B), (2, C)]))
            .into(),
        named: BTreeSet::from([1]),
    }
}

/// The kinds that are found after the change.
fn kinds(change: impl FnOnce(&mut History)) -> BTreeSet<Kind> {
    let mut history = clean();
    let before = history.log.clone();
    change(&mut history);
    // The replicas are those of the log, unless they are what is changed.
    if history.log != before {
        for replica in history.replicas.values_mut() {
            replica.clone_from(&history.log[&0]);
        }
    }
    check(&history)
        .into_iter()
        .map(|found| found.kind)
        .collect()
}

fn log(history: &mut History) -> &mut Vec<(u64, Value)> {
    history.log.get_mut(&0).unwrap()
}

#[test]
fn a_history_that_is_possible_has_no_anomaly() {
    assert_eq!(check(&clean()), []);
    assert_eq!(check(&History::default()), []);
}

#[test]
fn a_record_of_unknown_fate_may_be_there_or_not() {
    let appended = |history: &mut History| log(history).push((3, value(2, 3)));
    assert_eq!(kinds(appended), BTreeSet::new());
}

#[test]
fn records_lost_repeated_or_moved_in_the_log_are_found() {
    let lost = kinds(|history| log(history).truncate(2));
    assert!(lost.contains(&Kind::Lost), "{lost:?}");
    let twice = kinds(|history| log(history).push((3, A)));
    assert!(twice.contains(&Kind::Duplicated), "{twice:?}");
    let swapped = kinds(|history| *log(history) = vec![(0, B), (1, A), (2, C)]);
    let expected = [Kind::Reordered, Kind::Misplaced, Kind::Divergent];
    assert!(
        expected.iter().all(|kind| swapped.contains(kind)),
        "{swapped:?}"
    );
    let hole = kinds(|history| log(history)[2].0 = 3);
    assert!(hole.contains(&Kind::Skipped), "{hole:?}");
}

#[test]
fn records_that_should_not_be_there_are_found() {
    let phantom = kinds(|history| log(history).push((3, value(9, 9))));
    assert_eq!(phantom, BTreeSet::from([Kind::Phantom]));
    let risen = kinds(|history| log(history).push((3, value(2, 2))));
    assert_eq!(risen, BTreeSet::from([Kind::Resurrected]));
    let elsewhere = kinds(|history| history.sent[2].partition = 1);
    assert_eq!(elsewhere, BTreeSet::from([Kind::Phantom]));
    let early = kinds(|history| history.seen[2].at = 4);
    assert_eq!(early, BTreeSet::from([Kind::Phantom]));
}

#[test]
fn order_holds_between_producers_when_one_waited_for_the_other() {
    // C went out after B was acknowledged: it cannot stand before B.
    let overtaken = kinds(|history| {
        history.sent[2].begun = 25;
        *log(history) = vec![(0, A), (1, C), (2, B)];
        history.sent[1].fate = ACK(2);
        history.seen.clear();
        history.ends.clear();
    });
    assert_eq!(overtaken, BTreeSet::from([Kind::Reordered]));
}

#[test]
fn what_a_consumer_is_given_twice_or_never_is_found() {
    let skipped = kinds(|history| {
        history
            .seen
            .retain(|seen| seen.consumer != 1 || seen.offset != 1)
    });
    assert_eq!(skipped, BTreeSet::from([Kind::Skipped]));
    let again = kinds(|history| history.seen.insert(2, seen(1, 1, B, 22)));
    assert_eq!(again, BTreeSet::from([Kind::NotMonotonic]));
    let late = kinds(|history| history.began.extend([((2, 0), 0)]));
    assert_eq!(late, BTreeSet::from([Kind::Skipped]));
    let other = kinds(|history| history.seen[3].value = C);
    assert_eq!(other, BTreeSet::from([Kind::Divergent]));
    let uncommitted = kinds(|history| history.seen.push(seen(1, 3, value(2, 3), 60)));
    assert_eq!(uncommitted, BTreeSet::from([Kind::Divergent]));
}

#[test]
fn ends_that_lag_or_run_ahead_are_found() {
    let with = |offset, begun, ended| {
        kinds(|history| {
            let end = &mut history.ends[0];
            (end.offset, end.begun, end.ended) = (offset, begun, ended);
        })
    };
    assert_eq!(with(1, 15, 25), BTreeSet::new());
    assert_eq!(with(1, 21, 25), BTreeSet::from([Kind::WrongEnd]));
    assert_eq!(with(3, 1, 4), BTreeSet::from([Kind::WrongEnd]));
    assert_eq!(with(4, 40, 50), BTreeSet::from([Kind::WrongEnd]));
}

#[test]
fn a_bounded_end_may_lag_by_its_bound_and_no_more() {
    let with = |offset, age| {
        kinds(|history| {
            let end = &mut history.ends[0];
            (end.offset, end.age, end.begun, end.ended) = (offset, age, 25, 26);
        })
    };
    // A was acknowledged 15 before, B 5.
    assert_eq!(with(1, 5), BTreeSet::new());
    assert_eq!(with(1, 4), BTreeSet::from([Kind::WrongEnd]));
    assert_eq!(with(0, 15), BTreeSet::new());
    assert_eq!(with(0, 14), BTreeSet::from([Kind::WrongEnd]));
}

#[test]
fn a_replica_that_has_another_record_or_lacks_one_is_found() {
    let replica = |change: fn(&mut Vec<(u64, Value)>)| {
        kinds(|history| change(history.replicas.get_mut(&(2, 0)).unwrap()))
    };
    assert_eq!(
        replica(|log| log[1].1 = C),
        BTreeSet::from([Kind::Divergent])
    );
    assert_eq!(
        replica(|log| log.truncate(2)),
        BTreeSet::from([Kind::Divergent])
    );
    let longer = replica(|log| log.push((3, value(2, 3))));
    assert_eq!(longer, BTreeSet::from([Kind::Divergent]));
}

#[test]
fn a_record_of_a_producer_whose_name_was_taken_over_is_found_behind_its_successors() {
    let late = value(1, 3);
    let successor = value(1, INCARNATION);
    let order = |first, second| {
        kinds(|history| {
            history.sent.push(sent(late, 40, 90, Fate::Unknown));
            history.sent.push(sent(successor, 45, 60, ACK(4)));
            log(history).extend([(3, first), (4, second)]);
        })
    };
    assert_eq!(order(late, successor), BTreeSet::new());
    let found = order(successor, late);
    assert!(found.contains(&Kind::Unfenced), "{found:?}");
}

#[test]
fn values_are_read_as_they_are_written() {
    assert_eq!(Value::parse(&A.to_string()), Some(A));
    assert_eq!(Value::parse("1"), None);
    assert_eq!(Value::parse("1-x"), None);
}
