//! The log against a plain vector, over any sequence of operations, with the process dying or the
//! power failing at any disk operation of any of them.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::log::LastFrame;
use crate::log::dir::Job;
use crate::log::frame::Tail;

mod crash;
mod op;

use op::{Op, op};

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    index: u64,
    kind: FrameKind,
    records: u64,
    body: Bytes,
}

type Jobs = Arc<Mutex<VecDeque<Job>>>;

struct Machine {
    dir: MemDir,
    options: LogOptions,
    jobs: Jobs,
    log: Option<Log>,
    /// The index and the next offset before the first of `entries`.
    base: (u64, u64),
    entries: Vec<Entry>,
    /// The largest index whose callback said it is durable, and that was not truncated since.
    acked: Arc<Mutex<Acked>>,
    floor: u64,
    term: u64,
}

#[derive(Default)]
struct Acked {
    index: u64,
    appended: u64,
    called: u64,
    may_fail: bool,
}

impl Machine {
    fn new(options: LogOptions) -> Self {
        let jobs: Jobs = Arc::default();
        let queue = Arc::clone(&jobs);
        let dir = MemDir::with_schedule(Arc::new(move |job| queue.lock().unwrap().push_back(job)));
        let mut machine = Self {
            dir,
            options,
            jobs,
            log: None,
            base: (0, 0),
            entries: Vec::new(),
            acked: Arc::default(),
            floor: 0,
            term: 1,
        };
        machine.open().unwrap();
        machine
    }

