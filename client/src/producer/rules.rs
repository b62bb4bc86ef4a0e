//! The settings of a producer that its sender goes by.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::batch::Codec;

/// How batches are made and sent.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// The producer's name.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) codec: Codec,
    pub(crate) linger: Duration,
    /// The size at which a batch is full, if the topic takes one so large.
    pub(crate) batch_bytes: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) delivery_timeout: Duration,
    /// The largest batch the topic took when the producer was built.
    pub(crate) max_batch_bytes: usize,
}

impl Rules {
    /// The size at which a batch is full, before compression, if the topic takes `most` bytes.
    pub(crate) fn full_at(&self, most: usize) -> usize {
        self.batch_bytes.min(match self.codec {
            Codec::None => most,
            // What does not compress grows a little.
            _ => most - most / 64 - most.min(1024) / 2,
        })
    }
}
