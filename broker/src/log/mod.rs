//! Bytes on disk: the one log of a replica. Knows frames, not Raft, not topics; no runtime.
//!
//! ```text
//! 00000001.seg          00000002.seg             00000003.seg
//! | header | frames | footer |  | header | frames | footer |  | header | frames | zeroes ... |
//!            sealed                     sealed                          active
//! ```
//! [`Log`] is the single writer: it appends frames with one `pwritev`, rolls to the next file, and
//! cuts by beginning a file whose header names the cut. [`LogReader`]s see an immutable picture and
//! take slices of the files' maps. A flusher syncs in groups and completes in order. Recovery cuts
//! off a torn tail that was never durable and refuses every other damage. `docs/format.md` draws
//! every byte.

pub mod dir;
pub mod dump;
pub mod hard_state;
pub mod repair;
pub mod small_file;

mod body;
mod check;
mod encode;
mod error;
mod fill;
mod flusher;
mod formats;
mod found;
mod frame;
mod index;
mod limits;
#[expect(
    clippy::module_inception,
    reason = "the log's own file within the layer of that name"
)]
mod log;
mod map;
mod mark;
mod open;
mod options;
mod plan;
mod readable;
mod recovery;
mod room;
mod scan;
mod seal;
mod segment;
mod segment_header;
mod spare;
mod view;
mod warm;

pub use body::BodyError;
#[cfg(test)]
pub(crate) use dir::HeldDisk;
pub use dir::{Dir, DirLock, File, FsDir, Job, MemDir, MeteredDir, Space, SyncDone, SyncError};
pub use error::{Damage, LogError, OpenError};
pub use formats::FORMATS;
pub use frame::{FrameError, FrameKind, Head, LastFrame, MAX_BODY, Position};
pub use hard_state::{HardKey, HardState};
pub use limits::{FileLimits, is_oversized};
pub use log::Log;
pub use map::deleted_bytes;
pub use options::LogOptions;
pub use plan::{NewFrame, Source};
pub use recovery::{Recovered, TornTail};
pub use room::{Held, NoRoom, Purpose, Room, Seen, Shortage, Wake};
pub use segment_header::{HeaderFault, Owner};
#[cfg(test)]
pub(crate) use tests::long_after;
pub use view::{CommittedBatch, Frame, LogReader, SegmentInfo};
pub use warm::Cold;

#[cfg(test)]
mod tests;
