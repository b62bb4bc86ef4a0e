//! PURE. What counts of the files found in a log's directory. A torn tail that was never durable is
//! cut off; anything else that is damaged is refused.
//!
//! "Durable" is decided by proof: frames and file headers carry the position known to be on the
//! disk when they were written, so one of them that can still be read vouches for all before it.

use highwater_proto::LogIndex;

use super::error::{Damage, OpenError};
use super::found::FoundFile;
use super::frame::{Position, Tail};
use super::index::{GrowingIndex, SegmentIndex};
use super::scan::{self, Evidence, Scan, Stop};
use super::segment::file_name;
use super::segment_header::{HeaderFault, Owner, SEGMENT_HEADER, generation, read_hint};

/// What recovery found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Where the log was cut because what followed was torn and had never been durable.
    pub torn: Option<TornTail>,
    /// How many files no longer counted and were removed.
    pub removed_files: usize,
    /// How many bytes of frames were scanned.
    pub scanned_bytes: u64,
}

/// A tail that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The last file that counts.
    pub file: String,
    /// The byte from which on nothing counts.
    pub position: u32,
    /// How many bytes of frames were written behind it.
    pub bytes: u64,
    /// What is wrong there.
    pub reason: String,
}

/// A file that counts, up to `end`.
#[derive(Debug)]
pub(super) struct Live {
    /// Its place among the files found.
    pub(super) at: usize,
    pub(super) end: u32,
    /// The log's state at `end`.
    pub(super) tail: Tail,
    /// What a scan of it found, unless it was proven to be durable as a whole.
    pub(super) scanned: Option<(Scan, SegmentIndex)>,
}

/// What counts.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// Oldest first.
    pub(super) live: Vec<Live>,
    /// Whether the last of them may be written on.
    pub(super) appendable: bool,
    pub(super) torn: Option<TornTail>,
    /// Everything before this was proven to be durable.
    pub(super) durable: Position,
}

/// Called with the number of a file before it is looked at around a byte, or at one before that.
pub(super) type Look<'a> = &'a mut dyn FnMut(u32, usize) -> Result<(), OpenError>;

/// Decides what counts of `files`, which are in the order of their numbers.
pub(super) fn decide(
    files: &[FoundFile],
    owner: &Owner,
    max_unsynced: u64,
    look: Look<'_>,
) -> Result<Decision, OpenError> {
    let reach = |file: &FoundFile| file.reach(max_unsynced);
    let proof = Proof::gather(files, owner, reach, look)?;
    let chain = chain(files, &proof)?;
    let mut decision = Decision {
        durable: proof.durable,
        ..Decision::default()
    };
    for (nth, link) in chain.iter().enumerate() {
        let file = &files[link.at];
        let Ok(header) = &file.header else {
            continue;
        };
        let next = chain
            .get(nth + 1)
            .and_then(|next| files[next.at].header.as_ref().ok());
        if let (Some(end), Some(next)) = (link.end, next)
            && proof.durable
                >= (Position {
                    file: file.number,
                    byte: end,
                })
        {
            decision.live.push(Live {
                at: link.at,
                end,
                tail: next.start(),
                scanned: None,
            });
            continue;
        }
        let index = GrowingIndex::for_file(header.file_len);
        let limit = link.end.unwrap_or(u32::MAX);
        let scan = scan::scan(&file.bytes, header, limit, &mut |entry| index.offer(entry));
        let scanned = Some((scan, SegmentIndex::Growing(index)));
        decision.live.push(Live {
            at: link.at,
            end: scan.end,
            tail: scan.tail,
            scanned,
        });
        let whole = match (link.end, next) {
            (Some(end), Some(next)) => scan.end == end && next.start() == scan.tail,
            _ => scan.stop == Stop::Footer || ends_clean(file, &scan, &proof, reach(file)),
        };
        if !whole {
            decision.torn = Some(proof.judge(files, link.at, &scan, reach)?);
            return Ok(decision);
        }
        decision.appendable = scan.stop != Stop::Footer;
    }
    if chain.is_empty() && proof.durable.byte > 0 {
        return Err(proof.lost_header(files));
    }
    Ok(decision)
}

