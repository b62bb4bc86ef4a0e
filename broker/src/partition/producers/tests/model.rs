//! The table against a model that keeps everything and searches: random batches, repetitions and
//! gaps, commits, changes of leader, and restarts of the follower from a snapshot.

use proptest::prelude::*;

use super::*;

const CAPACITY: usize = 3;

/// What a producer does next, relative to what the model expects of it.
#[derive(Debug, Clone)]
enum Op {
    /// A batch of this producer, `epoch_step` epochs on, `shift` sequences off the expected one.
    Send {
        producer: u8,
        epoch_step: i16,
        shift: i32,
        count: i32,
    },
    /// The batch that this producer sent so many batches ago, once more.
    Repeat { producer: u8, back: usize },
    /// So many entries are committed and applied everywhere.
    Commit(usize),
    /// The follower becomes leader; what was not committed is lost.
    ChangeLeader,
    /// The follower starts again from its snapshot.
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    batch: Sequenced,
    base_offset: u64,
    append_time: i64,
}

/// Everything that was applied and not evicted, and everything in flight, in order.
#[derive(Debug, Default)]
struct Model {
    applied: Vec<Entry>,
    in_flight: Vec<(Entry, Proposal)>,
    sent: Vec<Sequenced>,
    offset: u64,
}

impl Model {
    fn of(&self, producer: ProducerId) -> Vec<Entry> {
        let mine = |entry: &&Entry| entry.batch.producer() == producer;
        self.applied.iter().filter(mine).copied().collect()
    }

    fn last(&self, producer: ProducerId) -> Option<Sequenced> {
        let flying = self.in_flight.iter().map(|(entry, _)| entry.batch);
        let mut all = self.applied.iter().map(|entry| entry.batch).chain(flying);
        all.rfind(|batch| batch.producer() == producer)
    }

    fn judge(&self, batch: &Sequenced) -> Judgement {
        let last = self.last(batch.producer());
        let epoch = last.map_or(batch.epoch(), |last| last.epoch());
        if batch.epoch() < epoch {
            return Judgement::Fenced { current: epoch };
        }
        let continued = last.filter(|last| last.epoch() == batch.epoch());
        let expected = continued.map_or(Sequence(0), |last| last.next());
        if batch.base() == expected {
            return Judgement::Fresh;
        }
        if let Some((_, proposal)) = self
            .in_flight
            .iter()
            .find(|(entry, _)| entry.batch == *batch)
        {
            return Judgement::DuplicateInFlight(*proposal);
        }
        let mut mine = self.of(batch.producer());
        mine.retain(|entry| entry.batch.epoch() == batch.epoch());
        if let Some(same) = mine
            .iter()
            .rev()
            .take(5)
            .find(|entry| entry.batch == *batch)
        {
            return Judgement::Duplicate {
                base_offset: Offset(same.base_offset),
                append_time: Timestamp(same.append_time),
            };
        }
        let sequences = |batch: &Sequenced| batch.base().0..batch.base().0 + batch.count() as i32;
        let known = |sequence| {
            mine.iter()
                .any(|entry| sequences(&entry.batch).contains(&sequence))
        };
        if sequences(batch).all(known) {
            return Judgement::OldDuplicate;
        }
        Judgement::Gap { expected }
    }

    /// Applies an entry and evicts as the table should.
    fn apply(&mut self, entry: Entry) {
        let producer = entry.batch.producer();
        let known = self.of(producer).last().map(|last| last.batch);
        let continues = known.is_some_and(|last| {
            last.epoch() == entry.batch.epoch() && last.next() == entry.batch.base()
        });
        if !continues {
            self.applied
                .retain(|other| other.batch.producer() != producer);
        }
        self.applied.push(entry);
        let mut last_times: BTreeMap<ProducerId, i64> = BTreeMap::new();
        for entry in &self.applied {
            last_times.insert(entry.batch.producer(), entry.append_time);
        }
        if last_times.len() > CAPACITY {
            let others = last_times.iter().filter(|(id, _)| **id != producer);
            let oldest = others.min_by_key(|(id, time)| (**time, **id));
            let (oldest, _) = oldest.expect("more than one producer");
            let oldest = *oldest;
            self.applied
                .retain(|entry| entry.batch.producer() != oldest);
        }
    }
}

