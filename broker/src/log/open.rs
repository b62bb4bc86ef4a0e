//! Opening a log: reads what is in the directory, has recovery decide what counts, makes that
//! durable, and only then removes what does not count.

use std::io::{self, IoSlice};
use std::sync::Arc;

use highwater_proto::{LogIndex, Offset};

use super::dir::{Dir, File, is_full};
use super::error::OpenError;
use super::found::FoundFile;
use super::frame::{LastFrame, Position, Tail};
use super::index::SegmentIndex;
use super::options::LogOptions;
use super::readable::{Resident, header_of, not_ours, read_files};
use super::recovery::{self, Decision, Live, Look, Recovered};
use super::scan::Scan;
use super::seal;
use super::segment::{Segment, dead_name, file_name, index_name};
use super::segment_header::{HeaderFault, Origin, SEGMENT_HEADER, SegmentHeader};
use super::view::Part;

/// How much is written again at once.
const REWRITE: usize = 1 << 20;
/// A file that is begun on a full disk has at least the room that is kept for Raft's own entries.
const SMALL_FILE: u64 = 128 << 10;

/// A recovered log. Everything it holds is on the disk.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) sealed: Vec<Part>,
    /// The file to be written on, with what the scan of it found.
    pub(super) active: Option<(Part, Option<Scan>)>,
    /// Whether that file must not be written on.
    must_begin: bool,
    pub(super) tail: Tail,
    /// Whether there is a frame before the tail, here or purged.
    pub(super) has_past: bool,
    pub(super) next_number: u32,
    pub(super) durable: Position,
    pub(super) salt: u32,
    pub(super) recovered: Recovered,
}

/// Opens the log in `dir`.
pub(super) fn open(dir: &Arc<dyn Dir>, options: &LogOptions) -> Result<Opened, OpenError> {
    let names = dir
        .list()
        .map_err(OpenError::io("list", "the log's directory"))?;
    let (handles, files) = read_files(&**dir, &names, options, header_of)?;
    let mut resident = Resident::begin(&handles, &files)?;
    let look: Look<'_> = &mut |number, at| resident.look(number, at);
    let decision = recovery::decide(&files, &options.owner, options.max_unsynced_bytes, look)?;
    recovery::refuse_lost_end(&files, &decision, options.durable_file)?;
    recovery::refuse_lost_beginning(&files, &decision, options.unpurged)?;
    refuse_strangers(&files, &decision)?;
    remove_dead(&**dir, &names)?;
    for live in &decision.live {
        let file = &files[live.at];
        make_durable(&*handles[live.at], file, live.end, decision.durable)
            .map_err(OpenError::io("sync", file_name(file.number)))?;
    }
    let durable = decision.durable;
    let mut opened = Opened::new(dir, &handles, &files, decision, options.salt);
    let newest = opened
        .active
        .as_ref()
        .map_or(0, |(part, _)| part.segment.header.number);
    let rivals = files
        .iter()
        .any(|file| file.number > newest && file.header.is_ok());
    if opened.active.is_some() && (opened.must_begin || rivals) {
        opened.begin_file(dir, options, &files)?;
    }
    if opened.durable.file != durable.file || durable.byte < SEGMENT_HEADER {
        dir.sync_dir()
            .map_err(OpenError::io("sync", "the log's directory"))?;
    }
    opened.remove_others(&**dir, &files, &names)?;
    Ok(opened)
}

/// Refuses files that no log has written: a header is in one sector, so that a crash leaves it whole
/// or blank.
fn refuse_strangers(files: &[FoundFile], decision: &Decision) -> Result<(), OpenError> {
    let live = |at: usize| decision.live.iter().any(|live| live.at == at);
    let mut strangers = files.iter().enumerate();
    let stranger = strangers
        .find(|(at, file)| file.header == Err(HeaderFault::Damaged) && !live(*at))
        .map(|(_, file)| not_ours(&file_name(file.number), HeaderFault::Damaged));
    stranger.map_or(Ok(()), Err)
}

