use super::*;

const NOW: Timestamp = Timestamp(1_000_000);

fn name(text: &str) -> ProducerName {
    ProducerName::parse(text).unwrap()
}

fn partition(number: u32) -> (TopicId, PartitionIndex) {
    (TopicId::from_bytes([7; 16]), PartitionIndex(number))
}

fn init(producers: &mut NamedProducers, text: &str, attempt: u64) -> ProducerIncarnation {
    producers.init(name(text), None, attempt, NOW).unwrap()
}

fn later(by: Duration) -> Timestamp {
    Timestamp(NOW.0 + i64::try_from(by.as_millis()).unwrap())
}

#[test]
fn a_name_keeps_its_id_and_each_asking_gets_the_next_epoch() {
    let mut producers = NamedProducers::default();
    let first = init(&mut producers, "a", 0);
    assert!(first.id.is_named());
    assert_eq!(first.epoch, ProducerEpoch(0));
    let second = init(&mut producers, "a", 0);
    assert_eq!((second.id, second.epoch), (first.id, ProducerEpoch(1)));
    let other = init(&mut producers, "b", 0);
    assert_ne!(other.id, first.id);
}

#[test]
fn an_asking_that_is_repeated_gets_the_same_epoch() {
    let mut producers = NamedProducers::default();
    let first = init(&mut producers, "a", 5);
    assert_eq!(init(&mut producers, "a", 5), first);
    let second = init(&mut producers, "a", 6);
    assert_eq!(second.epoch, ProducerEpoch(1));
}

#[test]
fn a_late_copy_of_an_earlier_asking_does_not_take_the_name_back() {
    let mut producers = NamedProducers::default();
    let first = init(&mut producers, "a", 5);
    let second = init(&mut producers, "a", 6);
    for held in [None, Some(first)] {
        let late = producers.init(name("a"), held, 5, NOW).unwrap_err();
        assert_eq!(late.reason, Reason::ProducerFenced);
    }
    assert_eq!(producers.get(first.id).unwrap().incarnation, second);
    producers = NamedProducers::restore(&producers.snapshot(), 1).unwrap();
    let late = producers.init(name("a"), None, 5, NOW).unwrap_err();
    assert_eq!(late.reason, Reason::ProducerFenced);
    assert_eq!(init(&mut producers, "a", 6), second);
    // Askings without a number and long ago are no copies.
    for number in 0..MAX_PAST as u64 {
        init(&mut producers, "a", 0);
        init(&mut producers, "a", 100 + number);
    }
    assert_eq!(producers.get(first.id).unwrap().past.len(), MAX_PAST);
    let before = producers.get(first.id).unwrap().incarnation.epoch;
    assert_eq!(init(&mut producers, "a", 5).epoch.0, before.0 + 1);
}

#[test]
fn whoever_says_what_it_holds_goes_on_only_if_nobody_took_the_name() {
    let mut producers = NamedProducers::default();
    let first = init(&mut producers, "a", 1);
    let second = producers.init(name("a"), Some(first), 2, NOW).unwrap();
    assert_eq!(second.epoch, ProducerEpoch(1));
    // Repeated, it is the same asking.
    assert_eq!(producers.init(name("a"), Some(first), 2, NOW), Ok(second));
    let late = producers.init(name("a"), Some(first), 3, NOW).unwrap_err();
    assert_eq!(late.reason, Reason::ProducerFenced);
    let unknown = producers.init(name("b"), Some(first), 4, NOW).unwrap_err();
    assert_eq!(unknown.reason, Reason::UnknownProducer);
}

#[test]
fn only_the_current_epoch_may_register_and_partitions_stay_for_the_next() {
    let mut producers = NamedProducers::default();
    let first = init(&mut producers, "a", 0);
    producers.register(first, partition(1), NOW).unwrap();
    let second = init(&mut producers, "a", 0);
    let zombie = producers.register(first, partition(2), NOW).unwrap_err();
    assert_eq!(zombie.reason, Reason::ProducerFenced);
    producers.register(second, partition(3), NOW).unwrap();
    let ahead = ProducerIncarnation {
        epoch: ProducerEpoch(9),
        ..second
    };
    let ahead = producers.register(ahead, partition(2), NOW).unwrap_err();
    assert_eq!(ahead.reason, Reason::UnknownProducer);
    let known = producers.get(second.id).unwrap();
    assert_eq!(
        known.partitions,
        BTreeSet::from([partition(1), partition(3)])
    );
    producers.forget_topic(partition(0).0);
    assert!(producers.get(second.id).unwrap().partitions.is_empty());
}

