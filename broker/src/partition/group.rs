//! PURE. Batches that are proposed together: an entry costs the same for one small batch as for
//! many, so what waits for the append loop at the same time becomes one entry.

use bytes::{Bytes, BytesMut};
use highwater_proto::Term;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::append::{Request, Verdict};
use super::budget::Share;
use crate::log::Held;

/// The most bytes that are put together. Merging copies, and what is larger than this is not worth
/// a copy.
const MERGED_BYTES: usize = 64 << 10;

/// Batches of one term that were judged and are not yet proposed, in order.
#[derive(Default)]
pub(super) struct Group {
    requests: Vec<Request>,
    held: Vec<Held>,
    bytes: usize,
    term: Term,
}

/// An entry to propose, and whom to tell of it.
pub(super) struct Merged {
    pub(super) term: Term,
    pub(super) body: Bytes,
    pub(super) members: Vec<Member>,
    /// The room in the log that was granted to them.
    pub(super) held: Vec<Held>,
    /// Their shares of the budget.
    pub(super) share: Option<Share>,
}

/// One batch of an entry.
pub(super) struct Member {
    /// When it came to the partition.
    pub(super) arrived: Instant,
    pub(super) answer: oneshot::Sender<Verdict>,
    /// How many records of the entry come before it.
    pub(super) before: u64,
    pub(super) record_count: u32,
}

impl Group {
    /// Whether a batch of `len` bytes, judged in `term`, may join what is here.
    pub(super) fn admits(&self, len: usize, term: Term) -> bool {
        self.requests.is_empty() || (term == self.term && self.bytes + len <= MERGED_BYTES)
    }

    /// Adds a batch that the group admits.
    pub(super) fn push(&mut self, request: Request, term: Term, held: Option<Held>) {
        self.term = term;
        self.held.extend(held);
        self.bytes += request.batch.len();
        self.requests.push(request);
    }

    /// Takes everything as one entry; `None` when there is nothing.
    pub(super) fn take(&mut self) -> Option<Merged> {
        let requests = std::mem::take(&mut self.requests);
        let total = std::mem::take(&mut self.bytes);
        let merging = requests.len() > 1;
        let mut members = Vec::with_capacity(requests.len());
        let mut joined = BytesMut::with_capacity(if merging { total } else { 0 });
        let mut only = None;
        let mut share: Option<Share> = None;
        let mut before = 0;
        for Request {
            batch,
            arrived,
            share: own,
            answer,
        } in requests
        {
            match &mut share {
                Some(share) => share.merge(own),
                None => share = Some(own),
            }
            let record_count = batch.record_count();
            members.push(Member {
                arrived,
                answer,
                before,
                record_count,
            });
            before += u64::from(record_count);
            let bytes = batch.into_bytes();
            match merging {
                true => joined.extend_from_slice(&bytes),
                false => only = Some(bytes),
            }
        }
        let body = match merging {
            true => joined.freeze(),
            false => only?,
        };
        Some(Merged {
            term: self.term,
            body,
            members,
            held: std::mem::take(&mut self.held),
            share,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use highwater_proto::Timestamp;
    use highwater_proto::batch::{BatchBuilder, Codec, RecordBatch};

    use super::super::budget::Budget;
    use super::*;
    use crate::clock::monotonic;

    fn request(budget: &Budget, records: u32, value: usize) -> (Request, Bytes) {
        let mut builder = BatchBuilder::new();
        for _ in 0..records {
            builder.push(Timestamp(1), None, Some(&vec![7; value]), &[]);
        }
        let bytes = builder.build(Codec::None, None).unwrap();
        let batch = RecordBatch::parse(bytes.clone(), 1 << 20).unwrap();
        let answer = oneshot::channel().0;
        let len = u32::try_from(bytes.len()).unwrap();
        let request = Request {
            batch,
            arrived: monotonic(),
            share: budget.share(len).now_or_never().unwrap().unwrap(),
            answer,
        };
        (request, bytes)
    }

    #[test]
    fn small_batches_become_one_entry_in_their_order() {
        let (mut group, budget) = (Group::default(), Budget::default());
        let mut expected = Vec::new();
        for records in [3, 1, 2] {
            let (request, bytes) = request(&budget, records, 100);
            assert!(group.admits(bytes.len(), Term(4)));
            group.push(request, Term(4), None);
            expected.extend_from_slice(&bytes);
        }
        let merged = group.take().unwrap();
        assert_eq!((merged.term, &merged.body[..]), (Term(4), &expected[..]));
        let places = merged.members.iter().map(|m| (m.before, m.record_count));
        assert_eq!(places.collect::<Vec<_>>(), [(0, 3), (3, 1), (4, 2)]);
        assert!(group.take().is_none());

        assert_eq!(
            budget.taken(),
            expected.len() as u64,
            "also of those nobody waits for"
        );
        drop(merged.share);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn a_batch_alone_is_not_copied() {
        let mut group = Group::default();
        let (request, bytes) = request(&Budget::default(), 1, 100_000);
        assert!(group.admits(bytes.len(), Term(1)), "any batch may be first");
        group.push(request, Term(1), None);
        assert!(!group.admits(100, Term(1)), "it is large enough");
        assert_eq!(group.take().unwrap().body.as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn batches_of_different_terms_are_not_mixed() {
        let mut group = Group::default();
        group.push(request(&Budget::default(), 1, 10).0, Term(1), None);
        assert!(group.admits(100, Term(1)));
        assert!(!group.admits(100, Term(2)));
    }
}
