//! A disk that fails at any operation, or is full.

use super::*;
use crate::log::LogError;
use crate::log::dir::Job;

/// What is done to a log that is cut several times: entries are appended in a term, then all above
/// `keep` are cut off. The first cut is inside a file, the second reaches into one before it, the
/// last leaves no entry above the floor.
const CUTS: [Cut; 3] = [
    Cut {
        until: 30,
        keep: 24,
    },
    Cut {
        until: 34,
        keep: 18,
    },
    Cut {
        until: 31,
        keep: 12,
    },
];
const FLOOR: u64 = 12;
const END: u64 = 40;

struct Cut {
    /// The last entry that is appended before the cut.
    until: u64,
    /// The last entry that stays.
    keep: u64,
}

/// How far the work came: after how many cuts, and whether the next one was begun.
#[derive(Default)]
struct Work {
    cuts: usize,
    cutting: bool,
    /// The last entry that a purge was to take away.
    floor: u64,
}

impl Work {
    /// Appends over several files, purges and cuts, in a later term after each cut.
    fn run(&mut self, log: &mut Log, calls: &Calls) -> Result<(), LogError> {
        for (number, cut) in CUTS.iter().enumerate() {
            append_until(log, number, cut.until, calls)?;
            if number == 1 {
                self.floor = FLOOR;
                log.purge(LogIndex(FLOOR))?;
            }
            self.cutting = true;
            log.truncate_after(Some(LogIndex(cut.keep)))?;
            assert_eq!(log.last().unwrap().index.0, cut.keep);
            (self.cuts, self.cutting) = (number + 1, false);
        }
        append_until(log, CUTS.len(), END, calls)?;
        self.floor = END - 1;
        log.purge(LogIndex(self.floor))
    }

    /// What an opened log must be like: the history after as many cuts as are done, or after the one
    /// that was being made, as far as it was acknowledged.
    fn check(&self, log: &Log, calls: &Calls, context: &str) {
        let ids: Vec<_> = all(log).iter().map(id).collect();
        let first = log.first_index().0;
        assert!(first <= self.floor + 1, "{context}: begins at {first}");
        let last = log.last().map_or(0, |last| last.index.0);
        let possible = |cuts: usize| {
            let kept = cuts.checked_sub(1).map_or(0, |cut| CUTS[cut].keep);
            let acked = calls.seen().into_iter().filter(|(_, ok)| *ok);
            let acked = acked.filter(|(number, _)| *number / 100 == cuts as u64);
            let acked = acked.map(|(number, _)| number % 100).max().unwrap_or(0);
            last >= kept.max(acked)
                && ids
                    .iter()
                    .copied()
                    .eq((first.max(1)..=last).map(|index| expected(cuts, index)))
        };
        assert!(
            possible(self.cuts) || self.cutting && possible(self.cuts + 1),
            "{context}: after {} cuts (one more begun: {}) there is {ids:?}; called back: {:?}",
            self.cuts,
            self.cutting,
            calls.seen()
        );
    }
}

/// Entries of the term that comes after so many cuts; their callbacks are named by both.
fn append_until(log: &mut Log, cuts: usize, until: u64, calls: &Calls) -> Result<(), LogError> {
    let next = log.last().map_or(1, |last| last.index.0 + 1);
    for index in next..=until {
        log.append(
            [entry(cuts as u64 + 1, index)],
            calls.expect(100 * cuts as u64 + index),
        )?;
    }
    Ok(())
}

fn entry(term: u64, index: u64) -> NewFrame {
    let payload = 500 + 60 * term as usize;
    local(
        term,
        index,
        FrameKind::Batch,
        batch(1, payload, 1_000 * term as i64),
    )
}

type Id = (u64, u64, usize);

fn id(frame: &Frame) -> Id {
    (frame.head.index.0, frame.head.term.0, frame.body.len())
}

/// The entry of an index in the history after so many cuts.
fn expected(cuts: usize, index: u64) -> Id {
    let of_term = |term: &usize| CUTS[*term..cuts].iter().all(|cut| index <= cut.keep);
    let term = (0..=cuts).find(of_term).unwrap_or(cuts) as u64 + 1;
    (index, term, entry(term, index).body.len())
}

#[test]
fn any_operation_may_fail_and_nothing_acknowledged_is_lost() {
    for (all_fail, late) in [(false, false), (true, false), (false, true), (true, true)] {
        let failing = (0..).take_while(|n| {
            let fails = |seed| fails_at(*n, all_fail, late, seed);
            let failed: Vec<bool> = (0..4).map(fails).collect();
            failed.contains(&true)
        });
        assert!(failing.count() > 100);
    }
}

