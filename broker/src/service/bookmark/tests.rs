use bytes::Bytes;
use highwater_proto::batch::{BatchBuilder, Codec};
use highwater_proto::{Offset, Timestamp};

use super::super::records::Page;
use super::*;

const BYTES: usize = 30 << 20;

/// A batch of two records that take so many bytes, as it lies in the log.
fn stored(bytes: usize) -> CommittedBatch {
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(1), None, Some(b"first"), &[]);
    builder.push(Timestamp(1), None, Some(&vec![0; bytes]), &[]);
    CommittedBatch {
        base_offset: Offset(0),
        next_offset: Offset(2),
        append_time: Timestamp(1),
        bytes: builder.build(Codec::Zstd, None).unwrap(),
    }
}

/// The same place with nothing in it: only what was kept can be read there.
fn nothing(at: u64) -> CommittedBatch {
    CommittedBatch {
        base_offset: Offset(at),
        next_offset: Offset(at + 2),
        append_time: Timestamp(1),
        bytes: Bytes::new(),
    }
}

/// A bookmark within a batch, behind its first record.
fn within(all: &Bookmarks, batch: &CommittedBatch) -> Bookmark {
    let mut bookmark = all.bookmark();
    let mut opened = bookmark.open(batch).unwrap();
    let mut page = Page::new(Offset(0), 200);
    assert!(!page.add(&mut opened).unwrap());
    bookmark.keep(opened);
    bookmark
}

#[test]
fn a_batch_is_opened_once_and_only_its_own() {
    let all = Bookmarks::default();
    let batch = stored(1000);
    let mut opened = within(&all, &batch).open(&nothing(0)).unwrap();
    let mut page = Page::new(Offset(1), 1 << 20);
    page.add(&mut opened).unwrap();
    assert_eq!(page.into_records().len(), 1);

    let mut other = within(&all, &batch);
    assert!(other.open(&nothing(2)).is_err());
    assert!(other.open(&nothing(0)).is_err(), "it is not kept any more");
}

#[test]
fn what_all_keep_is_bounded_and_what_is_not_kept_is_opened_again() {
    let all = Bookmarks::default();
    let batch = stored(BYTES);
    let first = within(&all, &batch);
    let mut second = within(&all, &batch);
    let mut third = within(&all, &batch);
    assert!(third.open(&nothing(0)).is_err());
    assert_eq!(
        third.open(&batch).unwrap().memory(),
        second.open(&nothing(0)).unwrap().memory()
    );

    drop(first);
    assert!(within(&all, &batch).open(&nothing(0)).is_ok());
}