#[test]
fn a_name_whose_epochs_ran_out_goes_on_with_another_id_and_knows_the_old_one() {
    let mut producers = NamedProducers::default();
    let first = init(&mut producers, "a", 0);
    producers.register(first, partition(1), NOW).unwrap();
    for _ in 0..i16::MAX {
        init(&mut producers, "a", 0);
    }
    let last = producers.get(first.id).unwrap().incarnation;
    assert_eq!(last.epoch.0, i16::MAX.unsigned_abs());
    let fresh = init(&mut producers, "a", 0);
    assert_ne!(fresh.id, first.id);
    assert_eq!(fresh.epoch, ProducerEpoch(0));
    let known = producers.get(fresh.id).unwrap();
    assert_eq!(known.previous, Some(first.id));
    assert!(known.partitions.contains(&partition(1)), "to be fenced");
    assert!(producers.get(first.id).is_none());
    let zombie = producers.register(last, partition(1), NOW).unwrap_err();
    assert_eq!(zombie.reason, Reason::UnknownProducer);
}

#[test]
fn a_name_is_forgotten_four_weeks_after_its_last_use_and_its_id_never_comes_again() {
    let mut producers = NamedProducers::default();
    let first = init(&mut producers, "a", 0);
    producers
        .register(first, partition(1), later(EXPIRY))
        .unwrap();
    let kept = producers
        .init(name("a"), None, 0, later(2 * EXPIRY))
        .unwrap();
    assert_eq!((kept.id, kept.epoch), (first.id, ProducerEpoch(1)));
    let over = later(3 * EXPIRY + Duration::from_millis(1));
    let fresh = producers.init(name("b"), None, 0, over).unwrap();
    assert_ne!(fresh.id, first.id);
    assert!(producers.get(first.id).is_none());
    let again = producers.init(name("a"), None, 0, over).unwrap();
    assert!(again.id > fresh.id);
}

#[test]
fn names_are_bounded_and_a_full_table_says_so() {
    let mut producers = NamedProducers::default();
    let full: BTreeMap<_, _> = (0..MAX_NAMES)
        .map(|number| {
            let producer = NamedProducer {
                incarnation: producers.fresh().unwrap(),
                previous: None,
                touched: NOW,
                partitions: BTreeSet::new(),
                attempt: 0,
                past: Vec::new(),
            };
            (name(&number.to_string()), producer)
        })
        .collect();
    producers.producers = Arc::new(full);
    let refused = producers.init(name("x"), None, 0, NOW).unwrap_err();
    assert_eq!(refused.reason, Reason::TooManyProducers);
    producers.init(name("7"), None, 0, NOW).unwrap();
    let over = later(EXPIRY + Duration::from_millis(1));
    producers.init(name("x"), None, 0, over).unwrap();
    assert_eq!(producers.producers.len(), 1);
}

#[test]
fn a_saved_table_is_restored_and_a_damaged_one_refused() {
    let mut producers = NamedProducers::default();
    let first = init(&mut producers, "a", 3);
    producers.register(first, partition(1), NOW).unwrap();
    init(&mut producers, "b", 4);
    let saved = producers.snapshot();
    assert_eq!(NamedProducers::restore(&saved, 2).unwrap(), producers);
    let damages: [fn(&mut Vec<NamedProducerState>); 6] = [
        |m| m[0].past_attempts = vec![1; MAX_PAST + 1],
        |m| m[0].producer_id = 7,
        |m| m[0].producer_id = m[1].producer_id,
        |m| m[0].name = m[1].name.clone(),
        |m| m[0].name = String::new(),
        |m| m[0].epoch = 40_000,
    ];
    for (number, damage) in damages.iter().enumerate() {
        let mut damaged = saved.clone();
        damage(&mut damaged);
        assert!(NamedProducers::restore(&damaged, 2).is_err(), "{number}");
    }
    assert!(NamedProducers::restore(&saved, 1).is_err());
}
