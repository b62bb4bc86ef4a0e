//! The two files of the hard state: finding the newest whole one, beginning the next, putting the
//! old one aside for the time after that.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use crc32fast::hash;

use super::record::{self, Change, Record};
use super::{FILE_LEN, HardKey, HardStateError};
use crate::log::dir::{Dir, File};

/// The first bytes of a file.
const MAGIC: [u8; 8] = *b"HWSTATE\0";
/// The version of the layout.
pub(in crate::log) const VERSION: u32 = 1;
/// Bytes before the first record.
const HEADER: usize = 64;
/// The file that is not in use.
const SPARE: &str = "hard-spare.wal";

/// The name of file `number`.
pub(super) fn name(number: u32) -> String {
    format!("hard-{number:08}.wal")
}

fn number_of(name: &str) -> Option<u32> {
    name.strip_prefix("hard-")?
        .strip_suffix(".wal")?
        .parse()
        .ok()
}

/// The numbers of the files in `dir`, lowest first.
pub(super) fn numbers(dir: &dyn Dir) -> io::Result<Vec<u32>> {
    let names = dir.list()?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// What the files hold.
pub(super) struct Found {
    pub(super) values: BTreeMap<HardKey, Bytes>,
    /// The highest number in use; 0 without files.
    pub(super) number: u32,
    /// The numbers of all files.
    pub(super) files: Vec<u32>,
}

/// Reads the newest file whose snapshot is whole, and the changes after it.
pub(super) fn recover(dir: &dyn Dir) -> Result<Found, HardStateError> {
    let io = |action, file: &str| {
        let file = file.to_owned();
        move |source| HardStateError::Io {
            action,
            file,
            source,
        }
    };
    let files = numbers(dir).map_err(io("list", "the data directory"))?;
    let number = files.last().copied().unwrap_or(0);
    for (older, number) in files.iter().copied().enumerate().rev() {
        let name = name(number);
        let file = dir.open(&name).map_err(io("open", &name))?;
        file.make_resident(0..file.len())
            .map_err(io("read", &name))?;
        let bytes = file.slice(0..file.len());
        let last_resort = older == 0;
        if let Some(values) = read(&bytes, &name, number, last_resort)? {
            let values = values
                .into_iter()
                .map(|(key, value)| (key, copy(&value)))
                .collect();
            return Ok(Found {
                values,
                number: files.last().copied().unwrap_or(number),
                files,
            });
        }
    }
    Ok(Found {
        values: BTreeMap::new(),
        number,
        files,
    })
}

/// The file is going to be written over: nothing may point into it.
fn copy(value: &Bytes) -> Bytes {
    Bytes::copy_from_slice(value)
}

type Values = BTreeMap<HardKey, Bytes>;

/// The values of one file; `None` if it was begun and never finished.
fn read(
    bytes: &Bytes,
    name: &str,
    number: u32,
    last_resort: bool,
) -> Result<Option<Values>, HardStateError> {
    let damaged = |position: usize, reason| HardStateError::Damaged {
        file: name.to_owned(),
        position: position as u32,
        reason,
    };
    let header = match header_of(bytes, number) {
        Some(Err(version)) => {
            return Err(HardStateError::Version {
                file: name.to_owned(),
                version,
            });
        }
        Some(Ok(header)) => Some(header),
        None => None,
    };
    let snapshot_end = header.map(|header| header.snapshot_end);
    let mut values = Values::new();
    let (mut at, mut sequence) = (HEADER, 0);
    while snapshot_end.is_some() {
        let stored = record::decode(&bytes.slice(at.min(bytes.len())..), number);
        let Some(stored) = stored.filter(|stored| stored.sequence == sequence) else {
            break;
        };
        at += stored.len;
        sequence += 1;
        stored.change.apply(&mut values);
    }
    let vouched = vouched(bytes, number, at);
    if snapshot_end.is_none_or(|end| at < end) {
        // The first file begins empty, and a later one is relied on only once it is durable.
        if vouched == 0 && (!last_resort || number == 1) {
            return Ok(None);
        }
        return Err(damaged(at, "its snapshot is not whole"));
    }
    if header.is_some_and(|header| (bytes.len() as u64) < header.file_len) {
        // What was behind here may have been a vote, and nothing is left that vouches for it.
        return Err(damaged(bytes.len(), "its end is missing"));
    }
    if vouched > at {
        return Err(damaged(at, "a change that was durable cannot be read"));
    }
    Ok(Some(values))
}

/// What a file says of itself.
#[derive(Clone, Copy)]
struct Header {
    snapshot_end: usize,
    /// The bytes that the file has at least. It never changes its size.
    file_len: u64,
}

/// The least size of a file whose snapshot ends here.
fn least_len(snapshot_end: u64) -> u64 {
    FILE_LEN.max((snapshot_end * 4).next_multiple_of(4096))
}

/// The header, if it is whole; the version, if that is not known.
fn header_of(bytes: &Bytes, number: u32) -> Option<Result<Header, u32>> {
    let head = bytes.first_chunk::<HEADER>()?;
    let u32_at =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if head[..8] != MAGIC || hash(&head[..60]) != u32_at(60) {
        return None;
    }
    if u32_at(8) != VERSION {
        return Some(Err(u32_at(8)));
    }
    let (snapshot_end, file_len) = (u32_at(16), u32_at(20));
    let header = Header {
        snapshot_end: snapshot_end as usize,
        // Not said by brokers of before.
        file_len: u64::from(file_len).max(least_len(u64::from(snapshot_end))),
    };
    (u32_at(12) == number).then_some(Ok(header))
}

/// The highest position that a whole record from `at` on says was durable before it.
fn vouched(bytes: &Bytes, number: u32, at: usize) -> usize {
    let mut vouched = 0;
    let mut at = at;
    while at < bytes.len() {
        match record::decode(&bytes.slice(at..), number) {
            Some(stored) => {
                vouched = vouched.max(stored.durable as usize);
                at += stored.len;
            }
            None => at += record::ALIGN,
        }
    }
    vouched
}

/// Begins file `number` with a snapshot of `values`, durable when it returns, and its end.
pub(super) fn begin(
    dir: &dyn Dir,
    number: u32,
    values: &Values,
) -> io::Result<(Arc<dyn File>, u32)> {
    let mut snapshot = Vec::new();
    for (sequence, (key, value)) in values.iter().enumerate() {
        let change = Change::Put(*key, value.clone());
        let record = Record {
            number,
            sequence: sequence as u64,
            durable: 0,
            change: &change,
        };
        snapshot.extend(record.encode());
    }
    let end = HEADER + snapshot.len();
    let file = blank(dir, number, least_len(end as u64))?;
    let file_len = u32::try_from(file.len()).map_err(io::Error::other)?;
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&number.to_le_bytes());
    header[16..20].copy_from_slice(&(end as u32).to_le_bytes());
    header[20..24].copy_from_slice(&file_len.to_le_bytes());
    let crc = hash(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    file.write_at(&[IoSlice::new(&header), IoSlice::new(&snapshot)], 0)?;
    file.sync_now()?;
    dir.sync_dir()?;
    Ok((file, end as u32))
}

/// The spare file under its new name, or a new one if there is none or it is too small.
fn blank(dir: &dyn Dir, number: u32, needed: u64) -> io::Result<Arc<dyn File>> {
    let name = name(number);
    match dir.open(SPARE) {
        Ok(spare) if spare.len() >= needed => {
            dir.rename(SPARE, &name)?;
            Ok(spare)
        }
        Ok(_) => {
            dir.remove(SPARE)?;
            dir.create(&name, needed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => dir.create(&name, needed),
        Err(error) => Err(error),
    }
}

/// Makes one of the old files the spare one and removes the others; without old files makes a
/// spare one, so that the next time needs no room on the disk.
pub(super) fn retire(dir: &dyn Dir, old: &[u32], len: u64) -> io::Result<()> {
    match old.split_last() {
        Some((newest, others)) => {
            for other in others {
                dir.remove(&name(*other))?;
            }
            dir.rename(&name(*newest), SPARE)?;
        }
        None => {
            dir.create(SPARE, len)?;
        }
    }
    dir.sync_dir()
}