/// Refuses a log that ends before a file that is known to have been durable, or before one that lost
/// its end. Nothing in the log itself tells of its newest file.
pub(super) fn refuse_lost_end(
    files: &[FoundFile],
    decision: &Decision,
    durable_file: u32,
) -> Result<(), OpenError> {
    let newest = decision.live.last().map_or(0, |live| files[live.at].number);
    let short = files.iter().filter(|file| file.short.is_some());
    let short = short.map(|file| file.number).max();
    let needed = short.map_or(durable_file, |short| short.max(durable_file));
    if newest >= needed {
        return Ok(());
    }
    match files.iter().any(|file| file.number == needed) {
        true => Err(header_damage(files, needed)),
        false => Err(missing_file(needed)),
    }
}

/// Refuses a log that begins behind an entry that was never purged.
pub(super) fn refuse_lost_beginning(
    files: &[FoundFile],
    decision: &Decision,
    unpurged: Option<LogIndex>,
) -> Result<(), OpenError> {
    let oldest = decision.live.first().map(|live| &files[live.at].header);
    let header = oldest.and_then(|header| header.as_ref().ok());
    match header.and_then(|header| header.lost_before(unpurged)) {
        Some(number) => Err(missing_file(number)),
        None => Ok(()),
    }
}

fn ends_clean(file: &FoundFile, scan: &Scan, proof: &Proof, reach: u64) -> bool {
    let nothing = |header| scan::nothing_after(&file.bytes, header, scan.end, reach);
    let end = Position {
        file: file.number,
        byte: scan.end,
    };
    end >= proof.durable && file.header.as_ref().is_ok_and(nothing)
}

/// What is proven about durability, and what was written where.
pub(super) struct Proof {
    pub(super) durable: Position,
    /// For each file looked at, from the newest down.
    seen: Vec<(u32, Evidence)>,
}

impl Proof {
    /// Looks through the newest files until older ones cannot add anything.
    pub(super) fn gather(
        files: &[FoundFile],
        owner: &Owner,
        reach: impl Fn(&FoundFile) -> u64,
        look: Look<'_>,
    ) -> Result<Self, OpenError> {
        let headers = files.iter().filter_map(FoundFile::known);
        let durable = headers
            .map(|header| header.durable)
            .max()
            .unwrap_or_default();
        // Without one good header the secret is lost, and any whole frame is believed.
        let salt = salt_of(files);
        let mut proof = Self {
            durable,
            seen: Vec::new(),
        };
        for file in files.iter().rev() {
            if file.number < proof.durable.file {
                break;
            }
            let generation = salt.map(|salt| generation(owner, salt, file.number));
            proof.durable = proof.durable.max(read_hint(&file.bytes, generation));
            let mut look = |at| look(file.number, at);
            let (bytes, number) = (&file.bytes, file.number);
            let found = scan::evidence(bytes, number, generation, reach(file), &mut look)?;
            proof.durable = proof.durable.max(found.durable);
            proof.seen.push((file.number, found));
        }
        Ok(proof)
    }

    /// The byte after the last whole frame header in a file, if the file was looked at.
    pub(super) fn written_end(&self, number: u32) -> Option<u32> {
        let mut seen = self.seen.iter();
        seen.find(|(seen, _)| *seen == number)
            .map(|(_, found)| found.written_end)
    }

    /// Whether the header of a file was durable.
    fn covers_header(&self, number: u32) -> bool {
        self.durable
            >= Position {
                file: number,
                byte: SEGMENT_HEADER,
            }
    }

