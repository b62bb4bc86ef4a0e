//! The process or the machine dies, between operations or within one.

use super::*;

/// What an operation that did not end may have done.
#[derive(Default)]
struct Interrupted {
    truncating: Option<u64>,
    resetting: Option<LastFrame>,
}

impl Machine {
    pub(super) fn cut(&mut self, seed: u64, truncating: Option<u64>) {
        self.log = None;
        self.dir.power_cut(seed);
        self.open().unwrap();
        self.recovered(truncating);
    }

    pub(super) fn cut_during(&mut self, op: &Op, after: u8, seed: u64) {
        self.dir.fail_from_operation(Some(u64::from(after)));
        let interrupted = self.interrupt(op, seed);
        self.log = None;
        self.dir.power_cut(seed);
        self.reopen(interrupted);
    }

    pub(super) fn fail_during(&mut self, op: &Op, at: u8, order: u64) {
        self.dir.fail_operation(u64::from(at));
        let interrupted = self.interrupt(op, order);
        self.reopen(interrupted);
    }

    /// Runs an operation that may fail, and lets some of what it started finish.
    fn interrupt(&mut self, op: &Op, order: u64) -> Interrupted {
        self.acked.lock().unwrap().may_fail = true;
        let mut interrupted = Interrupted::default();
        match op {
            Op::Append { frames } => drop(self.append(frames)),
            Op::Truncate(part) => {
                interrupted.truncating = Some(self.share(*part));
                let _ = self.truncate(*part);
            }
            Op::Reset { entries, records } => {
                let last = self.reset_to(*entries, *records);
                if self.reset(*entries, *records).is_err() {
                    interrupted.resetting = Some(last);
                }
            }
            Op::Purge(part) => {
                let floor = self.purgeable(*part).max(self.floor);
                if self.purge(*part).is_err() {
                    self.floor = floor;
                }
            }
            _ => unreachable!("only plain operations are interrupted"),
        }
        self.finish(3, order);
        self.dir.fail_from_operation(None);
        interrupted
    }

    fn reopen(&mut self, interrupted: Interrupted) {
        self.open().unwrap();
        if let Some(last) = interrupted.resetting
            && self.log().last() == Some(last)
        {
            // The snapshot is in; otherwise the log is as it was.
            self.entries.clear();
            self.base = (last.index.0, last.next_offset.0);
            self.floor = last.index.0;
        }
        self.recovered(interrupted.truncating);
        self.acked.lock().unwrap().may_fail = false;
    }

    /// What was acknowledged is there; what was not may be missing at the end only.
    pub(super) fn recovered(&mut self, truncating: Option<u64>) {
        let last = self.log().last().map_or(0, |last| last.index.0);
        let known = self.last();
        let mut acked = self.acked.lock().unwrap();
        let promised = truncating.map_or(acked.index, |keep| keep.min(acked.index));
        assert!(
            last >= promised,
            "entry {promised} was acknowledged, the log ends at {last}"
        );
        assert!(last <= known);
        self.entries.retain(|entry| entry.index <= last);
        acked.index = last;
        acked.called = acked.appended;
    }
}
