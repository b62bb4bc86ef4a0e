//! PURE. The first 4 KiB of a segment file: whose it is, where the log stood when it was begun, and
//! which byte of which earlier file it continues. And the footer that ends a sealed file.

use crc32fast::hash;
use highwater_proto::{ClusterId, LogIndex, Offset, ReplicaId, Term, Timestamp};

use super::frame::{LastFrame, Position, Tail};

/// The first bytes of every segment file.
pub(super) const SEGMENT_MAGIC: [u8; 8] = *b"HWSEGMNT";
/// The first bytes of a footer.
pub(super) const FOOTER_MAGIC: [u8; 8] = *b"HWFOOTER";
/// The version of the file format.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Bytes before the first frame.
pub(super) const SEGMENT_HEADER: u32 = 4096;
/// Bytes of a footer.
pub(super) const FOOTER: u32 = 64;
/// The bytes of the header that its CRC covers; the CRC follows them.
const CRC_AT: usize = 252;
/// Where the hint of what is durable lies: in a sector of its own, rewritten by itself.
pub(super) const HINT_AT: usize = 2048;
/// Bytes of the hint.
pub(super) const HINT: usize = 16;

/// Whose log it is. Every file says it, so that a misplaced file is never taken for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The topic's id; zero for groups that are no topic's.
    pub group: [u8; 16],
    /// The partition of the topic, or the number of the shard.
    pub partition: u32,
    /// The replica.
    pub replica: ReplicaId,
}

/// Why a file was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Origin {
    /// The log begins here; nothing before it counts.
    First = 1,
    /// The file before it was full or old.
    Roll = 2,
    /// What the earlier files hold after the position it continues is cut off.
    Cut = 3,
    /// The log begins here, after the last entry of a snapshot.
    Reset = 4,
}

/// The header of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) owner: Owner,
    /// The log's secret, the same in all its files.
    pub(super) salt: u32,
    pub(super) origin: Origin,
    pub(super) number: u32,
    pub(super) file_len: u64,
    /// How many bytes of frames may at most be written and not synced while this file is written.
    pub(super) max_unsynced: u64,
    pub(super) first_index: LogIndex,
    pub(super) first_offset: Offset,
    /// The frame before the first one here, if the log ever had one.
    pub(super) previous: Option<LastFrame>,
    /// The byte after the last one that counts before this file; none for `First` and `Reset`.
    pub(super) continues: Option<Position>,
    /// What was known to be durable when this header was written.
    pub(super) durable: Position,
    /// Whether the file was used before: behind the frames there may be anything.
    pub(super) reused: bool,
}

/// Why the first bytes of a file are not the header of a segment of this log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// All zero: prepared and not used yet, or never written back.
    #[error("the header is blank")]
    Blank,
    /// Not a segment header, or a damaged one.
    #[error("the header is damaged or is not a segment's")]
    Damaged,
    /// A directory with the name of a segment file.
    #[error("it is a directory")]
    Directory,
    /// Whole, but of a later version.
    #[error("the file has format version {0}; this broker reads version 1")]
    Version(u32),
    /// Whole, but of another log or another file of this one.
    #[error("the file belongs to {0}")]
    Foreign(String),
}

impl SegmentHeader {
    /// The generation of the file: what its frames carry, so that no frame of another log, another
    /// file or an earlier use of the same blocks is ever taken for one of this file.
    pub(super) fn generation(&self) -> u32 {
        generation(&self.owner, self.salt, self.number)
    }

    /// Where the log stands before the first frame here.
    pub(super) fn start(&self) -> Tail {
        match self.previous {
            Some(last) => Tail::from(last),
            None => Tail::start(self.first_index, self.first_offset),
        }
    }

    /// The file before this one, if this is the oldest and that holds what was never purged.
    pub(super) fn lost_before(&self, unpurged: Option<LogIndex>) -> Option<u32> {
        let lost = unpurged.is_some_and(|unpurged| unpurged < self.first_index);
        self.continues.filter(|_| lost).map(|joint| joint.file)
    }

