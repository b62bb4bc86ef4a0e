//! Going on in the next file: which frames go where, which file comes next and how large it is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::Timestamp;

use super::super::dir::is_full;
use super::super::error::LogError;
use super::super::frame::Position;
use super::super::plan::Planned;
use super::super::seal;
use super::super::segment::{Segment, file_name, index_name};
use super::super::segment_header::{Origin, SEGMENT_HEADER, SegmentHeader};
use super::super::spare::{BlankFile, discard};
use super::super::view::Part;
use super::{Active, Dead, Log, room_for};

/// Files are zeroed ahead only for a log that grows by fewer bytes than this a millisecond. Beyond
/// it a sync carries so much that converting extents is lost in it, while zeroing costs as much
/// as the data, and comes too late.
const FILLED_BELOW: u64 = 16 << 10;

/// Frames that go to one file: the active one, or a new one.
pub(super) struct Run {
    pub(super) blank: Option<BlankFile>,
    pub(super) frames: usize,
}

/// What is left of a file.
struct Rest {
    len: u64,
    position: u64,
    began: Option<Timestamp>,
    /// The largest first frame: a frame beyond the limit of unsynced bytes opens a file that says so.
    opener: u64,
}

impl Log {
    /// Decides which frame goes to which file and makes the files that are needed, before anything
    /// is written: a full disk refuses the append and harms nothing.
    pub(super) fn place(&mut self, frames: &[Planned]) -> Result<Vec<Run>, LogError> {
        let first = self.fit_active(frames, true);
        let mut runs = Vec::with_capacity(2);
        if first > 0 {
            runs.push(Run {
                blank: None,
                frames: first,
            });
        }
        let mut rest = &frames[first..];
        let mut next_len = self.next_len();
        while let Some(opener) = rest.first() {
            let needed = u64::from(SEGMENT_HEADER) + room_for(opener);
            let blank = match self.next_file(needed, next_len) {
                Ok(blank) => blank,
                // A file may grow older than it should, but not an append fail for that.
                Err(LogError::Full(_)) if self.fit_active(frames, false) == frames.len() => {
                    return Ok(vec![Run {
                        blank: None,
                        frames: frames.len(),
                    }]);
                }
                Err(error) => {
                    for run in runs.iter().filter_map(|run| run.blank.as_ref()) {
                        discard(&*self.dir, run.number);
                    }
                    self.tell_files();
                    return Err(error);
                }
            };
            let len = blank.file.len();
            let empty = Rest {
                len,
                position: u64::from(SEGMENT_HEADER),
                began: None,
                opener: len,
            };
            let count = self.fit(rest, empty, true);
            runs.push(Run {
                blank: Some(blank),
                frames: count,
            });
            rest = &rest[count..];
            next_len = self.limited(len.saturating_mul(2));
        }
        Ok(runs)
    }

    /// How many of the frames go to the active file; only its room counts where it is not `strict`.
    fn fit_active(&self, frames: &[Planned], strict: bool) -> usize {
        let (Some(active), Some(first)) = (&self.active, frames.first()) else {
            return 0;
        };
        if !self.has_past && active.segment.header.first_index != first.head.index {
            return 0;
        }
        let header = &active.segment.header;
        let position = u64::from(active.end.max(SEGMENT_HEADER));
        let (len, opener) = (header.file_len, header.max_unsynced);
        self.fit(
            frames,
            Rest {
                len,
                position,
                began: active.began,
                opener,
            },
            strict,
        )
    }

    /// How many of the frames go to a file with this room.
    fn fit(&self, frames: &[Planned], mut room: Rest, strict: bool) -> usize {
        let fits = |frame: &&Planned| {
            let head = &frame.head;
            room.began = room.began.or(head.began());
            let age = room
                .began
                .map_or(0, |began| head.append_time.0.saturating_sub(began.0));
            let allowed = if room.position == u64::from(SEGMENT_HEADER) {
                head.frame_len() <= room.opener
            } else {
                let limits = &self.limits;
                (!strict || (age < limits.ms() && !limits.refuses(room.len)))
                    && head.frame_len() <= self.options.max_unsynced_bytes
            };
            let fits = allowed && room.position + room_for(frame) <= room.len;
            room.position += head.frame_len();
            fits
        };
        frames.iter().take_while(fits).count()
    }

    /// The size of the file after the active one: twice as large, or half if that is full of age
    /// and not of frames.
    pub(super) fn next_len(&self) -> u64 {
        let len = match &self.active {
            None => self.options.first_segment_bytes,
            Some(active) => {
                let len = active.segment.header.file_len;
                let filled = u64::from(active.end) >= len / 2;
                if filled {
                    len.saturating_mul(2)
                } else {
                    len / 2
                }
            }
        };
        self.limited(len)
    }

    pub(super) fn limited(&self, len: u64) -> u64 {
        let len = len.max(self.options.first_segment_bytes);
        len.min(self.limits.bytes()).next_multiple_of(4096)
    }

    /// The next file, prepared or made now, of at least `needed` bytes.
    pub(super) fn next_file(&self, needed: u64, regular: u64) -> Result<BlankFile, LogError> {
        self.room
            .take_file(needed, regular)
            .map_err(|error| match is_full(&error) {
                true => LogError::Full(self.room.no_room(needed)),
                false => LogError::io("create", "the next segment")(error),
            })
    }

