//! Unary calls that another broker must answer are handed to it, so that a client without routing
//! works against any broker. While a partition has no leader the call waits for one, as long as the
//! caller does: until then nothing was proposed, so trying again is safe.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::pb::peer::{
    FenceProducerRequest, FenceProducerResponse, ForwardRequest, ForwardResponse,
};
use highwater_proto::pb::v1;
use highwater_proto::{BrokerId, Reason};
use prost::Message;
use tonic::{Code, Status};

use super::context::Context;
use super::status::{encode, status};
use crate::clock;
use crate::peer::{self, CallError};
use crate::service::{Detail, Error, Services};

/// What the hand-over itself may add to the caller's deadline.
const SLACK: Duration = Duration::from_millis(200);
/// How long a call waits for a leader at most.
const LEADER_WAIT: Duration = Duration::from_secs(10);
/// Without news of leaders it is tried again after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A call that only one broker can answer: a partition's leader, or the one it is about.
pub(super) trait LeaderCall: Message + Default {
    /// What that broker answers.
    type Reply: Message + Default;
    /// The full name of the method.
    const METHOD: &'static str;
    /// What a call is answered with that did not reach the broker.
    const NOT_SENT: Reason = Reason::NoLeader;
    /// What a call is answered with that the broker may have taken up and did not answer.
    const UNANSWERED: Reason = Self::NOT_SENT;

    /// Answers the call here, if this broker is the one. It may be asked again, and a call may be
    /// large: nothing large in it is copied.
    fn run(
        &self,
        services: &Arc<Services>,
        context: &Context,
    ) -> impl Future<Output = Result<Self::Reply, Error>> + Send;
}

impl LeaderCall for v1::ProduceRequest {
    type Reply = v1::ProduceResponse;
    const METHOD: &'static str = "/highwater.v1.LogService/Produce";
    /// It may have been appended.
    const UNANSWERED: Reason = Reason::OutcomeUnknown;

    async fn run(&self, services: &Arc<Services>, context: &Context) -> Result<Self::Reply, Error> {
        services.produce(context, self).await
    }
}

impl LeaderCall for v1::FetchRequest {
    type Reply = v1::FetchResponse;
    const METHOD: &'static str = "/highwater.v1.LogService/Fetch";

    async fn run(&self, services: &Arc<Services>, context: &Context) -> Result<Self::Reply, Error> {
        services.fetch(context, self.clone()).await
    }
}

impl LeaderCall for v1::ListOffsetsRequest {
    type Reply = v1::ListOffsetsResponse;
    const METHOD: &'static str = "/highwater.v1.LogService/ListOffsets";

    async fn run(&self, services: &Arc<Services>, context: &Context) -> Result<Self::Reply, Error> {
        services.list_offsets(context, self.clone()).await
    }
}

impl LeaderCall for v1::DrainBrokerRequest {
    type Reply = v1::DrainBrokerResponse;
    const METHOD: &'static str = "/highwater.v1.ClusterService/DrainBroker";
    const NOT_SENT: Reason = Reason::Unreachable;
    /// A broker that stands still may do it when it goes on.
    const UNANSWERED: Reason = Reason::OutcomeUnknown;

    async fn run(&self, services: &Arc<Services>, context: &Context) -> Result<Self::Reply, Error> {
        services.drain_broker(context, *self).await
    }
}

impl LeaderCall for v1::GetDrainRequest {
    type Reply = v1::GetDrainResponse;
    const METHOD: &'static str = "/highwater.v1.ClusterService/GetDrain";
    const NOT_SENT: Reason = Reason::Unreachable;

    async fn run(&self, services: &Arc<Services>, context: &Context) -> Result<Self::Reply, Error> {
        services.get_drain(context, self)
    }
}

/// Answers `call` here or at `broker`.
pub(super) async fn at_broker<C: LeaderCall>(
    services: &Arc<Services>,
    context: &Context,
    broker: BrokerId,
    call: C,
) -> Result<C::Reply, Status> {
    if broker == services.me.broker {
        return call
            .run(services, context)
            .await
            .map_err(|error| status(&error));
    }
    forward(services, context, broker, &call).await
}

impl LeaderCall for v1::TrimPartitionRequest {
    type Reply = v1::TrimPartitionResponse;
    const METHOD: &'static str = "/highwater.v1.TopicService/TrimPartition";
    /// It may have been done.
    const UNANSWERED: Reason = Reason::OutcomeUnknown;

    async fn run(&self, services: &Arc<Services>, context: &Context) -> Result<Self::Reply, Error> {
        services.trim_partition(context, self.clone()).await
    }
}

impl LeaderCall for FenceProducerRequest {
    type Reply = FenceProducerResponse;
    // What is not answered may be repeated.
    const METHOD: &'static str = "highwater.peer.v1/FenceProducer";

    async fn run(&self, services: &Arc<Services>, context: &Context) -> Result<Self::Reply, Error> {
        services.fence_producer(context, self.clone()).await
    }
}

