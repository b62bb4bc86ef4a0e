//! What the gRPC layer refuses by itself, said as everything else is said: with a reason and the code
//! that goes with it. It answers a message that is none with INTERNAL, as if the broker had failed,
//! and one beyond the limit with OUT_OF_RANGE. Every error of the broker carries details, so what
//! has none was not its own.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use highwater_proto::Reason;
use http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::status::status;
use crate::service::Error;

/// The same status, with a reason if it has none.
pub(super) fn explained(found: Status) -> Status {
    if !found.details().is_empty() {
        return found;
    }
    let reason = match found.code() {
        Code::Internal => Reason::InvalidRequest,
        Code::OutOfRange => Reason::RequestTooLarge,
        _ => return found,
    };
    let message = format!("the message cannot be taken: {}", found.message());
    status(&Error::new(reason, message))
}

/// Explains what the services under it refuse before their methods are called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Explaining;

impl<S> Layer<S> for Explaining {
    type Service = Explained<S>;

    fn layer(&self, inner: S) -> Explained<S> {
        Explained { inner }
    }
}

/// A service whose refusals are explained.
#[derive(Debug, Clone)]
pub(super) struct Explained<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Explained<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            // Only what is refused at once has its status in the headers.
            if let Some(refused) = Status::from_header_map(answer.headers())
                && refused.code() != Code::Ok
            {
                // A status that cannot be written stays as it was.
                drop(explained(refused).add_header(answer.headers_mut()));
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn what_has_no_reason_is_a_fault_of_the_request() {
        for (code, becomes, reason) in [
            (Code::Internal, Code::InvalidArgument, "INVALID_REQUEST"),
            (
                Code::OutOfRange,
                Code::ResourceExhausted,
                "REQUEST_TOO_LARGE",
            ),
        ] {
            let found = explained(Status::new(code, "too odd"));
            let info = found.get_details_error_info().unwrap();
            assert_eq!((found.code(), info.reason.as_str()), (becomes, reason));
            assert!(found.message().ends_with("too odd"), "{found:?}");
        }
    }

    #[test]
    fn what_the_broker_says_itself_stays_as_it_is() {
        let own = status(&Error::new(Reason::Internal, "a fault"));
        assert_eq!(explained(own).code(), Code::Internal);
        let other = explained(Status::new(Code::Unimplemented, "no such method"));
        assert_eq!(other.code(), Code::Unimplemented);
    }
}
