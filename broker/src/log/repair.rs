//! Giving a damaged log back what it lost: the oldest damaged file is written anew beside itself,
//! from what is still whole in it and from the exact frames of another replica, and then takes its
//! place. What was there is kept in `quarantine`.
//!
//! A frame from elsewhere counts only if it continues the chain here, and either meets the chain of
//! something that is still whole behind it, or is committed. What is of a later term than the stored
//! vote was never here. Whenever this is interrupted, the directory is as damaged as before or that
//! file is repaired.

use std::sync::Arc;

use highwater_proto::{LogIndex, Term};

use super::dir::Dir;
use super::error::{LogError, OpenError};
use super::frame::LastFrame;
use super::open::read_files;
use super::options::LogOptions;
use super::view::Frame;

mod rebuild;
mod survey;
#[cfg(test)]
mod tests;

use rebuild::{Reached, Rebuild};

/// Where the damaged files are kept, below the log's directory.
pub const QUARANTINE: &str = "quarantine";

/// What another replica gives.
#[derive(Debug, Clone, Default)]
pub struct Supply {
    /// Its frame before the first one asked for, if it has that.
    pub before: Option<LastFrame>,
    /// Its frames from the one asked for on, as many as it likes.
    pub frames: Vec<Frame>,
    /// The last entry that it knows to be committed.
    pub committed: Option<LogIndex>,
    /// True if it leads, a majority has confirmed that since the question, all it has is committed,
    /// and nothing follows these frames.
    pub complete: bool,
}

/// What a repair needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Frames from this index on.
    Need(LogIndex),
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
}

impl Repair {
    /// Looks through all files for the oldest damaged one; `None` when all are whole. Changes
    /// nothing that counts.
    pub fn begin(dir: &Arc<dyn Dir>, options: &LogOptions) -> Result<Option<Self>, RepairError> {
        let names = dir
            .list()
            .map_err(OpenError::io("list", "the log's directory"))?;
        let (_, files) = read_files(&**dir, &names, options)?;
        let Some(lost) = survey::survey(&files, options)? else {
            return Ok(None);
        };
        let bytes = lost.at.map(|at| files[at].bytes.clone());
        let rebuild = Rebuild::begin(
            Arc::clone(dir),
            lost,
            bytes.unwrap_or_default(),
            options.voted,
        )?;
        Ok(Some(Self { rebuild }))
    }

    /// The name of the file that is repaired.
    pub fn file(&self) -> &str {
        self.rebuild.file()
    }

    /// Goes on with what another replica gave, or without anything to find out what is needed.
    pub fn step(&mut self, supply: Option<Supply>) -> Result<Step, RepairError> {
        let reached = match supply {
            Some(supply) => self.rebuild.take(supply)?,
            None => self.rebuild.advance()?,
        };
        match reached {
            Reached::Missing(index) => Ok(Step::Need(index)),
            Reached::End => Ok(Step::Repaired(self.rebuild.put_in_place()?)),
        }
    }
}
