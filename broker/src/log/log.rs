//! The log of one replica: the one writer of its segment files.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use highwater_proto::{LogIndex, Offset, Timestamp};

use super::dir::{Dir, SyncDone, SyncError};
use super::encode::Encoder;
use super::error::{Damage, LogError, OpenError};
use super::flusher::{Flusher, Written};
use super::frame::{FrameKind, LastFrame, Tail, frame_bytes};
use super::index::IndexEntry;
use super::limits::FileLimits;
use super::mark;
use super::open;
use super::options::LogOptions;
use super::plan::{NewFrame, Planned, Source, plan};
use super::recovery::Recovered;
use super::room::Room;
use super::segment::{Segment, file_name, times};
use super::segment_header::{FOOTER, Footer, SEGMENT_HEADER};
use super::view::{LogReader, Part, View};

mod cut;
mod roll;

/// The log of one replica and its single writer. Readers are made with [`Log::reader`].
#[derive(Debug)]
pub struct Log {
    dir: Arc<dyn Dir>,
    options: LogOptions,
    limits: Arc<FileLimits>,
    flusher: Flusher,
    view: Arc<ArcSwap<View>>,
    damage: Arc<OnceLock<Damage>>,
    sealed: Arc<Vec<Part>>,
    active: Option<Active>,
    tail: Tail,
    /// Whether there is a frame before the tail, here or purged.
    has_past: bool,
    first_index: LogIndex,
    log_start_offset: Offset,
    room: Room,
    dead: Vec<Dead>,
    /// Whether the names of dead files may come back with a power loss.
    dead_unsynced: bool,
}

/// A file that no longer counts once the header of its successor is durable.
#[derive(Debug)]
struct Dead {
    number: u32,
    successor: u32,
}

/// The file that is written to.
#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    end: u32,
    max_timestamp: i64,
    /// The append time of its first batch.
    began: Option<Timestamp>,
    /// Whether its name is durable.
    named: bool,
    /// Whether its footer is written: no frame may follow.
    sealed: bool,
}

impl Log {
    /// Opens the log in `dir`, recovering it; an empty directory is an empty log. What it returns
    /// is on the disk, including what a crashed process had not synced.
    pub fn open(
        dir: Arc<dyn Dir>,
        mut options: LogOptions,
    ) -> Result<(Self, Recovered), OpenError> {
        let opened = open::open(&dir, &options)?;
        options.salt = opened.salt;
        let flusher = Flusher::new(Arc::clone(&dir), opened.durable);
        let tail = opened.tail;
        let first = opened
            .sealed
            .first()
            .or(opened.active.as_ref().map(|(part, _)| part));
        let start = first.map_or(tail, |part| part.segment.header.start());
        let view = View {
            sealed: Arc::new(Vec::new()),
            active: None,
            first_index: LogIndex(0),
            log_start_offset: Offset::ZERO,
            last: None,
            began: None,
        };
        let room = Room::new(
            Arc::clone(&dir),
            options.first_segment_bytes,
            opened.next_number,
        );
        let limits = FileLimits::new(options.max_segment_bytes, options.segment_ms);
        let log = Self {
            dir,
            limits: Arc::new(limits),
            options,
            flusher,
            view: Arc::new(ArcSwap::from_pointee(view)),
            damage: Arc::default(),
            sealed: Arc::new(opened.sealed),
            active: opened.active.map(|(part, scan)| Active {
                end: part.end,
                segment: part.segment,
                max_timestamp: scan.map_or(i64::MIN, |scan| scan.max_timestamp),
                began: scan.and_then(|scan| scan.began),
                named: true,
                sealed: false,
            }),
            tail,
            has_past: opened.has_past,
            first_index: start.next_index,
            log_start_offset: start.next_offset,
            room,
            dead: Vec::new(),
            dead_unsynced: false,
        };
        log.publish();
        log.tell_files();
        log.tell_room(0);
        Ok((log, opened.recovered))
    }

