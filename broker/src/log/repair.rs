//! Giving a damaged log back what it lost: the oldest damaged file is written anew beside itself,
//! from what is still whole in it and from the exact frames of another replica, and then takes its
//! place. What was there is kept in `quarantine`.
//!
//! A frame from elsewhere counts only if it continues the chain here, and either meets the chain of
//! something that is still whole behind it, or is committed. What is of a later term than the stored
//! vote was never here. What the other replica has purged is not needed: the log begins again behind
//! that, in a file of its own. Whenever this is interrupted, the directory is as damaged as before or
//! that file is repaired.

use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::{LogIndex, Term};

use super::dir::Dir;
use super::error::{LogError, OpenError};
use super::found::FoundFile;
use super::frame::LastFrame;
use super::options::LogOptions;
use super::readable::{all_of, read_files};
use super::segment::file_name;
use super::segment_header::HeaderFault;
use super::view::Frame;

mod past;
mod rebuild;
mod survey;
#[cfg(test)]
mod tests;

use rebuild::{Kept, Reached, Rebuild};
use survey::Lost;

/// Where the damaged files are kept, below the log's directory.
pub const QUARANTINE: &str = "quarantine";

/// What another replica gives.
#[derive(Debug, Clone, Default)]
pub struct Supply {
    /// Its frame before the first one asked for, if it has that.
    pub before: Option<LastFrame>,
    /// Its frames from the one asked for on, as many as it likes.
    pub frames: Vec<Frame>,
    /// What stands before its log, if it has purged the entry asked for, or the one before that.
    pub floor: Option<LastFrame>,
    /// What it gives up to here is committed; of a group of two, that is all that it has, since what
    /// is committed is in both their logs.
    pub committed: Option<LogIndex>,
    /// True if it leads, a majority has confirmed that since the question, and these frames go up to
    /// where its log ended then, all of which is committed; of a group of two, if they go up to the
    /// end of its log.
    pub complete: bool,
}

/// What a repair needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Frames from this index on.
    Need(LogIndex),
    /// This file is about to begin the log anew: that it exists, and what the state at its floor is,
    /// must be durable before the next step.
    Note(u32),
    /// The file is repaired.
    Repaired(RepairedFile),
}

/// A file that was written anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairedFile {
    /// Its name.
    pub file: String,
    /// Where the damaged one is kept; none if it was missing.
    pub quarantined: Option<String>,
    /// How many frames another replica gave.
    pub frames: u64,
    /// The first of them.
    pub first: Option<LogIndex>,
    /// The last of them.
    pub last: Option<LogIndex>,
}

/// Why a repair cannot go on. The directory is as damaged as before.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The directory cannot be read or written, or is not to be repaired.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// What is lost cannot be told from what is left.
    #[error("{file} cannot be repaired: {why}")]
    Unclear {
        /// The damaged file.
        file: String,
        /// What is not known.
        why: String,
    },
    /// The other replica lacks what is needed.
    #[error("{file} needs entry {wanted} and later ones, and the other replica gives none")]
    NotThere {
        /// The damaged file.
        file: String,
        /// The first entry that is needed.
        wanted: LogIndex,
    },
    /// The other replica has purged what is needed: nobody needs it any more.
    #[error("{file} needs entry {wanted}, and the other replica has purged its log up to {floor}")]
    Purged {
        /// The damaged file.
        file: String,
        /// The first entry that is needed.
        wanted: LogIndex,
        /// The last entry that is gone there.
        floor: LogIndex,
    },
    /// The other replica's frames do not lead to what is still whole here.
    #[error("{file}: what the other replica gives is not what was here: {why}")]
    Mismatch {
        /// The damaged file.
        file: String,
        /// What differs.
        why: String,
    },
    /// Both have an entry of one term, and the logs differ at or before it.
    #[error("entry {index} of term {term} has chain {ours:08x} here and {theirs:08x} there")]
    Disagrees {
        /// The entry.
        index: LogIndex,
        /// Its term.
        term: Term,
        /// The chain here.
        ours: u32,
        /// The chain there.
        theirs: u32,
    },
}

impl RepairError {
    fn mismatch(file: &str, error: &LogError) -> Self {
        Self::Mismatch {
            file: file.to_owned(),
            why: error.to_string(),
        }
    }
}