    /// The log ends in file `at` where `scan` ends: torn, or damaged?
    fn judge(
        &self,
        files: &[FoundFile],
        at: usize,
        scan: &Scan,
        reach: impl Fn(&FoundFile) -> u64,
    ) -> Result<TornTail, OpenError> {
        let file = &files[at];
        let damage = Damage {
            file: file_name(file.number),
            position: scan.end,
            first_bad_index: Some(scan.tail.next_index),
            reason: match scan.stop {
                Stop::Fault(fault) => fault.to_string(),
                Stop::Limit | Stop::Footer => {
                    "the next file does not continue what this one holds".to_owned()
                }
            },
        };
        if let Stop::Fault(fault) = scan.stop
            && let Ok(header) = &file.header
            && scan::unknown_frame(&file.bytes[scan.end as usize..], header, fault)
        {
            return Err(OpenError::Unsupported {
                file: damage.file,
                fault: fault.to_string(),
            });
        }
        let here = Position {
            file: file.number,
            byte: scan.end,
        };
        if here < self.durable || scan.stop == Stop::Limit {
            return Err(OpenError::Damaged(damage));
        }
        let behind = |(number, found): &(u32, Evidence)| {
            let from = if *number == file.number {
                scan.end
            } else {
                SEGMENT_HEADER
            };
            u64::from(found.written_end.saturating_sub(from))
        };
        let later = self
            .seen
            .iter()
            .filter(|(number, _)| *number >= file.number);
        let bytes = later.map(behind).sum();
        let limit = files[at..].iter().map(reach).max().unwrap_or(0);
        if bytes > limit {
            return Err(OpenError::SuspiciousCut {
                damage,
                bytes,
                limit,
            });
        }
        let Damage {
            file,
            position,
            reason,
            ..
        } = damage;
        Ok(TornTail {
            file,
            position,
            bytes,
            reason,
        })
    }

    /// No file has a header, and something was durable.
    fn lost_header(&self, files: &[FoundFile]) -> OpenError {
        let file = files.iter().find(|file| file.number >= self.durable.file);
        let file = file.or(files.last());
        header_damage(files, file.map_or(self.durable.file, |file| file.number))
    }
}

/// The secret of the log that these files are of.
pub(super) fn salt_of(files: &[FoundFile]) -> Option<u32> {
    let headers = files.iter().filter_map(FoundFile::known);
    headers.last().map(|header| header.salt)
}

/// A file of the chain, and the byte at which the next one takes over.
struct Link {
    at: usize,
    end: Option<u32>,
}

/// The files that continue each other, oldest first, from the newest that can count.
fn chain(files: &[FoundFile], proof: &Proof) -> Result<Vec<Link>, OpenError> {
    let mut considered = files;
    'newest: loop {
        let newest = considered.iter().rposition(|file| file.header.is_ok());
        let kept = newest.map_or(0, |at| at + 1);
        if let Some(lost) = considered[kept..]
            .iter()
            .find(|f| proof.covers_header(f.number))
        {
            return Err(header_damage(files, lost.number));
        }
        let Some(mut at) = newest else {
            return Ok(Vec::new());
        };
        let mut links = vec![Link { at, end: None }];
        while let Some(joint) = files[at]
            .header
            .as_ref()
            .ok()
            .and_then(|header| header.continues)
        {
            let Some(before) = files[..at]
                .iter()
                .position(|file| file.number == joint.file)
            else {
                let mut older = files[..at].iter().filter(|file| file.number < joint.file);
                if older.any(|file| file.header.is_ok()) {
                    return Err(missing_file(joint.file));
                }
                break;
            };
            if files[before].header.is_err() {
                if proof.covers_header(joint.file) {
                    return Err(header_damage(files, joint.file));
                }
                considered = &files[..before];
                continue 'newest;
            }
            at = before;
            links.push(Link {
                at,
                end: Some(joint.byte),
            });
        }
        links.reverse();
        return Ok(links);
    }
}

fn header_damage(files: &[FoundFile], number: u32) -> OpenError {
    let mut short = files.iter().filter(|file| file.short.is_some());
    let reason = match short.any(|file| file.number == number) {
        true => "the file is shorter than its header says: its end is lost".to_owned(),
        false => HeaderFault::Damaged.to_string(),
    };
    damaged(number, reason)
}

fn missing_file(number: u32) -> OpenError {
    let reason = "the file is missing, though the log needs it";
    damaged(number, reason.to_owned())
}

fn damaged(number: u32, reason: String) -> OpenError {
    OpenError::Damaged(Damage {
        file: file_name(number),
        position: 0,
        first_bad_index: None,
        reason,
    })
}