    /// The header as stored.
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER as usize] {
        let mut out = [0; SEGMENT_HEADER as usize];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &SEGMENT_MAGIC);
        put(8, &FORMAT_VERSION.to_le_bytes());
        put(12, &SEGMENT_HEADER.to_le_bytes());
        put(16, &self.owner.cluster.to_bytes());
        put(32, &self.owner.group);
        put(48, &self.owner.partition.to_le_bytes());
        put(52, &(self.origin as u32).to_le_bytes());
        put(56, &self.owner.replica.0.to_le_bytes());
        put(64, &u64::from(self.number).to_le_bytes());
        put(72, &self.file_len.to_le_bytes());
        put(80, &self.max_unsynced.to_le_bytes());
        put(88, &self.first_index.0.to_le_bytes());
        put(96, &self.first_offset.0.to_le_bytes());
        if let Some(previous) = &self.previous {
            put(104, &previous.term.0.to_le_bytes());
            put(112, &previous.append_time.0.to_le_bytes());
            put(120, &previous.chain.to_le_bytes());
            put(128, &1u32.to_le_bytes());
        }
        put(124, &self.generation().to_le_bytes());
        put(132, &self.salt.to_le_bytes());
        put(
            136,
            &self.continues.unwrap_or_default().to_u64().to_le_bytes(),
        );
        put(144, &self.durable.to_u64().to_le_bytes());
        put(152, &u32::from(self.reused).to_le_bytes());
        let crc = hash(&out[..CRC_AT]);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header of whatever log it is.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let Some(head) = bytes.get(..SEGMENT_HEADER as usize) else {
            return Err(HeaderFault::Damaged);
        };
        if head.iter().all(|byte| *byte == 0) {
            return Err(HeaderFault::Blank);
        }
        let crc_fits = hash(&head[..CRC_AT]) == u32_at(head, CRC_AT);
        if head[..8] != SEGMENT_MAGIC || !crc_fits {
            return Err(HeaderFault::Damaged);
        }
        if u32_at(head, 8) != FORMAT_VERSION {
            return Err(HeaderFault::Version(u32_at(head, 8)));
        }
        let origin = origin(u32_at(head, 52)).ok_or(HeaderFault::Damaged)?;
        let continues = Position::from_u64(u64_at(head, 136));
        let header = Self {
            owner: owner(head),
            salt: u32_at(head, 132),
            origin,
            number: u32::try_from(u64_at(head, 64)).map_err(|_| HeaderFault::Damaged)?,
            file_len: u64_at(head, 72),
            max_unsynced: u64_at(head, 80),
            first_index: LogIndex(u64_at(head, 88)),
            first_offset: Offset(u64_at(head, 96)),
            previous: previous(head),
            continues: matches!(origin, Origin::Roll | Origin::Cut).then_some(continues),
            durable: Position::from_u64(u64_at(head, 144)),
            reused: u32_at(head, 152) == 1,
        };
        if header.generation() != u32_at(head, 124) {
            return Err(HeaderFault::Damaged);
        }
        Ok(header)
    }

    /// Reads the header of file `number` of `owner`'s log, whatever the size of the file.
    pub(super) fn read(bytes: &[u8], owner: &Owner, number: u32) -> Result<Self, HeaderFault> {
        let header = Self::decode(bytes)?;
        if header.owner != *owner || header.number != number {
            return Err(HeaderFault::Foreign(format!(
                "cluster {}, topic {:032x}, partition {}, replica {}, file {}",
                header.owner.cluster,
                u128::from_be_bytes(header.owner.group),
                header.owner.partition,
                header.owner.replica,
                header.number
            )));
        }
        let sane = header
            .continues
            .is_none_or(|p| p.file < number && p.byte >= SEGMENT_HEADER);
        if sane {
            Ok(header)
        } else {
            Err(HeaderFault::Damaged)
        }
    }
}