    fn open(&mut self) -> Result<(), crate::log::OpenError> {
        self.log = None;
        self.jobs.lock().unwrap().clear();
        self.log = Some(Log::open(Arc::new(self.dir.clone()), self.options.clone())?.0);
        Ok(())
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Append { frames } => self.append(frames).unwrap(),
            Op::Truncate(part) => self.truncate(*part).unwrap(),
            Op::Purge(part) => self.purge(*part).unwrap(),
            Op::Reset { entries, records } => self.reset(*entries, *records).unwrap(),
            Op::Finish { jobs, order } => {
                self.finish(*jobs, *order);
                self.log().mark_durable();
            }
            Op::Kill => {
                self.open().unwrap();
                self.recovered(None);
            }
            Op::PowerCut(seed) => self.cut(*seed, None),
            Op::CutDuring { op, after, seed } => self.cut_during(op, *after, *seed),
            Op::FailDuring { op, at, order } => self.fail_during(op, *at, *order),
            Op::CutRecovery {
                after,
                first,
                second,
            } => {
                self.log = None;
                self.dir.power_cut(*first);
                self.dir.fail_from_operation(Some(u64::from(*after)));
                let opened = self.open();
                self.dir.fail_from_operation(None);
                if opened.is_err() {
                    self.cut(*second, None);
                } else {
                    self.recovered(None);
                }
            }
        }
        self.check();
    }

    /// The index of the last entry, here or in the snapshot.
    fn last(&self) -> u64 {
        self.entries.last().map_or(self.base.0, |last| last.index)
    }

    fn reset(&mut self, entries: u8, records: u8) -> Result<(), crate::log::LogError> {
        let last = self.reset_to(entries, records);
        self.log().reset(last)?;
        self.entries.clear();
        (self.base, self.floor) = ((last.index.0, last.next_offset.0), last.index.0);
        self.acked.lock().unwrap().index = last.index.0;
        Ok(())
    }

    fn reset_to(&self, entries: u8, records: u8) -> LastFrame {
        let offset = self.base.1 + self.entries.iter().map(|entry| entry.records).sum::<u64>();
        let index = self.last() + u64::from(entries);
        LastFrame {
            term: Term(self.term),
            index: LogIndex(index),
            chain: index as u32,
            next_offset: Offset(offset + u64::from(records)),
            append_time: Timestamp(1_000 + index as i64),
        }
    }

    fn append(&mut self, frames: &[(u8, u16)]) -> Result<(), crate::log::LogError> {
        let mut new = Vec::new();
        for (kind, size) in frames {
            let index = self.last() + 1;
            let size = usize::from(*size);
            let (kind, records, body) = match kind {
                0 => (FrameKind::Command, 0, Bytes::from(vec![index as u8; size])),
                1 => (FrameKind::Blank, 0, Bytes::new()),
                records => {
                    let body = batch(u32::from(*records), size, index as i64);
                    (FrameKind::Batch, u64::from(*records), body)
                }
            };
            new.push(local(self.term, index, kind, body.clone()));
            self.entries.push(Entry {
                index,
                kind,
                records,
                body,
            });
        }
        let last = self.entries.last().unwrap().index;
        let acked = Arc::clone(&self.acked);
        let number = {
            let mut acked = acked.lock().unwrap();
            acked.appended += 1;
            acked.appended
        };
        let done = Box::new(move |result: Result<(), _>| {
            let mut acked = acked.lock().unwrap();
            assert!(number > acked.called, "callbacks complete in order");
            acked.called = number;
            match result {
                Ok(()) => acked.index = last,
                Err(_) => assert!(acked.may_fail),
            }
        });
        self.log().append(new, done)
    }

    fn truncate(&mut self, part: u8) -> Result<(), crate::log::LogError> {
        let keep = self.share(part);
        let known = self.last();
        if keep == 0 && self.floor > 0 {
            return Ok(());
        }
        self.log()
            .truncate_after((keep > 0).then_some(LogIndex(keep)))?;
        self.entries
            .truncate((self.entries.len() as u64 - (known - keep)) as usize);
        self.term += 1;
        // A truncation makes what stays durable before it cuts.
        let mut acked = self.acked.lock().unwrap();
        acked.index = keep;
        Ok(())
    }

    /// An index from the floor to the last entry.
    fn share(&self, part: u8) -> u64 {
        let last = self.last();
        self.floor + (last - self.floor) * u64::from(part) / 256
    }

    /// Only what is durable can have been applied, and only that is purged.
    fn purgeable(&self, part: u8) -> u64 {
        self.share(part).min(self.acked.lock().unwrap().index)
    }

    fn purge(&mut self, part: u8) -> Result<(), crate::log::LogError> {
        let through = self.purgeable(part);
        self.log().purge(LogIndex(through))?;
        self.floor = through.max(self.floor);
        Ok(())
    }

    fn finish(&mut self, jobs: u8, order: u64) {
        for round in 0..jobs {
            let job = {
                let mut jobs = self.jobs.lock().unwrap();
                if jobs.is_empty() {
                    return;
                }
                let at = (order >> (round * 8)) as usize % jobs.len();
                jobs.remove(at)
            };
            job.unwrap()();
        }
    }

    fn check(&mut self) {
        let floor = self.floor;
        let (entries, base, last) = (self.entries.clone(), self.base, self.last());
        let log = self.log();
        assert_eq!(log.last().map_or(0, |last| last.index.0), last);
        let first = log.first_index().0;
        assert!(
            first <= floor + 1,
            "entry {} is missing at the front",
            floor + 1
        );
        let frames = all(log);
        let expected: Vec<&Entry> = entries
            .iter()
            .filter(|entry| entry.index >= first)
            .collect();
        assert_eq!(frames.len(), expected.len());
        let mut offset: u64 = base.1
            + entries
                .iter()
                .filter(|entry| entry.index < first)
                .map(|entry| entry.records)
                .sum::<u64>();
        assert_eq!(log.reader().log_start_offset(), Offset(offset));
        let mut before: Option<Tail> = None;
        for (frame, entry) in frames.iter().zip(expected) {
            let head = &frame.head;
            assert_eq!((head.index.0, head.kind), (entry.index, entry.kind));
            assert_eq!(head.base_offset, Offset(offset));
            offset += entry.records;
            if head.kind == FrameKind::Batch {
                assert_eq!(frame.body[16..], entry.body[16..]);
                assert_eq!(frame.body[..8], (head.base_offset.0 as i64).to_be_bytes());
            } else {
                assert_eq!(frame.body, entry.body);
            }
            if let Some(before) = before {
                assert_eq!(head.chain_after(before.chain, &frame.body), Ok(head.chain));
            }
            before = Some(Tail::from(head));
        }
        assert_eq!(log.next_offset(), Offset(offset));
        let start = log.reader().log_start_offset();
        let batches = log
            .reader()
            .read_committed(start, Offset(offset), usize::MAX)
            .unwrap();
        let records: u64 = batches
            .iter()
            .map(|one| one.next_offset.0 - one.base_offset.0)
            .sum();
        assert_eq!(records, offset - start.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_a_vector_that_survives_everything(ops in prop::collection::vec(op(), 1..40)) {
        let mut machine = Machine::new(tiny());
        for op in &ops {
            machine.run(op);
        }
    }

    /// Every file is of the largest size from the beginning, so that whatever is purged becomes the
    /// next file.
    #[test]
    fn a_log_of_recycled_files_is_one_too(ops in prop::collection::vec(op(), 1..60)) {
        let options = LogOptions {
            max_segment_bytes: 8 << 10,
            ..tiny()
        };
        let mut machine = Machine::new(options);
        for op in &ops {
            machine.run(op);
            machine.finish(1, 0);
        }
    }
}
