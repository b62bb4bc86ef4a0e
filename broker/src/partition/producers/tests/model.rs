//! The table against a model that keeps everything and searches: random batches, repetitions and
//! gaps, commits, changes of leader, and restarts of the follower from a snapshot.

use proptest::prelude::*;

use super::*;

mod everything;

use everything::{Entry, Model, What, id, week};

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