/// The hint that everything before `durable` is on the disk, for the file of this generation.
pub(super) fn encode_hint(durable: Position, generation: u32) -> [u8; HINT] {
    let mut out = [0; HINT];
    out[..8].copy_from_slice(&durable.to_u64().to_le_bytes());
    out[8..12].copy_from_slice(&generation.to_le_bytes());
    let crc = hash(&out[..12]);
    out[12..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The hint in a file's header; nothing is known to be durable without a whole one.
/// Without a generation any will do.
pub(super) fn read_hint(bytes: &[u8], generation: Option<u32>) -> Position {
    let hint = bytes.get(HINT_AT..HINT_AT + HINT);
    let whole = |hint: &&[u8]| {
        generation.is_none_or(|generation| u32_at(hint, 8) == generation)
            && hash(&hint[..12]) == u32_at(hint, 12)
    };
    let durable = hint
        .filter(whole)
        .map(|hint| Position::from_u64(u64_at(hint, 0)));
    durable.unwrap_or_default()
}

/// What the frames of file `number` of a log carry. Whoever does not know the salt cannot make a
/// payload that passes for a frame.
pub(super) fn generation(owner: &Owner, salt: u32, number: u32) -> u32 {
    let mut bytes = [0; 52];
    bytes[..16].copy_from_slice(&owner.cluster.to_bytes());
    bytes[16..32].copy_from_slice(&owner.group);
    bytes[32..36].copy_from_slice(&owner.partition.to_le_bytes());
    bytes[36..44].copy_from_slice(&owner.replica.0.to_le_bytes());
    bytes[44..48].copy_from_slice(&number.to_le_bytes());
    bytes[48..].copy_from_slice(&salt.to_le_bytes());
    hash(&bytes)
}

fn owner(head: &[u8]) -> Owner {
    let sixteen = |at: usize| {
        let mut id = [0; 16];
        id.copy_from_slice(&head[at..at + 16]);
        id
    };
    Owner {
        cluster: ClusterId::from_bytes(sixteen(16)),
        group: sixteen(32),
        partition: u32_at(head, 48),
        replica: ReplicaId(u64_at(head, 56)),
    }
}

fn previous(head: &[u8]) -> Option<LastFrame> {
    (u32_at(head, 128) == 1).then(|| LastFrame {
        term: Term(u64_at(head, 104)),
        index: LogIndex(u64_at(head, 88).wrapping_sub(1)),
        chain: u32_at(head, 120),
        next_offset: Offset(u64_at(head, 96)),
        append_time: Timestamp(u64_at(head, 112) as i64),
    })
}

fn origin(number: u32) -> Option<Origin> {
    match number {
        1 => Some(Origin::First),
        2 => Some(Origin::Roll),
        3 => Some(Origin::Cut),
        4 => Some(Origin::Reset),
        _ => None,
    }
}

/// The end of a sealed file, so that it can be told from a torn one without the files after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) last: LastFrame,
    /// The largest time of the file's records; `i64::MIN` without records.
    pub(super) max_timestamp: i64,
}

impl Footer {
    /// The footer as stored in the file of this generation.
    pub(super) fn encode(&self, generation: u32) -> [u8; FOOTER as usize] {
        let mut out = [0; FOOTER as usize];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &FOOTER_MAGIC);
        put(8, &self.last.index.0.to_le_bytes());
        put(16, &self.last.term.0.to_le_bytes());
        put(24, &self.last.next_offset.0.to_le_bytes());
        put(32, &self.last.append_time.0.to_le_bytes());
        put(40, &self.max_timestamp.to_le_bytes());
        put(48, &self.last.chain.to_le_bytes());
        put(52, &generation.to_le_bytes());
        let crc = hash(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a footer of the file of this generation; `None` when there is none or it is damaged.
    pub(super) fn decode(bytes: &[u8], generation: u32) -> Option<Self> {
        let foot = bytes.get(..FOOTER as usize)?;
        let whole = foot[..8] == FOOTER_MAGIC
            && hash(&foot[..60]) == u32_at(foot, 60)
            && u32_at(foot, 52) == generation;
        whole.then(|| Self {
            last: LastFrame {
                index: LogIndex(u64_at(foot, 8)),
                term: Term(u64_at(foot, 16)),
                next_offset: Offset(u64_at(foot, 24)),
                append_time: Timestamp(u64_at(foot, 32) as i64),
                chain: u32_at(foot, 48),
            },
            max_timestamp: u64_at(foot, 40) as i64,
        })
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}
