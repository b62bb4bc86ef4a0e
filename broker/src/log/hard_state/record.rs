//! PURE. One change of the hard state as stored.

use std::collections::BTreeMap;

use bytes::Bytes;
use crc32fast::hash;
use highwater_proto::ReplicaId;

use super::HardKey;

/// Bytes before the value.
pub(super) const HEADER: usize = 40;
/// Records begin at multiples of this.
pub(super) const ALIGN: usize = 8;

const PUT: u8 = 1;
const REMOVE_REPLICA: u8 = 2;

/// A change of the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Put(HardKey, Bytes),
    RemoveReplica(ReplicaId),
}

impl Change {
    pub(super) fn apply(self, values: &mut BTreeMap<HardKey, Bytes>) {
        match self {
            Self::Put(key, value) => {
                values.insert(key, value);
            }
            Self::RemoveReplica(replica) => values.retain(|key, _| key.replica != replica),
        }
    }
}

/// A record about to be written.
#[derive(Debug)]
pub(super) struct Record<'a> {
    /// The number of the file.
    pub(super) number: u32,
    /// Counted from 0 within the file.
    pub(super) sequence: u64,
    /// The byte of this file before which all was known to be durable.
    pub(super) durable: u32,
    pub(super) change: &'a Change,
}

impl Record<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (key, op, value): (HardKey, u8, &[u8]) = match self.change {
            Change::Put(key, value) => (*key, PUT, value),
            Change::RemoveReplica(replica) => (
                HardKey {
                    replica: *replica,
                    slot: 0,
                },
                REMOVE_REPLICA,
                &[],
            ),
        };
        let mut out = vec![0; HEADER];
        out[4..8].copy_from_slice(&(value.len() as u32).to_le_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..24].copy_from_slice(&key.replica.0.to_le_bytes());
        out[24] = key.slot;
        out[25] = op;
        out[28..32].copy_from_slice(&self.number.to_le_bytes());
        out[32..36].copy_from_slice(&self.durable.to_le_bytes());
        out.extend_from_slice(value);
        let crc = hash(&out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out.resize(out.len().next_multiple_of(ALIGN), 0);
        out
    }
}

/// A record found in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) durable: u32,
    pub(super) change: Change,
    /// Bytes it takes, with the padding.
    pub(super) len: usize,
}

/// The record of file `number` at the first byte of `bytes`, if there is a whole one.
pub(super) fn decode(bytes: &Bytes, number: u32) -> Option<Stored> {
    let head = bytes.first_chunk::<HEADER>()?;
    let u32_at =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    let end = HEADER.checked_add(u32_at(4) as usize)?;
    if u32_at(28) != number || hash(bytes.get(4..end)?) != u32_at(0) {
        return None;
    }
    let replica = ReplicaId(u64_at(16));
    let change = match head[25] {
        PUT => Change::Put(
            HardKey {
                replica,
                slot: head[24],
            },
            bytes.slice(HEADER..end),
        ),
        REMOVE_REPLICA => Change::RemoveReplica(replica),
        _ => return None,
    };
    let len = end.next_multiple_of(ALIGN);
    Some(Stored {
        sequence: u64_at(8),
        durable: u32_at(32),
        change,
        len,
    })
}