    /// Appends frames, all or (if one is refused) none. They can be read when this returns; `done`
    /// is called when they are on the disk, in the order of the appends. If this returns an error,
    /// `done` is dropped; after `LogError::Io` the log takes nothing more.
    pub fn append(
        &mut self,
        frames: impl IntoIterator<Item = NewFrame>,
        done: SyncDone,
    ) -> Result<(), LogError> {
        self.refuse_if_poisoned()?;
        let mut proposed = 0;
        let frames = frames.into_iter().inspect(|frame| {
            if frame.kind == FrameKind::Batch && matches!(frame.source, Source::Local { .. }) {
                proposed += frame_bytes(frame.body.len());
            }
        });
        let planned = plan(self.tail, !self.has_past, frames)?;
        if !planned.is_empty() {
            let runs = self.place(&planned)?;
            let rolls = runs.iter().any(|run| run.blank.is_some());
            let mut rest = &planned[..];
            for run in runs {
                if let Some(blank) = run.blank {
                    self.start_file(blank, rest.first())?;
                }
                let (now, later) = rest.split_at(run.frames);
                self.write_run(now, !later.is_empty())?;
                rest = later;
            }
            self.publish();
            if rolls {
                self.tell_files();
            }
            self.tell_room(proposed);
            self.prepare_next();
        }
        self.flusher.submit(done);
        Ok(())
    }

    /// Notes in the file how far the log is durable, without a sync. Frames vouch for those before
    /// them; this vouches for the last ones, which otherwise could rot and pass for a torn tail.
    /// For a log that is idle for a while; dropping the log does it, too.
    pub fn mark_durable(&mut self) {
        if let Some(active) = &self.active {
            mark::mark_durable(&active.segment, &self.flusher);
        }
    }

    /// The last frame; `None` while there never was one. It may have been purged.
    pub fn last(&self) -> Option<LastFrame> {
        if self.has_past {
            self.tail.last()
        } else {
            None
        }
    }

    /// The number of the file that is written to; 0 while there is none.
    pub fn newest_file(&self) -> u32 {
        let active = self.active.as_ref();
        active.map_or(0, |active| active.segment.header.number)
    }

    /// The first index that can be read, or would be if it were there.
    pub fn first_index(&self) -> LogIndex {
        self.first_index
    }

    /// The offset of the next record.
    pub fn next_offset(&self) -> Offset {
        self.tail.next_offset
    }

    /// What the log keeps its files to; may be changed at any time.
    pub fn limits(&self) -> Arc<FileLimits> {
        Arc::clone(&self.limits)
    }

    /// A reader of this log.
    pub fn reader(&self) -> LogReader {
        LogReader {
            view: Arc::clone(&self.view),
            damage: Arc::clone(&self.damage),
            flusher: self.flusher.clone(),
        }
    }

    /// The room for what is to be appended.
    pub fn room(&self) -> Room {
        self.room.clone()
    }

    /// Says what is left in the active file, after `appended` bytes of proposed frames came.
    fn tell_room(&self, appended: u64) {
        if let Some(active) = &self.active {
            let len = active.segment.header.file_len;
            let refused = active.sealed || self.limits.refuses(len);
            let used = active.end.max(SEGMENT_HEADER) + FOOTER;
            let left = match refused {
                true => 0,
                false => len.saturating_sub(u64::from(used)),
            };
            self.room.moved(left, self.next_len(), appended);
        }
    }

    /// Says which files there are, and what they take.
    fn tell_files(&self) {
        let sealed = self.sealed.iter().map(|part| &part.segment);
        let active = self.active.as_ref().map(|active| &active.segment);
        let files = sealed.chain(active);
        let files = files.map(|segment| (segment.header.number, segment.disk_bytes()));
        self.room.holds(files);
    }

    fn refuse_if_poisoned(&self) -> Result<(), LogError> {
        self.flusher
            .failed()
            .map_or(Ok(()), |error| Err(LogError::Poisoned(error)))
    }

    /// Ends the log after a failed write: nobody can say what the disk holds now.
    fn poison(&self, action: &'static str, number: u32, error: std::io::Error) -> LogError {
        let kind = error.kind();
        let shared: SyncError = Arc::new(std::io::Error::new(kind, error.to_string()));
        self.flusher.poison(shared);
        LogError::io(action, file_name(number))(error)
    }

