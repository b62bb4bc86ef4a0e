//! The producer's sessions, one per broker, and the partitions that wait for one.

use std::collections::HashMap;

use highwater_proto::PartitionIndex;
use highwater_proto::pb::v1;

use super::session::{Acked, Outgoing, Sent, Session, Target};
use crate::channels::Address;
use crate::producer::lane::{Attempt, SessionId};

/// What sending a batch came to.
#[derive(Debug)]
pub(crate) enum Offer {
    /// It was sent.
    Sent(Attempt),
    /// The broker's credit is used up; the partition is looked at again when some is free.
    NoCredit,
    /// There is no open session.
    Closed,
}

/// Whether batches can be sent to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// A session is open.
    Open,
    /// A session is being opened; the partition is looked at when it is.
    Opening,
    /// There was none: the caller opens one with this id.
    ToOpen(SessionId),
}

#[derive(Debug)]
struct Line {
    session: Option<Session>,
    waiting: Vec<PartitionIndex>,
}

/// All sessions of a producer.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    lines: HashMap<Address, Line>,
    addresses: HashMap<SessionId, Address>,
    last_id: u64,
}

impl Sessions {
    /// Whether `partition` can send to `address` now; if not, it waits.
    pub(crate) fn state(&mut self, address: &Address, partition: PartitionIndex) -> State {
        if let Some(line) = self.lines.get_mut(address) {
            if line.session.is_some() {
                return State::Open;
            }
            line.wait(partition);
            return State::Opening;
        }
        self.last_id += 1;
        let id = SessionId(self.last_id);
        let line = Line {
            session: None,
            waiting: vec![partition],
        };
        self.lines.insert(address.clone(), line);
        self.addresses.insert(id, address.clone());
        State::ToOpen(id)
    }

    /// The session is open. Gives the partitions that waited for it.
    pub(crate) fn opened(&mut self, address: &Address, session: Session) -> Vec<PartitionIndex> {
        let Some(line) = self.lines.get_mut(address) else {
            return Vec::new();
        };
        line.session = Some(session);
        std::mem::take(&mut line.waiting)
    }

    /// The session broke or could not be opened. Gives what was not answered, and who waited.
    pub(crate) fn close(&mut self, id: SessionId) -> (Vec<Sent>, Vec<PartitionIndex>) {
        let address = self.addresses.remove(&id);
        let Some(line) = address.and_then(|address| self.lines.remove(&address)) else {
            return (Vec::new(), Vec::new());
        };
        let lost = line.session.into_iter().flat_map(Session::into_lost);
        (lost.collect(), line.waiting)
    }

    /// Sends a batch if the session is open and has credit; if it has none, the partition waits.
    pub(crate) fn offer(&mut self, address: &Address, target: &Target, batch: Outgoing) -> Offer {
        let Some(line) = self.lines.get_mut(address) else {
            return Offer::Closed;
        };
        match &mut line.session {
            None => Offer::Closed,
            Some(session) if session.has_credit(batch.bytes.len()) => {
                Offer::Sent(session.send(target, batch))
            }
            Some(_) => {
                line.wait(batch.partition);
                Offer::NoCredit
            }
        }
    }

    /// Whether a new batch of the partition could be sent now; if not, the partition waits.
    pub(crate) fn has_credit(&mut self, address: &Address, partition: PartitionIndex) -> bool {
        let Some(line) = self.lines.get_mut(address) else {
            return false;
        };
        let has_credit = line.session.as_ref().is_some_and(|s| s.has_credit(1));
        if !has_credit {
            line.wait(partition);
        }
        has_credit
    }

    /// The batch that an error is about.
    pub(crate) fn answered(&mut self, id: SessionId, number: u64) -> Option<Sent> {
        self.session(id)?.answered(number)
    }

    /// Adds the batches that an ack is about to `acked`, the last one first.
    pub(crate) fn acknowledged(
        &mut self,
        id: SessionId,
        ack: &v1::BatchAck,
        acked: &mut Vec<Acked>,
    ) {
        if let Some(session) = self.session(id) {
            session.acknowledged(ack, acked);
        }
    }

    fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        let line = self.lines.get_mut(self.addresses.get(&id)?)?;
        line.session.as_mut()
    }

    /// Gives up waiting for the answers to a partition's batches on this session.
    pub(crate) fn abandon(&mut self, id: SessionId, partition: PartitionIndex) -> Vec<Sent> {
        let session = self.session(id);
        session.map_or_else(Vec::new, |session| session.abandon(partition))
    }

    /// The partitions that waited for credit of this session.
    pub(crate) fn take_waiting(&mut self, id: SessionId) -> Vec<PartitionIndex> {
        let address = self.addresses.get(&id);
        let line = address.and_then(|address| self.lines.get_mut(address));
        line.map_or_else(Vec::new, |line| std::mem::take(&mut line.waiting))
    }
}

impl Line {
    fn wait(&mut self, partition: PartitionIndex) {
        if !self.waiting.contains(&partition) {
            self.waiting.push(partition);
        }
    }
}