/// The repair of one file.
#[derive(Debug)]
pub struct Repair {
    rebuild: Rebuild,
    /// The file that has to be noted before it counts.
    to_note: Option<u32>,
    at_end: bool,
}

impl Repair {
    /// Looks through all files for the oldest damaged one; `None` when all are whole. Changes
    /// nothing that counts.
    pub fn begin(dir: &Arc<dyn Dir>, options: &LogOptions) -> Result<Option<Self>, RepairError> {
        let (files, Some(lost)) = look(dir, options)? else {
            return Ok(None);
        };
        let old = lost.at.map(|at| files[at].bytes.clone());
        let damaged = lost.at.map(|at| kept(&files[at], false));
        let damaged = damaged.into_iter().filter(|kept| !kept.bytes.is_empty());
        let (damaged, old) = (damaged.collect(), old.unwrap_or_default());
        let rebuild = Rebuild::begin(Arc::clone(dir), lost, old, damaged, options.voted)?;
        Ok(Some(Self {
            rebuild,
            to_note: None,
            at_end: false,
        }))
    }

    /// Begins the damaged log anew behind `floor`, which every entry that it lacks is committed and
    /// purged up to: in one file behind all others, which ends like one of which nothing is left.
    /// Until that is complete nothing that is here changes.
    pub fn behind(
        dir: &Arc<dyn Dir>,
        options: &LogOptions,
        floor: LastFrame,
    ) -> Result<Option<Self>, RepairError> {
        let (files, Some(lost)) = look(dir, options)? else {
            return Ok(None);
        };
        let headers = files.iter().filter_map(|file| file.header.as_ref().ok());
        let terms = headers
            .filter_map(|header| header.previous)
            .map(|last| last.term);
        if terms.max() > options.voted {
            return Err(RepairError::Unclear {
                file: "the log".to_owned(),
                why: "it holds a later term than the stored vote: the vote was lost".to_owned(),
            });
        }
        let unreadable = |file: &&FoundFile| file.header == Err(HeaderFault::Damaged);
        let newest = files.iter().map(|file| file.number).max().unwrap_or(0);
        let number = newest.max(options.durable_file).saturating_add(1);
        let mut damaged: Vec<_> = files.iter().filter(unreadable).collect();
        damaged.extend(
            lost.at
                .map(|at| &files[at])
                .filter(|file| !unreadable(file)),
        );
        let damaged = damaged
            .into_iter()
            .map(|file| kept(file, unreadable(&file)));
        let begun = survey::behind(&files, options, number, floor);
        let dir = Arc::clone(dir);
        let rebuild = Rebuild::begin(dir, begun, Bytes::new(), damaged.collect(), options.voted)?;
        Ok(Some(Self {
            rebuild,
            to_note: Some(number),
            // What was here is of terms up to the vote's, and what of it counts is purged by then.
            at_end: options.voted.is_some_and(|voted| voted < floor.term),
        }))
    }

    /// The name of the file that is repaired.
    pub fn file(&self) -> &str {
        self.rebuild.file()
    }

    /// Goes on with what another replica gave, or without anything to find out what is needed.
    pub fn step(&mut self, supply: Option<Supply>) -> Result<Step, RepairError> {
        let reached = match supply {
            _ if self.at_end => Reached::End,
            Some(supply) => self.rebuild.take(supply)?,
            None => self.rebuild.advance()?,
        };
        if let Reached::Missing(index) = reached {
            return Ok(Step::Need(index));
        }
        self.at_end = true;
        match self.to_note.take() {
            Some(number) => Ok(Step::Note(number)),
            None => Ok(Step::Repaired(self.rebuild.put_in_place()?)),
        }
    }
}

/// What there is, and the oldest that is damaged.
fn look(
    dir: &Arc<dyn Dir>,
    options: &LogOptions,
) -> Result<(Vec<FoundFile>, Option<Lost>), RepairError> {
    let names = dir
        .list()
        .map_err(OpenError::io("list", "the log's directory"))?;
    let (_, files) = read_files(&**dir, &names, options, all_of)?;
    let lost = survey::survey(&files, options)?;
    Ok((files, lost))
}

fn kept(file: &FoundFile, goes: bool) -> Kept {
    Kept {
        name: file_name(file.number),
        bytes: file.bytes.clone(),
        goes,
    }
}
