//! The order of what one proposer hands over. The core may refuse an entry (it has not heard from a
//! majority for a lease) and take the next one, handed over before anybody knew of the refusal.
//! Entries of a line stand or fall together: after the first that is refused none is written.

use std::sync::Arc;

use tokio::sync::watch;

/// A line of proposals. What is in no line is taken or refused by itself.
#[derive(Debug, Clone, Default)]
pub struct Line(Option<Arc<watch::Sender<bool>>>);

impl Line {
    /// A line that is whole.
    pub fn begin() -> Self {
        Self(Some(Arc::new(watch::Sender::new(false))))
    }

    /// A line of which nothing is written any more: what is proposed in it becomes a blank entry,
    /// behind everything that was taken before.
    pub fn ended() -> Self {
        let line = Self::begin();
        line.cut();
        line
    }

    /// True once an entry of the line was refused.
    pub fn is_cut(&self) -> bool {
        let cut = self.0.as_ref();
        cut.is_some_and(|cut| *cut.borrow())
    }

    /// Tells when the line is cut; never, of what is in no line.
    pub fn cuts(&self) -> watch::Receiver<bool> {
        let cut = self.0.as_ref();
        cut.map_or_else(|| watch::channel(false).1, |cut| cut.subscribe())
    }

    /// The core calls this before it looks at the next proposal.
    pub(super) fn cut(&self) {
        if let Some(cut) = &self.0 {
            cut.send_replace(true);
        }
    }
}

/// Nothing of it is written: proposals with the same content are equal.
impl PartialEq for Line {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Line {}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use highwater_proto::{LogIndex, Term, Timestamp};
    use openraft::entry::RaftEntry;
    use openraft::errors::{ClientWriteError, ForwardToLeader};
    use openraft::raft::responder::Responder;

    use super::super::types::{Answer, Entry, Payload, Proposal, ProposalKind, is_refused, log_id};
    use super::*;

    fn is_written(line: &Line) -> bool {
        let proposal = Proposal {
            kind: ProposalKind::Batch,
            body: Bytes::new(),
            append_time: Timestamp(1),
            line: line.clone(),
        };
        let place = log_id(Term(1), LogIndex(1));
        let entry = Entry::new(place, Payload::Normal(proposal));
        matches!(entry.payload, Payload::Normal(_))
    }

    #[test]
    fn after_the_first_that_is_refused_nothing_of_a_line_is_written() {
        let (line, other) = (Line::begin(), Line::begin());
        let answer = |refused: bool| {
            let (answer, _fate) = Answer::channel(line.clone(), None, |refused: &bool| *refused);
            answer.on_complete(refused);
        };
        answer(false);
        assert!(is_written(&line));
        answer(true);
        assert!(line.is_cut() && !is_written(&line));
        assert!(is_written(&other) && is_written(&Line::default()));
        assert!(!is_written(&Line::ended()));
    }

    #[test]
    fn what_has_no_place_in_the_log_is_known_not_to_be_written() {
        let nowhere = || ForwardToLeader::empty();
        assert!(is_refused(&Err(ClientWriteError::ForwardToLeader(
            nowhere()
        ))));
        let cut_off = ClientWriteError::LogEntryDiscarded(nowhere());
        assert!(
            !is_refused(&Err(cut_off)),
            "another replica may have committed it"
        );
    }
}
