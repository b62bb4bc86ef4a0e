//! What is looked at through a map is read from the disk first: what the disk cannot give is damage
//! then, and otherwise the end of the process (SIGBUS) for whoever touches it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;

use super::dir::{Dir, File};
use super::error::{Damage, OpenError};
use super::found::FoundFile;
use super::options::LogOptions;
use super::segment::file_name;
use super::segment_header::{HeaderFault, SEGMENT_HEADER};

/// How much is read at once.
const PIECE: u64 = 1 << 20;
/// What is lost with one bad sector.
const PAGE: u64 = 4096;
/// How far recovery looks beyond a place that it says it looks at.
const BEYOND: u64 = 16 << 10;
/// What stands in a copy in the place of what cannot be read. It is nothing of ours, and not blank.
const FILLER: u8 = 0xa5;

/// The open files, in the order of their numbers.
pub(super) type Handles = Vec<Arc<dyn File>>;

/// What may be touched of a file: its bytes, and the first one that the disk cannot give.
type Readable = (Bytes, Option<u64>);

/// Reads every header. A file of another log or of a later version refuses all.
pub(super) fn read_files(
    dir: &dyn Dir,
    names: &[String],
    options: &LogOptions,
    read: impl Fn(&dyn File) -> io::Result<Readable>,
) -> Result<(Handles, Vec<FoundFile>), OpenError> {
    let subdirs = dir
        .list_subdirs()
        .map_err(OpenError::io("list", "the log's directory"))?;
    if let Some(name) = subdirs.iter().find(|name| segment_number(name).is_some()) {
        return Err(not_ours(name, HeaderFault::Directory));
    }
    let mut handles = Vec::new();
    let mut files = Vec::new();
    for name in names {
        let Some(number) = segment_number(name) else {
            continue;
        };
        let handle = match dir.open(name) {
            // A file that was being prepared for a log that is closed by now, and was not needed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(OpenError::io("open", name))?,
        };
        let (bytes, unreadable) = read(&*handle).map_err(OpenError::io("read", name))?;
        match FoundFile::read(bytes, unreadable, &options.owner, number) {
            Ok(file) => files.push(file),
            Err(fault @ HeaderFault::Version(_)) => {
                let (file, fault) = (name.clone(), fault.to_string());
                return Err(OpenError::Unsupported { file, fault });
            }
            Err(fault) => return Err(not_ours(name, fault)),
        }
        handles.push(handle);
    }
    Ok((handles, files))
}

pub(super) fn not_ours(name: &str, fault: HeaderFault) -> OpenError {
    let file = name.to_owned();
    OpenError::Foreign { file, fault }
}

fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".seg")?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// A file of which only the header may be touched; not even that, if it is unreadable.
pub(super) fn header_of(file: &dyn File) -> io::Result<Readable> {
    let header = u64::from(SEGMENT_HEADER).min(file.len());
    Ok(match first_unreadable(file, 0..header)? {
        None => (file.slice(0..file.len()), None),
        Some(at) => (Bytes::from(vec![FILLER; header as usize]), Some(at)),
    })
}

/// All of a file. Where the disk cannot give it, it is a copy with something else in that place.
pub(super) fn all_of(file: &dyn File) -> io::Result<Readable> {
    let len = file.len();
    let Some(first) = first_unreadable(file, 0..len)? else {
        return Ok((file.slice(0..len), None));
    };
    let mut copy = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    let mut at = 0;
    while at < len {
        let page = at..len.min(at + PAGE);
        at = page.end;
        match is_readable(file, &page)? {
            true => copy.extend_from_slice(&file.slice(page)),
            false => copy.resize(at as usize, FILLER),
        }
    }
    Ok((Bytes::from(copy), Some(first)))
}

/// Reads a range from the disk into memory; the first byte that the disk cannot give, if there is one.
pub(super) fn first_unreadable(file: &dyn File, range: Range<u64>) -> io::Result<Option<u64>> {
    let mut at = range.start;
    while at < range.end {
        let piece = at..range.end.min(at + PIECE);
        at = piece.end;
        if is_readable(file, &piece)? {
            continue;
        }
        let mut pages = piece.step_by(PAGE as usize);
        let bad = pages.find_map(|page| match is_readable(file, &(page..page + PAGE)) {
            Ok(true) => None,
            Ok(false) => Some(Ok(page)),
            Err(error) => Some(Err(error)),
        });
        if let Some(bad) = bad {
            return bad.map(Some);
        }
    }
    Ok(None)
}

fn is_readable(file: &dyn File, range: &Range<u64>) -> io::Result<bool> {
    match file.make_resident(range.clone()) {
        Err(error) if is_lost(&error) => Ok(false),
        resident => resident.map(|()| true),
    }
}

/// Whether an error of the disk says that it cannot give what it was given.
fn is_lost(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Whether the system could not do now what it may do a moment later: it lacked memory or open files.
pub(super) fn is_passing(error: &io::Error) -> bool {
    let passing = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::INTR];
    let code = error.raw_os_error();
    error.kind() == io::ErrorKind::OutOfMemory
        || passing
            .iter()
            .any(|errno| code == Some(errno.raw_os_error()))
}

/// What is known to be in memory of the files that recovery looks at.
pub(super) struct Resident<'a> {
    handles: &'a Handles,
    files: &'a [FoundFile],
    /// The file that it looks at, and how far that has been read.
    at: (u32, u64),
}

impl<'a> Resident<'a> {
    /// An error if the header of a file cannot be read.
    pub(super) fn begin(handles: &'a Handles, files: &'a [FoundFile]) -> Result<Self, OpenError> {
        let mut found = files
            .iter()
            .filter_map(|file| Some((file, file.unreadable?)));
        if let Some((file, at)) = found.next() {
            return Err(unreadable(file.number, at));
        }
        Ok(Self {
            handles,
            files,
            at: (0, 0),
        })
    }

    /// Reads a file up to this place and somewhat further, before anybody looks there.
    pub(super) fn look(&mut self, number: u32, at: usize) -> Result<(), OpenError> {
        let from = match self.at.0 == number {
            true => self.at.1,
            false => 0,
        };
        let until = at as u64 + BEYOND;
        if until <= from {
            return Ok(());
        }
        let mut files = self.files.iter().zip(self.handles);
        let Some((_, handle)) = files.find(|(file, _)| file.number == number) else {
            return Ok(());
        };
        let until = until.next_multiple_of(PIECE).min(handle.len());
        let bad = first_unreadable(&**handle, from..until);
        if let Some(bad) = bad.map_err(OpenError::io("read", file_name(number)))? {
            return Err(unreadable(number, bad));
        }
        self.at = (number, until.max(from));
        Ok(())
    }
}

/// Why a log with such a file is not opened.
fn unreadable(number: u32, at: u64) -> OpenError {
    OpenError::Damaged(damage(number, at))
}

/// Damage of a file that cannot be read there.
pub(super) fn damage(number: u32, at: u64) -> Damage {
    Damage {
        file: file_name(number),
        position: at as u32,
        first_bad_index: None,
        reason: "the disk cannot read it (input/output error)".to_owned(),
    }
}