/// Two replicas and the model, in one history.
struct World {
    leader: Producers,
    follower: Producers,
    model: Model,
    now: i64,
    proposals: u64,
    log: Vec<Entry>,
}

impl World {
    fn new() -> Self {
        Self {
            leader: Producers::with_capacity(CAPACITY),
            follower: Producers::with_capacity(CAPACITY),
            model: Model::default(),
            now: 0,
            proposals: 0,
            log: Vec::new(),
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Send {
                producer,
                epoch_step,
                shift,
                count,
            } => {
                let last = self.model.last(ProducerId(producer.into()));
                let epoch = last.map_or(0, |last| last.epoch().0 as i16) + epoch_step;
                let next = last.map_or(0, |last| last.next().0);
                let expected = if epoch_step > 0 { 0 } else { next };
                let base = (expected + shift).max(0);
                self.send(batch(producer.into(), epoch.max(0), base, count));
            }
            Op::Repeat { producer, back } => {
                let mine = |batch: &&Sequenced| batch.producer() == ProducerId(producer.into());
                let sent = self.model.sent.iter().rev().filter(mine).nth(back).copied();
                if let Some(batch) = sent {
                    self.send(batch);
                }
            }
            Op::Commit(entries) => (0..entries).for_each(|_| self.commit()),
            Op::ChangeLeader => {
                self.leader.reset_in_flight();
                self.model.in_flight.clear();
                self.model.offset = self
                    .log
                    .iter()
                    .map(|entry| u64::from(entry.batch.count()))
                    .sum();
                std::mem::swap(&mut self.leader, &mut self.follower);
            }
            Op::Restart => {
                self.follower = Producers::restore(&self.follower.snapshot()).unwrap();
                self.follower.capacity = CAPACITY;
            }
        }
    }

    fn send(&mut self, batch: Sequenced) {
        let judgement = self.leader.judge(&batch);
        assert_eq!(judgement, self.model.judge(&batch), "{batch:?}");
        if judgement != Judgement::Fresh {
            return;
        }
        self.now += i64::from(batch.count()) % 3;
        self.proposals += 1;
        let proposal = Proposal(self.proposals);
        let entry = Entry {
            batch,
            base_offset: self.model.offset,
            append_time: self.now,
        };
        self.model.offset += u64::from(batch.count());
        self.model.sent.push(batch);
        self.model.in_flight.push((entry, proposal));
        self.leader.propose(batch, proposal);
    }

    fn commit(&mut self) {
        if self.model.in_flight.is_empty() {
            return;
        }
        let (entry, _) = self.model.in_flight.remove(0);
        self.model.apply(entry);
        self.log.push(entry);
        apply(&mut self.leader, &entry);
        apply(&mut self.follower, &entry);
    }
}

fn apply(producers: &mut Producers, entry: &Entry) {
    let offset = Offset(entry.base_offset);
    producers.applied(&entry.batch, offset, Timestamp(entry.append_time));
}

fn any_op() -> impl Strategy<Value = Op> {
    let epoch_step = prop_oneof![20 => Just(0_i16), 1 => Just(1), 1 => Just(-1)];
    let shift = prop_oneof![8 => Just(0), 1 => -12..12];
    let send = (0_u8..5, epoch_step, shift, 1..4);
    prop_oneof![
        12 => send.prop_map(|(producer, epoch_step, shift, count)| Op::Send {
            producer, epoch_step, shift, count,
        }),
        4 => (0_u8..5, 0_usize..9).prop_map(|(producer, back)| Op::Repeat { producer, back }),
        6 => (1_usize..6).prop_map(Op::Commit),
        1 => Just(Op::ChangeLeader),
        1 => Just(Op::Restart),
    ]
}

proptest! {
    #[test]
    fn the_table_judges_as_the_model_does_and_replicas_agree(
        ops in prop::collection::vec(any_op(), 0..120),
    ) {
        let mut world = World::new();
        for op in &ops {
            world.step(op);
        }
        let mut replayed = Producers::with_capacity(CAPACITY);
        for entry in &world.log {
            apply(&mut replayed, entry);
        }
        prop_assert_eq!(world.leader.snapshot(), replayed.snapshot());
        prop_assert_eq!(world.follower.snapshot(), replayed.snapshot());
    }
}