/// How many jobs a late disk waits for before it runs any.
const AT_ONCE: usize = 5;

/// A disk that runs jobs at once, or only when several of them wait.
fn disk(late: bool) -> MemDir {
    if !late {
        return MemDir::new();
    }
    let waiting = Mutex::new(Vec::new());
    MemDir::with_schedule(Arc::new(move |job| {
        let mut jobs = waiting.lock().unwrap();
        jobs.push(job);
        let due: Vec<Job> = match jobs.len() {
            0..AT_ONCE => Vec::new(),
            _ => jobs.drain(..).collect(),
        };
        drop(jobs);
        due.into_iter().for_each(|job| job());
    }))
}

/// Does the work on a disk whose operation number `n` fails, or all from it on, lets the power go
/// and looks at what is left, twice. Gives whether anything failed.
fn fails_at(n: u64, all_fail: bool, late: bool, seed: u64) -> bool {
    let context = format!("operation {n}, all: {all_fail}, late: {late}, seed {seed}");
    let (dir, calls, mut work) = (disk(late), Calls::default(), Work::default());
    let mut log = open(&dir);
    let before = dir.operations();
    match all_fail {
        true => dir.fail_from_operation(Some(n)),
        false => dir.fail_operation(n),
    }
    let finished = work.run(&mut log, &calls);
    let failed = dir.operations() - before > n;
    drop(log);
    dir.fail_from_operation(None);
    assert!(failed || finished.is_ok(), "{context}: {finished:?}");
    let seen = calls.seen();
    assert!(
        seen.is_sorted(),
        "{context}: callbacks out of order: {seen:?}"
    );
    dir.power_cut(seed);
    let opened = Log::open(Arc::new(dir.clone()), tiny());
    let (mut log, _) = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
    work.check(&log, &calls, &context);
    let (last, found) = (log.last(), all(&log).len());
    let next = last.map_or(1, |last| last.index.0 + 1);
    let synced = Calls::default();
    log.append([entry(9, next)], synced.expect(next)).unwrap();
    for _ in 0..AT_ONCE {
        dir.offload(Box::new(|| ()));
    }
    assert_eq!(synced.seen(), [(next, true)], "{context}");
    drop(log);
    dir.power_cut(seed + 1);
    let log = open(&dir);
    let frames = all(&log);
    assert_eq!(frames.len(), found + 1, "{context}");
    assert_eq!(
        id(&frames[found]),
        (next, 9, entry(9, next).body.len()),
        "{context}"
    );
    failed
}

/// What a log needs the disk for while it opens, in order: what the error says, and how many operations
/// say it. It opens without what is in `OPTIONAL`.
const OPENING: [(&str, usize); 14] = [
    ("cannot list the log's directory", 2),
    ("cannot open 00000001.seg", 1),
    ("cannot open 00000002.seg", 1),
    ("cannot open 00000003.seg", 1),
    ("cannot open 00000004.seg", 1),
    ("cannot open 00000005.seg", 1),
    ("cannot remove 00000000.old", 1),
    ("cannot sync 00000004.seg", 2),
    (OPTIONAL[0], 3),
    ("cannot begin 00000006.seg", 3),
    (OPTIONAL[1], 5),
    ("cannot sync the log's directory", 1),
    ("cannot remove 00000005.seg", 2),
    ("cannot remove 00000005.idx", 1),
];
const OPTIONAL: [&str; 2] = [
    "what three full files take",
    "the index of the file that is full now, and what that takes",
];
/// The entry after this one is torn, and nothing says that either of them ever was durable.
const WHOLE: u64 = 39;

/// A log of several files with everything beside them that opening does away with.
fn left_behind() -> MemDir {
    let dir = MemDir::new();
    let mut log = open(&dir);
    for index in 1..WHOLE {
        append_and_wait(&mut log, vec![batch_frame(index, 1, 600)]);
    }
    let unproven = [WHOLE, WHOLE + 1].map(|index| batch_frame(index, 1, 600));
    append_and_wait(&mut log, unproven.into());
    drop(log);
    let mut names = dir.list().unwrap().into_iter();
    let newest = names.rfind(|name| name.ends_with(".seg")).unwrap();
    dir.damage(&newest, |bytes| {
        let torn = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[torn] ^= 1;
        bytes[2048..2064].fill(0);
    })
    .unwrap();
    for name in ["00000000.old", "00000005.seg", "00000005.idx"] {
        dir.create(name, 8 << 10).unwrap();
    }
    dir.sync_dir().unwrap();
    dir
}