/// Removes files that were about to become others, before anything can get their new names.
fn remove_dead(dir: &dyn Dir, names: &[String]) -> Result<(), OpenError> {
    let is_dead = |name: &&String| {
        let number = name.strip_suffix(".old").map(str::parse);
        matches!(number, Some(Ok(number)) if **name == dead_name(number))
    };
    for name in names.iter().filter(is_dead) {
        match dir.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::io("remove", name)(error));
            }
            // Removed, or taken over by the log that was closed.
            _ => {}
        }
    }
    Ok(())
}

/// Makes a file durable up to `end`, as far as nothing proves that it is. A sync alone would not do:
/// if the process before this one ended of a failed sync, the page cache still shows what the disk
/// never got, and takes it for written. So it is written once more.
fn make_durable(
    handle: &dyn File,
    file: &FoundFile,
    end: u32,
    durable: Position,
) -> io::Result<()> {
    let wanted = Position {
        file: file.number,
        byte: end,
    };
    if wanted <= durable {
        return Ok(());
    }
    let from = if durable.file == file.number {
        durable.byte
    } else {
        0
    };
    let doubtful = &file.bytes[from as usize..end as usize];
    let mut position = u64::from(from);
    for chunk in doubtful.chunks(REWRITE) {
        // Copied first: a write must not read from the map of the page it changes.
        let copy = Vec::from(chunk);
        handle.write_at(&[IoSlice::new(&copy)], position)?;
        position += chunk.len() as u64;
    }
    handle.sync_now()
}

/// Makes a file of `len` bytes, or on a full disk a small one: a replica opens and is read there,
/// too. For that the newest files give way if they were prepared and never used.
fn create(dir: &dyn Dir, name: &str, len: u64, files: &[FoundFile]) -> io::Result<Arc<dyn File>> {
    let unused = |file: &&FoundFile| file.header == Err(HeaderFault::Blank);
    match dir.create(name, len) {
        Err(error) if is_full(&error) => {
            dir.space().set_short();
            for file in files.iter().rev().take_while(unused) {
                dir.remove(&file_name(file.number))?;
            }
            dir.sync_dir()?;
            dir.create(name, len.min(SMALL_FILE))
        }
        created => created,
    }
}

impl Opened {
    fn new(
        dir: &Arc<dyn Dir>,
        handles: &[Arc<dyn File>],
        files: &[FoundFile],
        decision: Decision,
        salt: u32,
    ) -> Self {
        let mut opened = Self {
            sealed: Vec::new(),
            active: None,
            must_begin: decision.torn.is_some() || !decision.appendable,
            tail: Tail::start(LogIndex(0), Offset::ZERO),
            has_past: false,
            next_number: files.last().map_or(1, |file| file.number.saturating_add(1)),
            durable: Position::default(),
            salt: recovery::salt_of(files).unwrap_or(salt),
            recovered: Recovered {
                torn: decision.torn,
                ..Recovered::default()
            },
        };
        for live in decision.live {
            let Ok(header) = files[live.at].header else {
                continue;
            };
            opened.push(dir, Arc::clone(&handles[live.at]), header, live);
        }
        opened
    }

    /// Adds the next file; the one before it becomes a sealed one.
    fn push(
        &mut self,
        dir: &Arc<dyn Dir>,
        handle: Arc<dyn File>,
        header: SegmentHeader,
        live: Live,
    ) {
        self.seal_active();
        let (scan, index) = live
            .scanned
            .map_or((None, None), |(scan, index)| (Some(scan), Some(index)));
        let index = index.unwrap_or(SegmentIndex::Unread);
        let segment = Arc::new(Segment::new(header, dir, handle, index));
        self.tail = live.tail;
        self.has_past |= header.previous.is_some() || live.end > SEGMENT_HEADER;
        self.durable = Position {
            file: header.number,
            byte: live.end,
        };
        if let Some(scan) = &scan {
            segment.warmth.mark(&(0..live.end));
            self.recovered.scanned_bytes += u64::from(scan.end - SEGMENT_HEADER);
        }
        self.active = Some((
            Part {
                segment,
                end: live.end,
                tail: live.tail,
            },
            scan,
        ));
    }

