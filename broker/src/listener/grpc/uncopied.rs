//! Answers that carry batches go out by a body of their own (`body.rs`). Their calls are served by tonic
//! as all are; what it was given as messages is only replaced behind it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::body::{Answer, Batches};

/// The body of an answer, until it is taken.
#[derive(Debug, Clone)]
struct Kept(
    // guards: the body; held to take it once
    Arc<Mutex<Option<Body>>>,
);

/// An answer with these messages. [`Uncopied`] has to be around the service that gives it; tonic itself
/// would send `instead`.
pub(super) fn answer<S, M, T>(messages: S, instead: T) -> tonic::Response<T>
where
    S: Stream<Item = Result<M, Status>> + Unpin + Send + 'static,
    M: Batches + Send + 'static,
{
    let body = Body::new(Answer::new(messages));
    let mut answer = tonic::Response::new(instead);
    let kept = Kept(Arc::new(Mutex::new(Some(body))));
    answer.extensions_mut().insert(kept);
    answer
}

/// A service whose answers have the bodies that were made for them.
#[derive(Debug, Clone)]
pub(crate) struct Uncopied<S> {
    inner: S,
}

impl<S> Uncopied<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S: NamedService> NamedService for Uncopied<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<Request<B>> for Uncopied<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
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
            if let Some(Kept(body)) = answer.extensions_mut().remove() {
                let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
                *answer.body_mut() = body.unwrap_or_default();
            }
            Ok(answer)
        })
    }
}
