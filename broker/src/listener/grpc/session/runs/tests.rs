use std::collections::BTreeMap;

use highwater_proto::{Offset, Term, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn appended(base: u64, records: u32) -> Appended {
    Appended {
        base_offset: Offset(base),
        record_count: records,
        append_time: Timestamp(1000),
        term: Term(3),
        duplicate: false,
    }
}

/// The numbers that each ack stands for at most, and the base offset of the last one.
fn runs(durable: Vec<Durable>) -> Vec<(u64, u64, i64)> {
    let mut durable = durable;
    let acks = acks(&mut durable);
    assert!(durable.is_empty());
    acks.iter()
        .map(|ack| (ack.first_number, ack.number, ack.base_offset))
        .collect()
}

#[test]
fn batches_that_lie_one_after_another_have_one_ack_a_partition() {
    let mut lines = Lines::default();
    // Numbers 1, 3, 5 … go to one partition, 2, 4, 6 … to the other.
    let mut durable: Vec<Durable> = (1..=200)
        .map(|number| {
            let nth = (number - 1) / 2;
            let place = lines.next(number % 2, number);
            Durable::new(number, place, appended(10 * nth, 10))
        })
        .collect();
    durable.reverse();
    assert_eq!(runs(durable), [(1, 199, 990), (2, 200, 990)]);
}

#[test]
fn what_is_not_known_to_be_durable_by_now_ends_a_run() {
    let mut lines = Lines::default();
    let durable: Vec<Durable> = (1..=5)
        .map(|number| Durable::new(number, lines.next('p', number), appended(number, 1)))
        .collect();
    // The third was refused, was answered before, or is not answered yet. It takes no offset then.
    let mut without = durable.clone();
    without.remove(2);
    for later in &mut without[2..] {
        later.appended.base_offset.0 -= 1;
    }
    assert_eq!(runs(without), [(1, 2, 2), (4, 5, 4)]);
    assert_eq!(runs(durable), [(1, 5, 5)]);
}

#[test]
fn what_differs_or_lies_elsewhere_is_acknowledged_apart() {
    let changes: [fn(&mut Appended); 5] = [
        |other| other.base_offset = Offset(8),
        |other| other.base_offset = Offset(6),
        |other| other.append_time = Timestamp(1001),
        |other| other.term = Term(4),
        |other| other.duplicate = true,
    ];
    for change in changes {
        let mut lines = Lines::default();
        let mut second = appended(7, 2);
        let first = Durable::new(1, lines.next('p', 1), appended(5, 2));
        let place = lines.next('p', 2);
        let together = runs(vec![first, Durable::new(2, place, second)]);
        assert_eq!(together, [(1, 2, 7)]);
        change(&mut second);
        let base = second.base_offset.to_i64();
        let apart = runs(vec![first, Durable::new(2, place, second)]);
        assert_eq!(apart, [(0, 1, 5), (0, 2, base)]);
    }
}

#[test]
fn no_run_goes_past_a_batch_of_an_unknown_partition() {
    let mut lines = Lines::default();
    let before = Durable::new(1, lines.next('p', 1), appended(0, 1));
    lines.forget();
    let after = Durable::new(3, lines.next('p', 3), appended(1, 1));
    assert_eq!(runs(vec![before, after]), [(0, 1, 0), (0, 3, 1)]);
}

#[test]
fn without_a_place_each_batch_has_its_own_ack() {
    let durable = (1..=3).map(|n| Durable::new(n, Place::default(), appended(n, 1)));
    assert_eq!(runs(durable.collect()), [(0, 1, 1), (0, 2, 2), (0, 3, 3)]);
}

#[test]
fn a_session_remembers_so_many_partitions_and_no_more() {
    let mut lines = Lines::default();
    let most = MAX_LINES as u64;
    for number in 1..=most {
        assert_eq!(lines.next(number, number).previous, 0);
    }
    assert_eq!(lines.next(1, most + 1).previous, 1, "known ones stay");
    assert_eq!(lines.next(0, most + 2).previous, 0);
    assert_eq!(lines.latest.len(), 1);
    assert_eq!(lines.next(1, most + 3).previous, 0, "it was forgotten");
}

/// A batch of a session, and what becomes of it.
#[derive(Debug, Clone)]
struct Story {
    partition: u8,
    records: u32,
    /// Records of others that come before it.
    between: u64,
    time: i64,
    duplicate: bool,
    /// Refused, and by which step.
    end: End,
    /// The message that answers it, and where in that.
    message: u8,
    place: u16,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Durable,
    Refused,
    Nowhere,
}

fn story() -> impl Strategy<Value = Story> {
    let end = prop_oneof![
        12 => Just(End::Durable),
        1 => Just(End::Refused),
        1 => Just(End::Nowhere),
    ];
    let between = prop_oneof![6 => Just(0_u64), 1 => 1..3_u64];
    let time = prop_oneof![6 => Just(5_i64), 1 => Just(6_i64)];
    let duplicate = prop_oneof![6 => Just(false), 1 => Just(true)];
    let message = prop_oneof![6 => Just(0_u8), 1 => Just(1_u8)];
    let parts = (
        0..3_u8,
        1..4_u32,
        between,
        time,
        duplicate,
        end,
        message,
        any::<u16>(),
    );
    parts.prop_map(
        |(partition, records, between, time, duplicate, end, message, place)| Story {
            partition,
            records,
            between,
            time,
            duplicate,
            end,
            message,
            place,
        },
    )
}

/// Where the batches that are durable lie, by number.
fn appended_by_number(stories: &[Story]) -> BTreeMap<u64, Appended> {
    let mut next = [0; 3];
    let mut all = BTreeMap::new();
    for (number, story) in (1..).zip(stories) {
        if story.end != End::Durable {
            continue;
        }
        let next: &mut u64 = &mut next[story.partition as usize];
        let base = *next + story.between;
        *next = base + u64::from(story.records);
        let appended = Appended {
            append_time: Timestamp(story.time),
            duplicate: story.duplicate,
            ..appended(base, story.records)
        };
        all.insert(number, appended);
    }
    all
}

/// What a client makes of an ack, from what it sent alone.
fn meant(ack: &v1::BatchAck, stories: &[Story]) -> Vec<(u64, Appended)> {
    let sent = |number: u64| &stories[usize::try_from(number - 1).unwrap()];
    let first = match ack.first_number {
        0 => ack.number,
        first => first,
    };
    let partition = sent(ack.number).partition;
    let mut meant = Vec::new();
    let mut end = ack.base_offset + i64::from(sent(ack.number).records);
    for number in (first..=ack.number).rev() {
        if sent(number).partition == partition {
            let records = sent(number).records;
            end -= i64::from(records);
            let appended = Appended {
                append_time: Timestamp(ack.append_time),
                duplicate: ack.duplicate,
                ..appended(u64::try_from(end).unwrap(), records)
            };
            meant.push((number, appended));
        }
    }
    meant
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn acks_say_of_each_batch_what_became_of_it_and_are_as_few_as_may_be(
        stories in vec(story(), 1..40),
    ) {
        let mut lines = Lines::default();
        let places: Vec<Place> = (1..)
            .zip(&stories)
            .map(|(number, story)| match story.end {
                End::Nowhere => {
                    lines.forget();
                    Place::default()
                }
                End::Durable | End::Refused => lines.next(story.partition, number),
            })
            .collect();
        let truth = appended_by_number(&stories);
        let mut told = BTreeMap::new();
        for message in 0..2 {
            let mut mine: Vec<(u16, Durable)> = truth
                .iter()
                .map(|(number, appended)| (*number, usize::try_from(number - 1).unwrap(), appended))
                .filter(|(_, at, _)| stories[*at].message == message)
                .map(|(number, at, appended)| {
                    (stories[at].place, Durable::new(number, places[at], *appended))
                })
                .collect();
            mine.sort_by_key(|(place, _)| *place);
            let mut durable: Vec<Durable> = mine.into_iter().map(|(_, batch)| batch).collect();
            let fewest = durable.iter().filter(|batch| {
                !durable.iter().any(|other| (*other).clone().take_up(batch))
            });
            let fewest = fewest.count();
            let acks = acks(&mut durable);
            prop_assert_eq!(acks.len(), fewest);
            for ack in &acks {
                for (number, appended) in meant(ack, &stories) {
                    let at = usize::try_from(number - 1).unwrap();
                    prop_assert_eq!(stories[at].message, message, "{} is not in the message", number);
                    prop_assert_eq!(told.insert(number, appended), None, "{} is told twice", number);
                }
            }
        }
        prop_assert_eq!(told, truth);
    }
}
