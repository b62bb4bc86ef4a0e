use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const P: PartitionIndex = PartitionIndex(0);
const Q: PartitionIndex = PartitionIndex(7);

fn session(credit: u64) -> Session {
    Session::new(SessionId(4), mpsc::unbounded_channel().0, credit)
}

fn send(session: &mut Session, serial: Serial, bytes: usize) -> u64 {
    send_to(session, P, serial, bytes, 1)
}

fn send_to(
    session: &mut Session,
    partition: PartitionIndex,
    serial: Serial,
    bytes: usize,
    records: u32,
) -> u64 {
    let target = Target {
        topic: "t".to_owned(),
        topic_id: String::new(),
    };
    let batch = Outgoing {
        partition,
        serial,
        bytes: Bytes::from(vec![0; bytes]),
        records,
    };
    session.send(&target, batch).number
}

#[test]
fn numbers_rise_from_one_and_answers_find_their_batch_in_any_order() {
    let mut session = session(100);
    let numbers: Vec<u64> = (0..3).map(|i| send(&mut session, 10 + i, 1)).collect();
    assert_eq!(numbers, [1, 2, 3]);
    for (number, serial) in [(2, 11), (1, 10), (3, 12)] {
        assert_eq!(session.answered(number).unwrap().serial, serial);
        assert!(session.answered(number).is_none(), "answered twice");
    }
    assert_eq!(send(&mut session, 13, 1), 4);
    assert!(session.answered(0).is_none() && session.answered(9).is_none());
}

#[test]
fn credit_is_what_was_sent_and_not_answered_and_an_oversized_batch_goes_alone() {
    let mut session = session(100);
    assert!(session.has_credit(500));
    send(&mut session, 0, 60);
    assert!(session.has_credit(40) && !session.has_credit(41));
    session.answered(1);
    assert!(session.has_credit(500));
}

#[test]
fn what_is_abandoned_frees_its_credit_and_is_not_answered_any_more() {
    let mut session = session(100);
    for serial in 0..3 {
        send(&mut session, serial, 30);
    }
    assert!(!session.has_credit(30));
    session.answered(2);
    let abandoned = session.abandon(PartitionIndex(0));
    let serials: Vec<Serial> = abandoned.iter().map(|sent| sent.serial).collect();
    assert_eq!(serials, [0, 2]);
    assert!(session.has_credit(100) && session.sent.is_empty());
    assert!(session.answered(1).is_none());
    assert_eq!(send(&mut session, 0, 30), 4, "numbers go on");
}

#[test]
fn what_was_not_answered_is_lost_with_the_session() {
    let mut session = session(100);
    for serial in 0..3 {
        send(&mut session, serial, 1);
    }
    session.answered(2);
    let lost: Vec<Serial> = session.into_lost().map(|sent| sent.serial).collect();
    assert_eq!(lost, [0, 2]);
}

/// The bytes of each batch do not matter.
fn send_records(session: &mut Session, partition: PartitionIndex, records: u32) -> u64 {
    send_to(session, partition, 0, 10, records)
}

fn run(first_number: u64, number: u64, base_offset: i64) -> v1::BatchAck {
    v1::BatchAck {
        number,
        base_offset,
        first_number,
        ..v1::BatchAck::default()
    }
}

/// The batches that an ack is about, in order, and where each begins.
fn acked(session: &mut Session, ack: &v1::BatchAck) -> Vec<(u64, Option<u64>)> {
    let mut acked = Vec::new();
    session.acknowledged(ack, &mut acked);
    acked.reverse();
    let told = |batch: Acked| (batch.sent.attempt.number, batch.base.map(|base| base.0));
    acked.into_iter().map(told).collect()
}

#[test]
fn a_run_is_about_the_batches_of_one_partition_and_each_ends_where_the_next_begins() {
    let mut session = session(1000);
    for (partition, records) in [(P, 3), (Q, 9), (P, 4), (P, 5), (Q, 9), (P, 6)] {
        send_records(&mut session, partition, records);
    }
    let told = acked(&mut session, &run(1, 4, 107));
    assert_eq!(told, [(1, Some(100)), (3, Some(103)), (4, Some(107))]);
    assert_eq!(acked(&mut session, &run(0, 5, 9)), [(5, Some(9))]);
    assert_eq!(acked(&mut session, &run(1, 4, 107)), [], "told twice");
    assert_eq!(acked(&mut session, &run(0, 6, 112)), [(6, Some(112))]);
    assert_eq!(session.unanswered_bytes, 10);
}

#[test]
fn a_run_that_begins_before_what_was_abandoned_places_what_came_after() {
    let mut session = session(1000);
    for records in 1..=3 {
        send_records(&mut session, P, records);
    }
    session.abandon(P);
    for records in 4..=5 {
        send_records(&mut session, P, records);
    }
    let told = acked(&mut session, &run(1, 5, 50));
    assert_eq!(told, [(4, Some(46)), (5, Some(50))]);
}

