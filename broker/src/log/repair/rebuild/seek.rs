//! A newest file whose header is lost goes on behind the last entry that another replica has, too: as
//! a cut there, if more than that is left before it.

use highwater_proto::LogIndex;

use super::Rebuild;
use crate::log::repair::past::Next;
use crate::log::repair::{RepairError, Supply};

impl Rebuild {
    /// Goes on with the search, if there is one: the entry to be asked for next, or none if the
    /// answer has what the file goes on with.
    pub(super) fn seek(&mut self, supply: &Supply) -> Result<Option<LogIndex>, RepairError> {
        let Some(search) = &mut self.search else {
            return Ok(None);
        };
        let ((at, tail), is_next) = match search.take(&self.name, supply)? {
            Next::Ask(behind) => return Ok(Some(behind.next())),
            Next::Found(joint, is_next) => (joint, is_next),
        };
        self.header.first_index = tail.next_index;
        self.header.first_offset = tail.next_offset;
        self.header.previous = tail.last();
        self.header.continues = Some(at);
        self.header.durable = at;
        self.tail = tail;
        self.search = None;
        Ok((!is_next).then_some(tail.next_index))
    }
}
