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
    /// The epochs of this producer below its current one plus so many end.
    Fence { producer: u8, epoch_step: i16 },
    /// So many thirds of the time after which a producer is forgotten go by.
    Wait(i64),
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
enum What {
    Batch(Sequenced),
    Fence(ProducerId, ProducerEpoch),
}

impl What {
    fn producer(&self) -> ProducerId {
        match self {
            Self::Batch(batch) => batch.producer(),
            Self::Fence(producer, _) => *producer,
        }
    }

    /// The epoch and the sequence that comes next.
    fn tail(&self) -> (ProducerEpoch, Sequence) {
        match self {
            Self::Batch(batch) => (batch.epoch(), batch.next()),
            Self::Fence(_, epoch) => (*epoch, Sequence(0)),
        }
    }

    fn records(&self) -> u64 {
        match self {
            Self::Batch(batch) => batch.count().into(),
            Self::Fence(..) => 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    what: What,
    base_offset: u64,
    append_time: i64,
}

/// Everything that was applied and is remembered, and everything in flight, in order.
#[derive(Debug, Default)]
struct Model {
    applied: Vec<Entry>,
    /// When each producer last appended or was fenced.
    times: BTreeMap<ProducerId, i64>,
    /// A fence that ends nothing has no proposal.
    in_flight: Vec<(Entry, Option<Proposal>)>,
    sent: Vec<Sequenced>,
    offset: u64,
    /// Everybody who was ever forgotten, with the last epoch.
    forgotten: Vec<(ProducerId, ProducerEpoch)>,
}

/// Half of the producers have a name.
fn id(producer: u8) -> ProducerId {
    match producer % 2 {
        0 => ProducerId(producer.into()),
        _ => ProducerId(ProducerId::FIRST_NAMED.0 + u64::from(producer)),
    }
}

fn week() -> i64 {
    i64::try_from(EXPIRY.as_millis()).unwrap()
}

impl Model {
    fn of(&self, producer: ProducerId) -> Vec<Entry> {
        let mine = |entry: &&Entry| entry.what.producer() == producer;
        self.applied.iter().filter(mine).copied().collect()
    }

    fn tail(&self, producer: ProducerId, now: i64) -> Option<(ProducerEpoch, Sequence)> {
        let mut flying = self.in_flight.iter().rev();
        let flying = flying
            .find(|(entry, proposal)| entry.what.producer() == producer && proposal.is_some());
        if let Some((entry, _)) = flying {
            return Some(entry.what.tail());
        }
        let time = *self.times.get(&producer)?;
        let last = self.of(producer).last().map(|last| last.what.tail());
        last.filter(|_| now - time <= week())
    }

    /// The last epoch of a producer that is not remembered in which it may have written.
    fn left(&self, producer: ProducerId) -> Option<ProducerEpoch> {
        if let Some(last) = self.of(producer).last() {
            return Some(last.what.tail().0);
        }
        let mut forgotten = self.forgotten.iter().rev();
        if producer.is_named() {
            let same = forgotten.find(|(id, _)| *id == producer);
            return same.map(|(_, epoch)| *epoch);
        }
        let later = forgotten.find(|(id, _)| *id >= producer && !id.is_named());
        later.map(|_| ProducerEpoch(u16::MAX))
    }

    fn judge(&self, batch: &Sequenced, now: i64) -> Judgement {
        let tail = self.tail(batch.producer(), now);
        if tail.is_none() {
            let named = batch.producer().is_named();
            return match self.left(batch.producer()) {
                Some(current) if named && batch.epoch() < current => Judgement::Fenced { current },
                Some(last) if !named || batch.epoch() <= last => Judgement::Unknown,
                _ if batch.base() != Sequence(0) => Judgement::Unknown,
                _ => Judgement::Fresh,
            };
        }
        let expected = match tail {
            Some((current, _)) if batch.epoch() < current => {
                return Judgement::Fenced { current };
            }
            Some((current, next)) if batch.epoch() == current => next,
            Some(_) | None => Sequence(0),
        };
        match tail {
            _ if batch.base() == expected => return Judgement::Fresh,
            None => return Judgement::Unknown,
            Some((current, _)) if batch.epoch() > current => {
                return Judgement::Gap { expected };
            }
            Some(_) => {}
        }
        let what = What::Batch(*batch);
        let mut flying = self.in_flight.iter();
        if let Some((_, Some(proposal))) = flying.find(|(entry, _)| entry.what == what) {
            return Judgement::DuplicateInFlight(*proposal);
        }
        let mut mine = self.of(batch.producer());
        mine.retain(|entry| {
            let is_batch = matches!(entry.what, What::Batch(_));
            is_batch && entry.what.tail().0 == batch.epoch()
        });
        let same = mine.iter().rev().take(5).find(|entry| entry.what == what);
        if let Some(same) = same {
            return Judgement::Duplicate {
                base_offset: Offset(same.base_offset),
                append_time: Timestamp(same.append_time),
            };
        }
        let sequences = |batch: &Sequenced| batch.base().0..batch.base().0 + batch.count() as i32;
        let known = |sequence| {
            mine.iter().any(|entry| match &entry.what {
                What::Batch(batch) => sequences(batch).contains(&sequence),
                What::Fence(..) => false,
            })
        };
        if sequences(batch).all(known) {
            return Judgement::OldDuplicate;
        }
        Judgement::Gap { expected }
    }

    fn forget_for_good(&mut self, producer: ProducerId) {
        let last = self.of(producer).last().map(|last| last.what.tail().0);
        self.times.remove(&producer);
        self.forgotten.extend(last.map(|epoch| (producer, epoch)));
        self.forget(producer);
    }

    fn forget(&mut self, producer: ProducerId) {
        self.applied
            .retain(|other| other.what.producer() != producer);
    }

    /// Applies an entry, and forgets as the table should.
    fn apply(&mut self, entry: Entry) {
        let over = |time: i64| entry.append_time - time > week();
        for (id, time) in self.times.clone() {
            if over(time) {
                self.forget_for_good(id);
            }
        }
        let producer = entry.what.producer();
        let left = self
            .left(producer)
            .filter(|_| !self.times.contains_key(&producer));
        if let What::Fence(_, epoch) = entry.what
            && left.is_some_and(|left| left >= epoch)
        {
            return;
        }
        let known = self.of(producer).last().map(|last| last.what.tail());
        let stays = known.is_some_and(|(epoch, next)| match entry.what {
            What::Batch(batch) => (epoch, next) == (batch.epoch(), batch.base()),
            What::Fence(_, fenced) => fenced <= epoch,
        });
        if !stays {
            self.forget(producer);
        }
        if !stays || matches!(entry.what, What::Batch(_)) {
            self.applied.push(entry);
        }
        self.times.insert(producer, entry.append_time);
        if self.times.len() > CAPACITY {
            let others = self.times.iter().filter(|(id, _)| **id != producer);
            let oldest = others.min_by_key(|(id, time)| (**time, **id));
            let (oldest, _) = oldest.expect("more than one producer");
            self.forget_for_good(*oldest);
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
            leader: Producers::with_capacity(CAPACITY, MAX_FORGOTTEN),
            follower: Producers::with_capacity(CAPACITY, MAX_FORGOTTEN),
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
                let tail = self.model.tail(id(producer), self.now);
                let (epoch, next) = tail.map_or((0, 0), |(e, next)| (e.0 as i16, next.0));
                let epoch = epoch + epoch_step;
                let expected = if epoch_step > 0 { 0 } else { next };
                let base = (expected + shift).max(0);
                let id = i64::try_from(id(producer).0).unwrap();
                self.send(batch(id, epoch.max(0), base, count));
            }
            Op::Fence {
                producer,
                epoch_step,
            } if id(producer).is_named() => self.fence(id(producer), epoch_step),
            // Those without a name have one epoch.
            Op::Fence { .. } => {}
            Op::Wait(thirds) => self.now += week() / 3 * thirds,
            Op::Repeat { producer, back } => {
                let mine = |batch: &&Sequenced| batch.producer() == id(producer);
                let sent = self.model.sent.iter().rev().filter(mine).nth(back).copied();
                if let Some(batch) = sent {
                    self.send(batch);
                }
            }
            Op::Commit(entries) => (0..entries).for_each(|_| self.commit()),
            Op::ChangeLeader => {
                self.leader.reset_in_flight();
                self.model.in_flight.clear();
                self.model.offset = self.log.iter().map(|entry| entry.what.records()).sum();
                std::mem::swap(&mut self.leader, &mut self.follower);
            }
            Op::Restart => {
                self.follower = restored(&self.follower).unwrap();
                self.follower.capacity = CAPACITY;
            }
        }
    }

    fn send(&mut self, batch: Sequenced) {
        let judgement = self.leader.judge(&batch, Timestamp(self.now));
        assert_eq!(judgement, self.model.judge(&batch, self.now), "{batch:?}");
        if judgement != Judgement::Fresh {
            return;
        }
        self.now += i64::from(batch.count()) % 3;
        let proposal = self.push(What::Batch(batch), true);
        self.model.sent.push(batch);
        self.leader.propose(batch, proposal);
    }

    fn fence(&mut self, producer: ProducerId, epoch_step: i16) {
        let tail = self.model.tail(producer, self.now).map(|(epoch, _)| epoch);
        let current = tail.or_else(|| self.model.left(producer));
        let epoch = current.map_or(0, |epoch| epoch.0 as i16) + epoch_step;
        let epoch = ProducerEpoch(epoch.max(0) as u16);
        let raises = current.is_none_or(|current| current < epoch);
        assert!(!raises || !self.leader.is_fenced(producer, epoch));
        self.push(What::Fence(producer, epoch), raises);
        self.leader.propose_fence(producer, epoch);
    }

    fn push(&mut self, what: What, raises: bool) -> Proposal {
        self.proposals += 1;
        let proposal = Proposal(self.proposals);
        let entry = Entry {
            what,
            base_offset: self.model.offset,
            append_time: self.now,
        };
        self.model.offset += what.records();
        self.model
            .in_flight
            .push((entry, raises.then_some(proposal)));
        proposal
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
    let (offset, time) = (Offset(entry.base_offset), Timestamp(entry.append_time));
    match entry.what {
        What::Batch(batch) => producers.applied(&batch, offset, time),
        What::Fence(producer, epoch) => producers.fenced(producer, epoch, time),
    }
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
        2 => (0_u8..5, -1_i16..3).prop_map(|(producer, epoch_step)| Op::Fence {
            producer, epoch_step,
        }),
        1 => (1_i64..5).prop_map(Op::Wait),
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
        let mut replayed = Producers::with_capacity(CAPACITY, MAX_FORGOTTEN);
        for entry in &world.log {
            apply(&mut replayed, entry);
        }
        for replica in [&world.leader, &world.follower] {
            prop_assert_eq!(replica.snapshot(), replayed.snapshot());
            prop_assert_eq!(replica.forgotten(), replayed.forgotten());
        }
        let mut written = BTreeSet::new();
        for entry in &world.log {
            let What::Batch(batch) = entry.what else {
                continue;
            };
            for sequence in (batch.base().0..).take(batch.count() as usize) {
                let new = written.insert((batch.producer(), batch.epoch(), sequence));
                prop_assert!(new, "{batch:?} is in the log twice");
            }
        }
    }
}