#[test]
fn every_error_of_the_disk_while_opening_is_an_error_and_the_next_try_succeeds() {
    let mut said: Vec<(String, usize)> = Vec::new();
    for n in 0.. {
        let dir = left_behind();
        let before = dir.operations();
        dir.fail_operation(n);
        let opened = Log::open(Arc::new(dir.clone()), tiny());
        if dir.operations() - before <= n {
            assert_eq!(opened.unwrap().0.last().unwrap().index.0, WHOLE);
            break;
        }
        let failed = opened.map_or_else(|error| error.to_string(), |_| "nothing: ".to_owned());
        let (what, why) = failed.split_once(": ").unwrap();
        assert!(
            what == "nothing" || why.ends_with(" was made to fail"),
            "{failed}"
        );
        match said.last_mut().filter(|(last, _)| last == what) {
            Some((_, count)) => *count += 1,
            None => said.push((what.to_owned(), 1)),
        }
        dir.power_cut(n);
        assert_eq!(
            [last_index(&dir), last_index(&dir)],
            [WHOLE; 2],
            "operation {n}"
        );
    }
    let expected = OPENING.map(|(what, count)| match OPTIONAL.contains(&what) {
        true => ("nothing".to_owned(), count),
        false => (what.to_owned(), count),
    });
    assert_eq!(said, expected);
}

#[test]
fn a_full_disk_refuses_the_append_and_the_log_goes_on_later() {
    let dir = MemDir::new();
    let mut log = open(&dir);
    append_and_wait(&mut log, vec![batch_frame(1, 1, 600)]);
    dir.set_capacity(8 << 10);
    let mut index = 2;
    let refused = loop {
        match log.append(
            [batch_frame(index, 1, 600), batch_frame(index + 1, 1, 600)],
            ignore(),
        ) {
            Ok(()) => index += 2,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, LogError::Full { .. }), "{refused}");
    assert_eq!(log.last().unwrap().index, LogIndex(index - 1));
    dir.set_capacity(u64::MAX);
    append_and_wait(&mut log, vec![batch_frame(index, 1, 600)]);
    drop(log);
    assert_eq!(last_index(&dir), index);
}

#[test]
fn a_log_with_a_torn_tail_opens_on_a_full_disk_in_place_of_a_file_that_was_never_used() {
    let (dir, big) = (MemDir::new(), 1 << 20);
    let options = || LogOptions {
        first_segment_bytes: big,
        ..tiny()
    };
    let open = || Log::open(Arc::new(dir.clone()), options()).unwrap().0;
    let mut log = open();
    append_and_wait(&mut log, vec![batch_frame(1, 1, 600)]);
    append_and_wait(&mut log, vec![batch_frame(2, 1, 600)]);
    drop(log);
    dir.create("00000002.seg", big).unwrap();
    dir.sync_dir().unwrap();
    dir.damage("00000001.seg", |bytes| {
        let end = 4096 + 2 * 768;
        let torn = bytes[..end].iter().rposition(|byte| *byte != 0).unwrap();
        bytes[torn] ^= 1;
        bytes[2048..2064].fill(0);
    })
    .unwrap();
    dir.set_capacity(2 * big);
    let mut log = open();
    assert_eq!(log.last().unwrap().index, LogIndex(1));
    let names = ["00000001.idx", "00000001.seg", "00000003.seg"];
    assert_eq!(dir.list().unwrap(), names);
    assert_eq!(dir.open("00000003.seg").unwrap().len(), 128 << 10);
    append_and_wait(&mut log, vec![batch_frame(2, 1, 600)]);
    drop(log);
    assert_eq!(open().last().unwrap().index, LogIndex(2));
}

#[test]
fn a_file_grows_older_than_it_should_rather_than_fail_on_a_full_disk() {
    let dir = MemDir::new();
    let options = LogOptions {
        segment_ms: Some(1),
        first_segment_bytes: 64 << 10,
        ..tiny()
    };
    let mut log = Log::open(Arc::new(dir.clone()), options).unwrap().0;
    append_and_wait(&mut log, vec![batch_frame(1, 1, 600)]);
    dir.set_capacity(0);
    append_and_wait(&mut log, vec![batch_frame(2, 1, 600)]);
    assert_eq!(dir.list().unwrap(), ["00000001.seg"]);
    dir.set_capacity(u64::MAX);
    append_and_wait(&mut log, vec![batch_frame(3, 1, 600)]);
    assert_eq!(dir.list().unwrap().len(), 3, "with an index of the first");
}
