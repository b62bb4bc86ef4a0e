//! Which entries are given, and what is said of them. The log goes on meanwhile, and one that is not
//! the leader's may be cut off and go on with other entries: what is said must hold for what is given.

use highwater_proto::LogIndex;

use crate::log::{Frame, Head, LogError};
use crate::raft::types::LogId;

/// The replica that is asked, as it is at each call.
pub(super) trait Source {
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
    /// Whatever is given up to here is committed.
    pub(super) committed: Option<LogId>,
    /// Whether a majority confirmed since the question that the replica leads, and all that its log
    /// had then is committed and is given here or comes before.
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
    let before = match from.0.checked_sub(1).map(LogIndex) {
        Some(before) => source.head(before).await?,
        None => None,
    };
    Ok(Gathered {
        before,
        frames,
        committed,
        complete,
    })
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