    fn seal_active(&mut self) {
        if let Some((part, scan)) = self.active.take() {
            if scan.is_some() {
                seal::write_index(&part);
            }
            // A crash may have come before it gave back its rest, and nobody does so later.
            part.segment.measure();
            self.sealed.push(part);
        }
    }

    /// Begins a file behind what counts: nothing is ever appended behind a doubtful tail, whose
    /// ghosts could come back after the next crash.
    fn begin_file(
        &mut self,
        dir: &Arc<dyn Dir>,
        options: &LogOptions,
        files: &[FoundFile],
    ) -> Result<(), OpenError> {
        let Some((last, _)) = &self.active else {
            return Ok(());
        };
        let before = &last.segment.header;
        let empty = last.end == SEGMENT_HEADER;
        let joint = Position {
            file: before.number,
            byte: last.end,
        };
        let (origin, continues, previous) = if empty {
            (before.origin, before.continues, before.previous)
        } else {
            (Origin::Cut, Some(joint), self.last())
        };
        let name = file_name(self.next_number);
        let regular = before.file_len.min(options.max_segment_bytes);
        let regular = options.first_segment_bytes.max(regular);
        let file = create(&**dir, &name, regular, files).map_err(OpenError::io("begin", &name))?;
        let header = SegmentHeader {
            owner: options.owner,
            salt: self.salt,
            origin,
            number: self.next_number,
            file_len: file.len(),
            max_unsynced: options.max_unsynced_bytes,
            first_index: self.tail.next_index,
            first_offset: self.tail.next_offset,
            previous,
            continues,
            durable: self.durable,
            reused: false,
        };
        file.write_at(&[IoSlice::new(&header.encode())], 0)
            .and_then(|()| file.sync_now())
            .map_err(OpenError::io("begin", name))?;
        if empty {
            self.active = None;
        }
        self.seal_active();
        self.next_number = header.number.saturating_add(1);
        self.durable = Position {
            file: header.number,
            byte: SEGMENT_HEADER,
        };
        let segment = Arc::new(Segment::begin(header, dir, file));
        self.active = Some((
            Part {
                segment,
                end: SEGMENT_HEADER,
                tail: self.tail,
            },
            None,
        ));
        Ok(())
    }

    fn last(&self) -> Option<LastFrame> {
        if self.has_past {
            self.tail.last()
        } else {
            None
        }
    }

    /// Removes files that do not count. From the newest down and one by one: a later one that
    /// survived an earlier one would look like a log that lost its beginning.
    fn remove_others(
        &mut self,
        dir: &dyn Dir,
        files: &[FoundFile],
        names: &[String],
    ) -> Result<(), OpenError> {
        let active = self.active.as_ref().map(|(part, _)| part);
        let parts = self.sealed.iter().chain(active);
        let keep: Vec<u32> = parts.map(|part| part.segment.header.number).collect();
        for file in files
            .iter()
            .rev()
            .filter(|file| !keep.contains(&file.number))
        {
            let name = file_name(file.number);
            let removed = match dir.remove(&name) {
                // It gave way to the file that was begun.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed.and_then(|()| dir.sync_dir()),
            };
            removed.map_err(OpenError::io("remove", name))?;
            self.recovered.removed_files += 1;
        }
        let orphan = |name: &&String| {
            let number = name
                .strip_suffix(".idx")
                .and_then(|number| number.parse().ok());
            number.is_some_and(|number| **name == index_name(number) && !keep.contains(&number))
        };
        for name in names.iter().filter(orphan) {
            dir.remove(name).map_err(OpenError::io("remove", name))?;
        }
        Ok(())
    }
}