#[test]
fn a_run_that_makes_no_sense_is_about_no_batch_that_was_not_sent() {
    for (first, number, told) in [
        (9, 2, vec![(2, Some(1))]),
        (u64::MAX, 1, vec![(1, Some(1))]),
        (1, 9, vec![]),
        (1, 2, vec![(1, None), (2, Some(1))]),
    ] {
        let mut session = session(1000);
        send_records(&mut session, P, 2);
        send_records(&mut session, P, 2);
        assert_eq!(acked(&mut session, &run(first, number, 1)), told);
    }
}

/// What happens to a session with three partitions.
#[derive(Debug, Clone)]
enum Step {
    Send(u32, u32),
    /// The broker answers some batches of a partition that lie one after another: from which of those
    /// it has not answered, how many at most, and how many records of others come before them.
    Answer(u32, usize, usize, u64, Answer),
    Abandon(u32),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Run,
    LostRun,
    Error,
}

fn step() -> impl Strategy<Value = Step> {
    let answer = prop_oneof![
        6 => Just(Answer::Run),
        1 => Just(Answer::LostRun),
        1 => Just(Answer::Error),
    ];
    prop_oneof![
        6 => (0..3_u32, 1..5_u32).prop_map(|(partition, records)| Step::Send(partition, records)),
        3 => (0..3_u32, 0..3_usize, 1..6_usize, 0..2_u64, answer)
            .prop_map(|(partition, from, most, gap, answer)| {
                Step::Answer(partition, from, most, gap, answer)
            }),
        1 => (0..3_u32).prop_map(Step::Abandon),
    ]
}

/// A partition as the broker and the client know it.
#[derive(Debug, Default)]
struct Model {
    end: u64,
    /// By number: the records, whether the broker has answered, whether the client waits.
    batches: BTreeMap<u64, (u32, bool, bool)>,
}

impl Model {
    /// The numbers of a run, with where each batch lies.
    fn append(&mut self, from: usize, most: usize, gap: u64) -> Vec<(u64, u64)> {
        let mut rest = self.batches.iter_mut();
        let mut run = Vec::new();
        self.end += gap;
        let mut open = (0..=from).map_while(|_| rest.find(|(_, (_, answered, _))| !answered));
        let mut next = open.nth(from);
        while let Some((number, (records, answered, _))) = next {
            *answered = true;
            run.push((*number, self.end));
            self.end += u64::from(*records);
            next = match run.len() < most {
                true => rest.next().filter(|(_, (_, answered, _))| !*answered),
                false => None,
            };
        }
        run
    }

    fn waits(&mut self, number: u64) -> bool {
        let batch = self.batches.get_mut(&number);
        batch.is_some_and(|(_, _, waits)| std::mem::take(waits))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_batch_that_is_waited_for_is_told_its_place_and_no_other(steps in vec(step(), 1..60)) {
        let mut session = session(u64::MAX);
        let mut models: [Model; 3] = Default::default();
        for step in steps {
            match step {
                Step::Send(partition, records) => {
                    let number = send_records(&mut session, PartitionIndex(partition), records);
                    let model = &mut models[partition as usize];
                    model.batches.insert(number, (records, false, true));
                }
                Step::Abandon(partition) => {
                    session.abandon(PartitionIndex(partition));
                    let batches = models[partition as usize].batches.values_mut();
                    batches.for_each(|(_, _, waits)| *waits = false);
                }
                Step::Answer(partition, from, most, gap, answer) => {
                    let model = &mut models[partition as usize];
                    let most = if answer == Answer::Error { 1 } else { most };
                    let numbers = model.append(from, most, gap);
                    let (Some((first, _)), Some((last, base))) = (numbers.first(), numbers.last())
                    else {
                        continue;
                    };
                    if answer == Answer::Error {
                        let found = session.answered(*last).is_some();
                        prop_assert_eq!(found, model.waits(*last));
                    } else if answer == Answer::Run {
                        let alone = first == last;
                        let first = if alone { 0 } else { *first };
                        let ack = run(first, *last, i64::try_from(*base).unwrap());
                        let told = acked(&mut session, &ack);
                        let waiting = numbers.iter().filter(|(number, _)| model.waits(*number));
                        let expected: Vec<_> = waiting
                            .map(|(number, base)| (*number, Some(*base)))
                            .collect();
                        prop_assert_eq!(told, expected);
                    }
                }
            }
            let waiting = models.iter().flat_map(|model| model.batches.values());
            let waiting = waiting.filter(|(_, _, waits)| *waits).count();
            prop_assert_eq!(session.unanswered_bytes, 10 * waiting as u64);
        }
    }
}
