//! `InitProducer`: an identity is told only after every partition is fenced that must be.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use highwater_proto::Reason;
use highwater_proto::pb::peer::FenceProducerRequest;
use highwater_proto::pb::v1;
use prost::Message;
use tonic::Status;
use tonic_types::StatusExt;

use super::context::Context;
use super::forward::at_leader;
use super::status::status;
use crate::service::Services;

/// How many partitions are fenced at the same time.
const AT_ONCE: usize = 64;

/// Answers the call.
pub(super) async fn init_producer(
    services: &Arc<Services>,
    context: &Context,
    request: v1::InitProducerRequest,
) -> Result<v1::InitProducerResponse, Status> {
    let initialized = services.init_producer(context, &request).await;
    let initialized = initialized.map_err(|error| status(&error))?;
    // Leaders may be elsewhere, whatever the caller prefers for its own calls.
    let context = Context {
        may_forward: true,
        ..context.clone()
    };
    let fences = stream::iter(initialized.fences).map(Ok);
    let fencing = fences.try_for_each_concurrent(AT_ONCE, |call| fence(services, &context, call));
    // Boxed, because the futures of services nest deeply.
    Box::pin(fencing).await?;
    Ok(initialized.response)
}

async fn fence(
    services: &Arc<Services>,
    context: &Context,
    call: FenceProducerRequest,
) -> Result<(), Status> {
    let partition = format!("{}/{}", call.topic, call.partition);
    match at_leader(services, context, call).await {
        Ok(_) => Ok(()),
        // The topic was deleted meanwhile.
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => {
            let message = format!(
                "the name is not taken over yet, since {partition} cannot be told: {}",
                error.message()
            );
            Err(with_message(&error, message))
        }
    }
}

/// The same error with another message, which its details repeat.
fn with_message(error: &Status, message: String) -> Status {
    let mut details = tonic_types::Status::decode(error.details()).unwrap_or_default();
    details.code = error.code().into();
    details.message.clone_from(&message);
    Status::with_details(error.code(), message, details.encode_to_vec().into())
}

fn is_gone(error: &Status) -> bool {
    let info = error.get_details_error_info();
    let reason = info.and_then(|info| info.reason.parse().ok());
    matches!(
        reason,
        Some(Reason::TopicNotFound | Reason::TopicIdMismatch)
    )
}
