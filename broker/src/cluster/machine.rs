//! The metadata group's replicated machine: applies commands to the state and publishes it.

use std::sync::Arc;

use highwater_proto::LogIndex;
use highwater_proto::pb::peer::MetadataState;
use prost::Message;
use tokio::sync::watch;

use super::command::decode_message;
use super::state::ClusterState;
use crate::log::FrameKind;
use crate::raft::{Committed, NotUnderstood, Replicated, Reply};

/// The state as of an entry of the metadata log.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// The index of the last entry applied.
    pub applied: LogIndex,
    /// The state.
    pub state: Arc<ClusterState>,
}

/// The machine. Readers see what it last published.
#[derive(Debug)]
pub struct MetadataMachine {
    applied: LogIndex,
    state: ClusterState,
    publisher: watch::Sender<Published>,
}

impl MetadataMachine {
    /// An empty state, and where it is published.
    pub fn new() -> (Self, watch::Receiver<Published>) {
        let (publisher, published) = watch::channel(Published::default());
        (
            Self {
                applied: LogIndex(0),
                state: ClusterState::new(),
                publisher,
            },
            published,
        )
    }
}

fn not_understood(error: impl std::fmt::Display) -> NotUnderstood {
    NotUnderstood(error.to_string())
}

impl Replicated for MetadataMachine {
    fn apply(&mut self, entry: &Committed<'_>) -> Result<Reply, NotUnderstood> {
        let reply = match entry.head.kind {
            FrameKind::Command => {
                let command = decode_message(entry.body).map_err(not_understood)?;
                let now = entry.head.append_time;
                let answer = self.state.apply(&command, now).map_err(not_understood)?;
                Reply::Command {
                    index: entry.head.index,
                    bytes: answer.encode(),
                }
            }
            FrameKind::Blank | FrameKind::Membership => Reply::Nothing,
            FrameKind::Batch => {
                return Err(not_understood("the metadata log holds a record batch"));
            }
        };
        self.applied = entry.head.index;
        Ok(reply)
    }

    fn publish(&mut self) {
        let state = Arc::new(self.state.clone());
        self.publisher.send_replace(Published {
            applied: self.applied,
            state,
        });
    }

    fn save(&self) -> Vec<u8> {
        self.state.snapshot().encode_to_vec()
    }

    fn restore(&mut self, saved: &[u8], index: LogIndex) -> Result<(), NotUnderstood> {
        let saved = MetadataState::decode(saved).map_err(not_understood)?;
        self.state = ClusterState::restore(&saved).map_err(not_understood)?;
        self.applied = index;
        Ok(())
    }
}
