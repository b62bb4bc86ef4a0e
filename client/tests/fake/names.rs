//! Named producers of a fake cluster, and which of them are over.

use highwater_client::Reason;
use highwater_proto::batch::BatchHeader;
use highwater_proto::pb::v1::InitProducerRequest;
use tonic::Status;

use super::{State, status};

impl State {
    /// The identity that a call gets.
    pub(super) fn identify(&mut self, request: &InitProducerRequest) -> Result<(u64, i16), Status> {
        self.led()?;
        self.asked += 1;
        if let Some(reason) = self.faults.refuse_identities {
            return Err(status::of(reason, "refused on demand"));
        }
        match request.name.as_str() {
            "" => {
                self.producers += 1;
                Ok((self.producers, 0))
            }
            name => self.take_name(name, request),
        }
    }

    /// A partition takes every id that was given out for one that may have written there, as brokers do
    /// when they have forgotten a later one.
    pub(crate) fn distrust(&mut self, topic: &str, partition: u32) {
        let last = self.producers;
        self.partition(topic, partition).unwrap().distrust(last);
    }

    /// The next epoch of a name, or the same one for a repeated asking.
    fn take_name(
        &mut self,
        name: &str,
        request: &InitProducerRequest,
    ) -> Result<(u64, i16), Status> {
        let Some((id, attempt)) = self.names.get_mut(name) else {
            self.producers += 1;
            self.names
                .insert(name.to_owned(), (self.producers, request.attempt));
            self.epochs.insert(self.producers, 0);
            return Ok((self.producers, 0));
        };
        let epoch = self.epochs.get_mut(id).unwrap();
        let held = (request.producer_id, request.producer_epoch);
        if request.attempt != *attempt {
            if held.0 != 0 && held != (*id as i64, i32::from(*epoch)) {
                return Err(status::of(Reason::ProducerFenced, "the name went on"));
            }
            *epoch += 1;
            *attempt = request.attempt;
        }
        Ok((*id, *epoch))
    }

    /// True if a named producer has a later epoch than this batch.
    pub(super) fn is_fenced(&self, batch: &[u8]) -> bool {
        let header = BatchHeader::decode(batch).ok();
        let stamp = header.and_then(|header| header.producer());
        stamp.is_some_and(|stamp| {
            let current = self.epochs.get(&stamp.id.0);
            current.is_some_and(|current| i16::try_from(stamp.epoch.0).unwrap() < *current)
        })
    }
}