    /// Writes frames to the active file, in as few writes as the limit of unsynced bytes allows.
    /// With `seal` the footer follows them.
    fn write_run(&mut self, frames: &[Planned], seal: bool) -> Result<(), LogError> {
        let mut rest = frames;
        loop {
            let limit = self.options.max_unsynced_bytes;
            let count = fitting(rest, limit);
            let (now, later) = rest.split_at(count);
            let bytes: u64 = now.iter().map(|frame| frame.head.frame_len()).sum();
            let unsynced = self.flusher.unsynced_bytes();
            if unsynced > 0 && unsynced + bytes > limit {
                self.flusher.sync_now().map_err(LogError::Poisoned)?;
            }
            self.write_chunk(now, seal && later.is_empty())?;
            if later.is_empty() {
                return Ok(());
            }
            rest = later;
        }
    }

    fn write_chunk(&mut self, frames: &[Planned], seal: bool) -> Result<(), LogError> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let segment = &active.segment;
        let mut encoder = Encoder::new(segment.generation, self.flusher.durable(), frames.len());
        if active.end == 0 {
            encoder.push_block(&segment.header.encode());
            active.end = SEGMENT_HEADER;
        }
        let start = if encoder.len() > 0 { 0 } else { active.end };
        let (mut end, mut max_timestamp) = (active.end, active.max_timestamp);
        for frame in frames {
            encoder.push(frame);
            end += frame.head.frame_len() as u32;
            max_timestamp = max_timestamp.max(times(&frame.head));
        }
        let bytes = u64::from(end - active.end);
        let tail = frames
            .last()
            .map_or(self.tail, |frame| Tail::from(&frame.head));
        if seal && let Some(last) = tail.last() {
            encoder.push_block(
                &Footer {
                    last,
                    max_timestamp,
                }
                .encode(segment.generation),
            );
            active.sealed = true;
        }
        let number = segment.header.number;
        let written = encoder.len();
        if segment.header.reused {
            encoder.fill_page(start);
        }
        if let Err(error) = segment.file.write_at(&encoder.slices(), u64::from(start)) {
            return Err(self.poison("write to", number, error));
        }
        let mut position = active.end;
        for (nth, frame) in frames.iter().enumerate() {
            let entry = IndexEntry {
                offset: frame.head.base_offset.0,
                index: frame.head.index.0,
                max_before: active.max_timestamp,
                position,
            };
            if nth == 0 {
                segment.warmth.wrote(entry);
            }
            segment.offer(entry);
            position += frame.head.frame_len() as u32;
            active.max_timestamp = active.max_timestamp.max(times(&frame.head));
            active.began = active.began.or(frame.head.began());
        }
        active.end = end;
        self.tail = tail;
        self.has_past |= !frames.is_empty();
        let end = start + written as u32;
        self.flusher.note(&Written {
            number,
            file: &segment.file,
            named: active.named,
            end,
            bytes,
        });
        Ok(())
    }

    /// Shows readers what there is now.
    fn publish(&self) {
        let active = self.active.as_ref().map(|active| Part {
            segment: Arc::clone(&active.segment),
            end: active.end,
            tail: self.tail,
        });
        self.view.store(Arc::new(View {
            sealed: Arc::clone(&self.sealed),
            active,
            first_index: self.first_index,
            log_start_offset: self.log_start_offset,
            last: self.last(),
            began: self.active.as_ref().and_then(|active| active.began),
        }));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.mark_durable();
    }
}

/// How many of the frames together stay within `limit` bytes; at least one.
fn fitting(frames: &[Planned], limit: u64) -> usize {
    let mut bytes = 0;
    let more = frames.iter().take_while(|frame| {
        bytes += frame.head.frame_len();
        bytes <= limit
    });
    more.count().max(1).min(frames.len())
}

/// Bytes a frame needs in a file that is to be sealed after it.
fn room_for(frame: &Planned) -> u64 {
    frame.head.frame_len() + u64::from(FOOTER)
}
