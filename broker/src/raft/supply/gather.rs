//! Which entries are given, and what is said of them. The log goes on meanwhile, and one that is not
//! the leader's may be cut off and go on with other entries: what is said must hold for what is given.

use highwater_proto::LogIndex;

use crate::log::{Frame, Head, LogError};
use crate::raft::types::{LogId, log_id};

/// The replica that is asked, as it is at each call.
pub(super) trait Source {
    /// Whether it and the replica that asks are all voters of the group.
    fn is_one_of_two(&self) -> bool;

    /// The last entry in the log.
    fn last(&self) -> Option<LogIndex>;

    /// The last entry that is applied. It was read from the log, so that what the log has up to there
    /// is committed, and stays.
    fn applied(&self) -> Option<LogId>;

    /// The entries of a range, as many as fit into one answer; none where the first is purged.
    async fn frames(&self, from: LogIndex, until: LogIndex) -> Result<Vec<Frame>, LogError>;

    /// The head of an entry, if it is in the log.
    async fn head(&self, index: LogIndex) -> Result<Option<Head>, LogError>;

    /// Whether it leads, and a majority has said so since the call.
    async fn is_confirmed(&self) -> bool;

    /// Waits until this entry is applied, but not for long.
    async fn until_applied(&self, index: LogIndex);
}

/// What an answer is made of.
#[derive(Debug)]
pub(super) struct Gathered {
    /// The entry before the frames.
    pub(super) before: Option<Head>,
    pub(super) frames: Vec<Frame>,
    /// Whatever is given up to here is committed, or of a group of two and in the way of nothing that is.
    pub(super) committed: Option<LogId>,
    /// Whether all that was committed before the question, or may ever be of what there was then, is
    /// given here or comes before.
    pub(super) complete: bool,
}

/// Reads the entries from `from` on.
///
/// What is committed is always looked up before it is read: an entry may become something else
/// between two reads, but not one that was committed before the first.
///
/// Who asks wants to know where the log ends, and a log with producers never ends. So the end is
/// where it was once the leader was confirmed: what anybody had acknowledged before the question, and
/// is committed or may ever be, is in the log by then.
pub(super) async fn gather(source: &impl Source, from: LogIndex) -> Result<Gathered, LogError> {
    if source.is_one_of_two() {
        return gather_all(source, from).await;
    }
    let (last, mut committed) = (source.last(), source.applied());
    let mut frames = source.frames(from, LogIndex(u64::MAX)).await?;
    let mut complete = false;
    let near_end = reaches(from, &frames, last) || !is_committed(&frames, committed);
    if near_end && source.is_confirmed().await {
        let end = source.last();
        if let Some(end) = end {
            source.until_applied(end).await;
        }
        committed = source.applied();
        let until = end.map_or(LogIndex(0), LogIndex::next);
        frames = source.frames(from, until).await?;
        complete = index(committed) >= end && reaches(from, &frames, end);
    }
    Ok(Gathered {
        before: before(source, from).await?,
        frames,
        committed,
        complete,
    })
}

/// Reads the entries from `from` on for the other one of two voters, which is out.
///
/// No majority can be asked then. But an entry of two voters is committed only when both have it, and
/// only with the vote of both is anybody elected. So this log has all that is committed, nothing in
/// it is cut off while the other one is out, and whoever has all of it may vote and acknowledge.
async fn gather_all(source: &impl Source, from: LogIndex) -> Result<Gathered, LogError> {
    let end = source.last();
    let until = end.map_or(LogIndex(0), LogIndex::next);
    let frames = source.frames(from, until).await?;
    let committed = match end {
        Some(end) => source.head(end).await?.map(|head| log_id(head.term, end)),
        None => None,
    };
    Ok(Gathered {
        before: before(source, from).await?,
        complete: reaches(from, &frames, end),
        frames,
        committed,
    })
}

async fn before(source: &impl Source, from: LogIndex) -> Result<Option<Head>, LogError> {
    match from.0.checked_sub(1).map(LogIndex) {
        Some(before) => source.head(before).await,
        None => Ok(None),
    }
}

fn index(id: Option<LogId>) -> Option<LogIndex> {
    id.map(|id| LogIndex(id.index))
}

fn is_committed(frames: &[Frame], committed: Option<LogId>) -> bool {
    let last = frames.last().map(|frame| frame.head.index);
    last <= index(committed)
}

/// Whether these frames, which begin at `from`, go up to `end` or beyond.
fn reaches(from: LogIndex, frames: &[Frame], end: Option<LogIndex>) -> bool {
    match (frames.last(), end) {
        (_, None) => true,
        (Some(given), Some(end)) => given.head.index >= end,
        (None, Some(end)) => end < from,
    }
}