    /// Makes `blank` the active file, whose header is written with its first frames. The file
    /// before it is sealed, or dropped if it has no frame.
    pub(super) fn start_file(
        &mut self,
        blank: BlankFile,
        opener: Option<&Planned>,
    ) -> Result<(), LogError> {
        let unsealed = |active: &Active| active.end > SEGMENT_HEADER && !active.sealed;
        if self.active.as_ref().is_some_and(unsealed) {
            self.write_chunk(&[], true)?;
        }
        self.make_named()?;
        let (origin, continues) = self.joint();
        if let (Some(opener), false) = (opener, self.has_past) {
            self.tail.next_index = opener.head.index;
            self.first_index = opener.head.index;
        }
        let opener_len = opener.map_or(0, |frame| frame.head.frame_len());
        let header = self.header(&blank, origin, continues, opener_len);
        self.retire_active(blank.number);
        let segment = Segment::begin(header, &self.dir, blank.file);
        self.active = Some(Active {
            segment: Arc::new(segment),
            end: 0,
            max_timestamp: i64::MIN,
            began: None,
            named: blank.named,
            sealed: false,
        });
        Ok(())
    }

    /// Makes the name of the active file durable before a header says that it is continued: a file
    /// that is missing at the front was purged, and not lost with the power.
    fn make_named(&mut self) -> Result<(), LogError> {
        let Some(active) = self.active.as_ref().filter(|active| !active.named) else {
            return Ok(());
        };
        let number = active.segment.header.number;
        if self.flusher.has_named(number) {
            return Ok(());
        }
        self.dir
            .sync_dir()
            .map_err(|error| self.poison("sync the name of", number, error))
    }

    /// What a file that begins at the tail continues.
    fn joint(&self) -> (Origin, Option<Position>) {
        match &self.active {
            _ if !self.has_past => (Origin::First, None),
            Some(active) if active.end > SEGMENT_HEADER => {
                let file = active.segment.header.number;
                (
                    Origin::Roll,
                    Some(Position {
                        file,
                        byte: active.end,
                    }),
                )
            }
            Some(active) => (
                active.segment.header.origin,
                active.segment.header.continues,
            ),
            None => (Origin::Reset, None),
        }
    }

    pub(super) fn header(
        &self,
        blank: &BlankFile,
        origin: Origin,
        continues: Option<Position>,
        opener_len: u64,
    ) -> SegmentHeader {
        SegmentHeader {
            owner: self.options.owner,
            salt: self.options.salt,
            origin,
            number: blank.number,
            file_len: blank.file.len(),
            max_unsynced: self.options.max_unsynced_bytes.max(opener_len),
            first_index: self.tail.next_index,
            first_offset: self.tail.next_offset,
            previous: self.last(),
            continues,
            durable: self.flusher.durable(),
            reused: blank.reused,
        }
    }

    /// Moves the active file to the sealed ones; without a frame it is of no more use.
    pub(super) fn retire_active(&mut self, successor: u32) {
        let Some(active) = self.active.take() else {
            return;
        };
        if active.end <= SEGMENT_HEADER {
            self.dead.push(Dead {
                number: active.segment.header.number,
                successor,
            });
            return;
        }
        let part = Part {
            segment: active.segment,
            end: active.end,
            tail: self.tail,
        };
        seal::finish(&part, &self.room);
        Arc::make_mut(&mut self.sealed).push(part);
    }

    /// Removes the files that no longer count. What cannot be removed now, of which it gives back one,
    /// is tried again before anything else is removed, and at the next start.
    pub(super) fn remove_dead(&mut self) -> Option<(u32, io::Error)> {
        let durable = self.flusher.durable();
        let header = |file| Position {
            file,
            byte: SEGMENT_HEADER,
        };
        let mut failed = None;
        self.dead.retain(|dead| {
            if header(dead.successor) > durable {
                return true;
            }
            match self.dir.remove(&file_name(dead.number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    failed = Some((dead.number, error));
                    return true;
                }
                _ => self.dead_unsynced = true,
            }
            let _ = self.dir.remove(&index_name(dead.number));
            false
        });
        failed
    }

    /// Has the next file prepared once the active one is half full.
    pub(super) fn prepare_next(&mut self) {
        let Some(active) = &self.active else {
            return;
        };
        let len = active.segment.header.file_len;
        if u64::from(active.end) < len / 2 {
            return;
        }
        let began = active.began.unwrap_or(self.tail.append_time);
        let now = self.tail.append_time;
        self.room.prepare(time_to_fill(active.end, len, began, now));
    }
}

/// How long filling the file after one of `len` bytes may take, which got `bytes` of them since it
/// began: half of the time until it is full, if all goes on as it did. None for a fast log.
fn time_to_fill(bytes: u32, len: u64, began: Timestamp, now: Timestamp) -> Option<Duration> {
    let elapsed = u64::try_from(now.0.saturating_sub(began.0)).unwrap_or(0);
    let bytes = u64::from(bytes);
    if bytes / elapsed.max(1) >= FILLED_BELOW {
        return None;
    }
    let left = len.saturating_sub(bytes).saturating_mul(elapsed) / bytes.max(1);
    Some(Duration::from_millis(left / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: u32 = 32 << 20;

    fn after(ms: i64) -> Option<Duration> {
        let began = Timestamp(1_000);
        time_to_fill(HALF, 2 * u64::from(HALF), began, Timestamp(1_000 + ms))
    }

    #[test]
    fn files_are_filled_ahead_for_slow_logs_only() {
        assert!(after(60_000).is_some() && after(2_100).is_some());
        assert!(after(2_000).is_none() && after(0).is_none());
        let backwards = after(-1_000);
        assert!(
            backwards.is_none(),
            "a clock that stands still is no slow log"
        );
    }

    #[test]
    fn filling_takes_half_of_the_time_until_the_file_is_needed() {
        assert_eq!(after(60_000), Some(Duration::from_secs(30)));
        let (began, now) = (Timestamp(0), Timestamp(9_000));
        let late = time_to_fill(3 * HALF / 2, 2 * u64::from(HALF), began, now);
        assert_eq!(late, Some(Duration::from_millis(1_500)));
    }
}
