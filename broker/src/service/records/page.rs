//! PURE. Records being gathered for one answer, and the batches that they come out of.

use bytes::Bytes;
use highwater_proto::Offset;
use highwater_proto::batch::{BatchError, Codec, RecordView, Records, StoredBatch};
use highwater_proto::pb::v1::{Header, Record};

use super::friendly;

/// The most memory that a record of an answer may take. An answer that has it alone stays below gRPC's
/// stock limit of 4 MiB. The record of a largest batch that is not compressed fits, unless thousands of
/// headers make it larger.
pub(super) const LARGEST: usize = 15 << 18;

/// Why records are not to be had in this form.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Nothing of the batch can be read, or nothing more.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A record that no answer can carry.
    #[error(
        "the record at offset {offset} takes {bytes} bytes, more than the {LARGEST} that an answer \
         of records can carry; ask for batches"
    )]
    Record {
        /// Its place.
        offset: Offset,
        /// What it takes in memory.
        bytes: usize,
    },
}

/// A batch whose records are being read: it is opened once, and goes on where the page before ended.
#[derive(Debug)]
pub struct Opened {
    base_offset: Offset,
    next_offset: Offset,
    records: Records,
    /// The memory that it takes: what is not compressed lies in a mapped file.
    memory: usize,
}

impl Opened {
    /// Opens a batch as it lies in the log.
    pub fn open(bytes: Bytes) -> Result<Self, BatchError> {
        let batch = StoredBatch::decode(bytes)?;
        let records = batch.records()?;
        let memory = match batch.header().attributes.codec()? {
            Codec::None => 0,
            _ => records.data().len(),
        };
        Ok(Self {
            base_offset: batch.base_offset(),
            next_offset: batch.next_offset(),
            records,
            memory,
        })
    }

    /// The offset of its first record.
    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.memory
    }
}

/// Records being gathered for one answer, bounded by the memory that they take: a small batch can
/// hold very many small records.
#[derive(Debug)]
pub struct Page {
    records: Vec<Record>,
    next_offset: Offset,
    room: usize,
}

impl Page {
    /// An empty page that begins at `from` and takes about `max_bytes` of memory; its encoded size
    /// stays below that. It takes at least one record, of up to 3.75 MiB.
    pub fn new(from: Offset, max_bytes: usize) -> Self {
        Self {
            records: Vec::new(),
            next_offset: from,
            room: max_bytes,
        }
    }

    /// Appends the records of `batch` from the page's next offset on. Batches come in the order of
    /// their offsets. Returns false once the page is full; it may then end within the batch, with
    /// which the next page goes on.
    ///
    /// A compressed batch is checked by nobody before it is read; if its records are malformed, or
    /// one is too large, the page keeps what it has and stays before the record that is at fault.
    pub fn add(&mut self, batch: &mut Opened) -> Result<bool, Unreadable> {
        loop {
            let mut size = 0;
            let mut left_out = None;
            let next = batch.records.next_view_if(|view| {
                size = memory_of(view);
                let fits = view.offset < self.next_offset || self.has_room(size);
                left_out = (!fits).then_some(view.offset);
                fits
            });
            match (next, left_out) {
                (Some(view), _) => self.take(view?, size),
                (None, None) => break,
                (None, Some(offset)) if self.records.is_empty() => {
                    let bytes = size;
                    return Err(Unreadable::Record { offset, bytes });
                }
                (None, Some(_)) => {
                    self.room = 0;
                    return Ok(false);
                }
            }
        }
        self.next_offset = self.next_offset.max(batch.next_offset);
        Ok(self.room > 0)
    }

    fn has_room(&self, size: usize) -> bool {
        size <= self.room || (self.records.is_empty() && size <= LARGEST)
    }

    /// Takes a record that fits; those before the page are passed over.
    fn take(&mut self, view: RecordView<'_>, size: usize) {
        if view.offset < self.next_offset {
            return;
        }
        self.room = self.room.saturating_sub(size);
        self.next_offset = view.offset.plus(1);
        self.records.push(friendly(view));
    }

    /// Where the next page begins.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The records, with their offsets.
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }
}

/// What a record takes in memory, which is more than it takes on the wire.
fn memory_of(view: &RecordView<'_>) -> usize {
    let header = |(name, value): (&[u8], Option<&[u8]>)| {
        // A name that is not UTF-8 may grow threefold as text.
        size_of::<Header>() + 3 * name.len() + value.map_or(0, <[u8]>::len)
    };
    let headers: usize = view.headers.clone().map(header).sum();
    let content = view.key.map_or(0, <[u8]>::len) + view.value.map_or(0, <[u8]>::len);
    size_of::<Record>() + content + headers
}
