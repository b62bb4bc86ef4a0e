//! The model: it keeps all that was ever applied or proposed, and searches it.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum What {
    Batch(Sequenced),
    Fence(ProducerId, ProducerEpoch),
}

impl What {
    pub(super) fn producer(&self) -> ProducerId {
        match self {
            Self::Batch(batch) => batch.producer(),
            Self::Fence(producer, _) => *producer,
        }
    }

    /// The epoch and the sequence that comes next.
    pub(super) fn tail(&self) -> (ProducerEpoch, Sequence) {
        match self {
            Self::Batch(batch) => (batch.epoch(), batch.next()),
            Self::Fence(_, epoch) => (*epoch, Sequence(0)),
        }
    }

    pub(super) fn records(&self) -> u64 {
        match self {
            Self::Batch(batch) => batch.count().into(),
            Self::Fence(..) => 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Entry {
    pub(super) what: What,
    pub(super) base_offset: u64,
    pub(super) append_time: i64,
}

/// Everything that was applied and is remembered, and everything in flight, in order.
#[derive(Debug, Default)]
pub(super) struct Model {
    applied: Vec<Entry>,
    /// When each producer last appended or was fenced.
    times: BTreeMap<ProducerId, i64>,
    /// A fence that ends nothing has no proposal.
    pub(super) in_flight: Vec<(Entry, Option<Proposal>)>,
    pub(super) sent: Vec<Sequenced>,
    pub(super) offset: u64,
    /// Everybody who was ever forgotten, with the last epoch.
    forgotten: Vec<(ProducerId, ProducerEpoch)>,
}

/// Half of the producers have a name.
pub(super) fn id(producer: u8) -> ProducerId {
    match producer % 2 {
        0 => ProducerId(producer.into()),
        _ => ProducerId(ProducerId::FIRST_NAMED.0 + u64::from(producer)),
    }
}

pub(super) fn week() -> i64 {
    i64::try_from(EXPIRY.as_millis()).unwrap()
}

impl Model {
    fn of(&self, producer: ProducerId) -> Vec<Entry> {
        let mine = |entry: &&Entry| entry.what.producer() == producer;
        self.applied.iter().filter(mine).copied().collect()
    }

    pub(super) fn tail(&self, producer: ProducerId, now: i64) -> Option<(ProducerEpoch, Sequence)> {
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
    pub(super) fn left(&self, producer: ProducerId) -> Option<ProducerEpoch> {
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

    pub(super) fn judge(&self, batch: &Sequenced, now: i64) -> Judgement {
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
    pub(super) fn apply(&mut self, entry: Entry) {
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
