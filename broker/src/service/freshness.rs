//! How fresh a read is, and which replicas may answer it.

use std::time::Duration;

use highwater_proto::Offset;
use highwater_proto::pb::peer::ForwardRequest;
use highwater_proto::pb::v1::{self, list_offsets_request::Position};
use prost::Message;
use tokio::time::Instant;

use super::{Context, Error, Services, Target};
use crate::partition::{Partition, ReadError, Replicas};
use crate::peer;
use crate::raft::GroupId;

/// How long a replica may take to answer for the leader.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// What a read promises beside that it ends at a high watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// What the leader has committed as it knows.
    Leader,
    /// Everything acknowledged before the request.
    Linearizable,
    /// What the replica that answers knows to be committed.
    Committed,
    /// Everything acknowledged so long before the answer, or earlier.
    Bounded(Duration),
}

impl Freshness {
    /// The freshness that a request asks for.
    pub(super) fn of(freshness: i32, max_age_ms: i32) -> Result<Self, Error> {
        let asked = v1::Freshness::try_from(freshness)
            .map_err(|_| Error::invalid(format!("freshness {freshness} is not known here")))?;
        if asked != v1::Freshness::Bounded && max_age_ms != 0 {
            return Err(Error::invalid(
                "max_age_ms goes with FRESHNESS_BOUNDED only",
            ));
        }
        match asked {
            v1::Freshness::Unspecified => Ok(Self::Leader),
            v1::Freshness::Linearizable => Ok(Self::Linearizable),
            v1::Freshness::Committed => Ok(Self::Committed),
            v1::Freshness::Bounded => match u64::try_from(max_age_ms) {
                Ok(age) if age > 0 => Ok(Self::Bounded(Duration::from_millis(age))),
                Ok(_) | Err(_) => Err(Error::invalid(format!(
                    "FRESHNESS_BOUNDED needs a max_age_ms of at least 1, not {max_age_ms}"
                ))),
            },
        }
    }

    /// Which replicas may answer.
    pub fn replicas(self) -> Replicas {
        match self {
            Self::Leader | Self::Linearizable => Replicas::Leader,
            Self::Committed | Self::Bounded(_) => Replicas::Any,
        }
    }
}

/// Up to when a read is known to have everything; checked again when it is done.
#[derive(Debug, Clone, Copy)]
pub struct Confirmation {
    asked: Instant,
    max_age: Duration,
}

impl Confirmation {
    /// Fails if too much time has passed since, as it does for a process that stood still.
    pub fn check(confirmed: Option<Self>) -> Result<(), ReadError> {
        match confirmed {
            Some(Self { asked, max_age }) if asked.elapsed() > max_age => {
                let why = format!(
                    "{:?} have passed since the leader answered",
                    asked.elapsed()
                );
                Err(ReadError::Stale(why))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Services {
    /// Makes sure that `partition` is as fresh as asked.
    pub async fn freshen(
        &self,
        context: &Context,
        (target, partition): (&Target, &Partition),
        freshness: Freshness,
    ) -> Result<Option<Confirmation>, Error> {
        let confirmed = match freshness {
            Freshness::Leader | Freshness::Committed => return Ok(None),
            Freshness::Linearizable => partition.bounds().await.map(|_| None),
            Freshness::Bounded(max_age) => {
                let ask = || self.leaders_end(context, target, partition);
                let confirmed = partition.confirm(max_age, ask).await;
                confirmed.map(|asked| Some(Confirmation { asked, max_age }))
            }
        };
        confirmed.map_err(|error| self.read_error(target, -1, error))
    }

    /// The leader's high watermark, confirmed by a majority after the call.
    async fn leaders_end(
        &self,
        context: &Context,
        target: &Target,
        partition: &Partition,
    ) -> Result<Offset, String> {
        if partition.leads() {
            let bounds = partition
                .bounds()
                .await
                .map_err(|error| error.to_string())?;
            return Ok(bounds.high_watermark);
        }
        let group = GroupId::Partition(target.topic.id, target.partition);
        let leader = self.leaders.leader(group);
        let leader = leader.filter(|leader| leader.broker != self.me.broker);
        let Some(leader) = leader else {
            return Err("the leader is not known here".to_owned());
        };
        let Some(link) = self.peers.link(leader.broker) else {
            return Err(format!("broker {} is not known here", leader.broker));
        };
        let question = v1::ListOffsetsRequest {
            topic: target.topic.name.to_string(),
            topic_id: target.topic.id.to_string(),
            partition: i32::try_from(target.partition.0).unwrap_or(i32::MAX),
            position: Some(Position::Latest(true)),
        };
        let request = ForwardRequest {
            hello: Some(self.me.hello()),
            method: "/highwater.v1.LogService/ListOffsets".to_owned(),
            principal: context.principal.clone(),
            deadline_ms: ASK_LIMIT.as_millis() as u64,
            request: question.encode_to_vec().into(),
        };
        let mut calls = link.calls();
        let answer = peer::call(ASK_LIMIT, calls.forward(request)).await;
        let answer = answer.map_err(|error| format!("broker {} leads: {error}", leader.broker))?;
        if answer.code != 0 {
            return Err(format!("broker {}: {}", leader.broker, answer.message));
        }
        let offsets = v1::ListOffsetsResponse::decode(answer.reply);
        let end = offsets.map(|offsets| Offset::from_i64(offsets.high_watermark));
        let end = end.map_err(|error| error.to_string())?;
        end.ok_or_else(|| "the leader's answer has no high watermark".to_owned())
    }
}
