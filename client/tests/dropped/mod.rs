//! Futures that are dropped after so many polls.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs a future until it has been polled so many times, and then drops it.
struct UpTo<F> {
    inner: Pin<Box<F>>,
    polls: usize,
}

impl<F: Future> Future for UpTo<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        match self.inner.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The future's output, unless it is not ready after so many polls.
pub(crate) async fn up_to<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let inner = Box::pin(future);
    let polled = UpTo { inner, polls };
    tokio::time::timeout(LIMIT, polled).await.expect("in time")
}
