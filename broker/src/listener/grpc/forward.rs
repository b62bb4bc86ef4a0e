//! Unary calls that another broker must answer are handed to it once, so that a client without
//! routing works against any broker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::pb::peer::{ForwardRequest, ForwardResponse};
use highwater_proto::pb::v1;
use highwater_proto::{BrokerId, Reason};
use prost::Message;
use tonic::{Code, Status};

use super::context::Context;
use super::status::{encode, status};
use crate::peer::{self, CallError};
use crate::service::{Detail, Error, Services};

/// What the hand-over itself may add to the caller's deadline.
const SLACK: Duration = Duration::from_millis(200);

/// The calls that only a partition's leader can answer.
#[derive(Debug, Clone)]
pub(crate) enum LeaderCall {
    Produce(v1::ProduceRequest),
    Fetch(v1::FetchRequest),
    ListOffsets(v1::ListOffsetsRequest),
}

impl LeaderCall {
    fn method(&self) -> &'static str {
        match self {
            Self::Produce(_) => "/highwater.v1.LogService/Produce",
            Self::Fetch(_) => "/highwater.v1.LogService/Fetch",
            Self::ListOffsets(_) => "/highwater.v1.LogService/ListOffsets",
        }
    }

    fn encode(&self) -> Bytes {
        match self {
            Self::Produce(request) => request.encode_to_vec().into(),
            Self::Fetch(request) => request.encode_to_vec().into(),
            Self::ListOffsets(request) => request.encode_to_vec().into(),
        }
    }

    fn decode(method: &str, request: &Bytes) -> Result<Self, Error> {
        let invalid = |error: prost::DecodeError| Error::invalid(error.to_string());
        let request = request.clone();
        match method {
            "/highwater.v1.LogService/Produce" => v1::ProduceRequest::decode(request)
                .map(Self::Produce)
                .map_err(invalid),
            "/highwater.v1.LogService/Fetch" => v1::FetchRequest::decode(request)
                .map(Self::Fetch)
                .map_err(invalid),
            "/highwater.v1.LogService/ListOffsets" => v1::ListOffsetsRequest::decode(request)
                .map(Self::ListOffsets)
                .map_err(invalid),
            other => Err(Error::invalid(format!("{other} is not forwarded"))),
        }
    }

    /// Answers the call here; the reply is encoded.
    async fn run(self, services: &Arc<Services>, context: &Context) -> Result<Bytes, Error> {
        Ok(match self {
            Self::Produce(r) => services.produce(context, r).await?.encode_to_vec().into(),
            Self::Fetch(r) => services.fetch(context, r).await?.encode_to_vec().into(),
            Self::ListOffsets(r) => services
                .list_offsets(context, r)
                .await?
                .encode_to_vec()
                .into(),
        })
    }
}

/// The broker that `error` points to, if the call may go there.
pub(crate) fn elsewhere(context: &Context, error: &Error) -> Option<BrokerId> {
    match &error.detail {
        Detail::NotLeader(hint) if context.may_forward => hint.leader.as_ref().map(|(id, _)| *id),
        Detail::NotLeader(_)
        | Detail::None
        | Detail::OffsetRange { .. }
        | Detail::SequenceGap { .. } => None,
    }
}

/// Hands `call` to `broker` and decodes its reply.
pub(crate) async fn forward<R: Message + Default>(
    services: &Services,
    context: &Context,
    broker: BrokerId,
    call: LeaderCall,
) -> Result<R, Status> {
    let Some(link) = services.peers.link(broker) else {
        return Err(status(&lost(
            Reason::NoLeader,
            format!("broker {broker} is not known"),
        )));
    };
    let request = ForwardRequest {
        hello: Some(services.me.hello()),
        method: call.method().to_owned(),
        principal: context.principal.clone(),
        deadline_ms: u64::try_from(context.deadline.as_millis()).unwrap_or(u64::MAX),
        request: call.encode(),
    };
    let mut calls = link.calls();
    let answer = peer::call(context.deadline + SLACK, calls.forward(request)).await;
    let response = answer.map_err(|error| status(&failed(broker, &call, &error)))?;
    if response.code != 0 {
        let code = Code::from_i32(response.code);
        return Err(Status::with_details(
            code,
            response.message,
            response.details,
        ));
    }
    R::decode(response.reply).map_err(|error| status(&lost(Reason::Internal, error.to_string())))
}

/// An unanswered produce may have been appended; unanswered reads changed nothing.
fn failed(broker: BrokerId, call: &LeaderCall, error: &CallError) -> Error {
    let reason = match (error, call) {
        (CallError::NotSent(_) | CallError::Refused(_), _) => Reason::NoLeader,
        (CallError::Unknown(_), LeaderCall::Produce(_)) => Reason::OutcomeUnknown,
        (CallError::Unknown(_), LeaderCall::Fetch(_) | LeaderCall::ListOffsets(_)) => {
            Reason::NoLeader
        }
    };
    lost(
        reason,
        format!("broker {broker} leads and did not answer: {error}"),
    )
}

fn lost(reason: Reason, message: String) -> Error {
    Error::new(reason, message)
}

/// Answers a call that another broker handed over.
pub(crate) async fn answer(services: &Arc<Services>, request: ForwardRequest) -> ForwardResponse {
    let context = Context {
        principal: request.principal,
        deadline: Duration::from_millis(request.deadline_ms),
        may_forward: false,
    };
    let result = match LeaderCall::decode(&request.method, &request.request) {
        Ok(call) => call.run(services, &context).await,
        Err(error) => Err(error),
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