/// Answers `call` here or at the leader, waiting for one if there is none. A client that routes by
/// itself gets the first answer.
pub(super) async fn at_leader<C: LeaderCall>(
    services: &Arc<Services>,
    context: &Context,
    call: C,
) -> Result<C::Reply, Status> {
    let until = clock::monotonic() + LEADER_WAIT.min(context.deadline);
    let mut changes = services.leaders.changes();
    loop {
        changes.mark_unchanged();
        // Boxed, because the futures of services nest deeply.
        let here = Box::pin(call.run(services, context));
        let error = match here.await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let error = match leader_elsewhere(context, &error) {
            Some(broker) => match forward(services, context, broker, &call).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            },
            None => status(&error),
        };
        if !context.may_forward || !lacks_leader(&error) || clock::monotonic() >= until {
            return Err(error);
        }
        drop(tokio::time::timeout(LOOK_AGAIN, changes.changed()).await);
    }
}

/// The broker that `error` points to, if the call may go there.
fn leader_elsewhere(context: &Context, error: &Error) -> Option<BrokerId> {
    match &error.detail {
        Detail::NotLeader(hint) if context.may_forward => hint.leader.as_ref().map(|(id, _)| *id),
        Detail::NotLeader(_)
        | Detail::None
        | Detail::OffsetRange { .. }
        | Detail::CorruptData { .. }
        | Detail::SequenceGap { .. } => None,
    }
}

/// True when nobody could take the call up, so that nothing was proposed.
fn lacks_leader(error: &Status) -> bool {
    use tonic_types::StatusExt;
    let reason = error.get_details_error_info().map(|info| info.reason);
    let reason = reason.and_then(|reason| reason.parse().ok());
    matches!(reason, Some(Reason::NotLeader | Reason::NoLeader))
}

/// Hands `call` to `broker`, which answers it or refuses: it is handed on once only.
async fn forward<C: LeaderCall>(
    services: &Services,
    context: &Context,
    broker: BrokerId,
    call: &C,
) -> Result<C::Reply, Status> {
    let Some(link) = services.peers.link(broker) else {
        let message = format!("broker {broker} is not known");
        return Err(status(&Error::new(C::NOT_SENT, message)));
    };
    let request = ForwardRequest {
        hello: Some(services.me.hello()),
        method: C::METHOD.to_owned(),
        principal: context.principal.clone(),
        deadline_ms: u64::try_from(context.deadline.as_millis()).unwrap_or(u64::MAX),
        request: call.encode_to_vec().into(),
    };
    let mut calls = link.calls();
    let answer = peer::call(context.deadline + SLACK, calls.forward(request)).await;
    let response = answer.map_err(|error| status(&failed::<C>(broker, &error)))?;
    if response.code != 0 {
        let code = Code::from_i32(response.code);
        return Err(Status::with_details(
            code,
            response.message,
            response.details,
        ));
    }
    let reply = C::Reply::decode(response.reply);
    reply.map_err(|error| status(&Error::new(Reason::Internal, error.to_string())))
}

fn failed<C: LeaderCall>(broker: BrokerId, error: &CallError) -> Error {
    let reason = match error {
        CallError::Unknown(_) => C::UNANSWERED,
        CallError::NotSent(_) | CallError::Refused(_) => C::NOT_SENT,
    };
    let message = format!("broker {broker} did not answer: {error}");
    Error::new(reason, message)
}

/// Answers a call that another broker handed over.
pub(super) async fn answer(services: &Arc<Services>, request: ForwardRequest) -> ForwardResponse {
    let context = Context {
        principal: request.principal,
        deadline: Duration::from_millis(request.deadline_ms),
        may_forward: false,
    };
    let call = request.request;
    let result = match request.method.as_str() {
        v1::ProduceRequest::METHOD => run::<v1::ProduceRequest>(services, &context, call).await,
        v1::FetchRequest::METHOD => run::<v1::FetchRequest>(services, &context, call).await,
        v1::ListOffsetsRequest::METHOD => {
            run::<v1::ListOffsetsRequest>(services, &context, call).await
        }
        v1::DrainBrokerRequest::METHOD => {
            run::<v1::DrainBrokerRequest>(services, &context, call).await
        }
        v1::GetDrainRequest::METHOD => run::<v1::GetDrainRequest>(services, &context, call).await,
        v1::TrimPartitionRequest::METHOD => {
            run::<v1::TrimPartitionRequest>(services, &context, call).await
        }
        FenceProducerRequest::METHOD => run::<FenceProducerRequest>(services, &context, call).await,
        other => Err(Error::invalid(format!("{other} is not forwarded"))),
    };
    match result {
        Ok(reply) => ForwardResponse {
            reply,
            ..ForwardResponse::default()
        },
        Err(error) => ForwardResponse {
            code: error.reason.code().into(),
            details: encode(&error).into(),
            message: error.message,
            reply: Bytes::new(),
        },
    }
}

async fn run<C: LeaderCall>(
    services: &Arc<Services>,
    context: &Context,
    call: Bytes,
) -> Result<Bytes, Error> {
    let call = C::decode(call).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(call.run(services, context).await?.encode_to_vec().into())
}
