//! Counts the calls of clients by method and code. A stream counts when it opens; a call whose
//! client goes before the answer counts as cancelled.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::{Layer, Service};

use crate::metrics::{Method, Metrics};

const CANCELLED: usize = 1;
const UNKNOWN: usize = 2;

/// Counts what goes through the services under it.
#[derive(Debug, Clone)]
pub(super) struct Counting {
    metrics: Arc<Metrics>,
}

impl Counting {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        let metrics = Arc::clone(&self.metrics);
        Counted { inner, metrics }
    }
}

/// A service whose calls are counted.
#[derive(Debug, Clone)]
pub(super) struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, B, R> Service<Request<B>> for Counted<S>
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
        let call = Call {
            method: self.metrics.requests.method(request.uri().path()),
            code: CANCELLED,
            metrics: Arc::clone(&self.metrics),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            call.answered(answer.as_ref().map_or(UNKNOWN, code));
            answer
        })
    }
}

/// A call, counted when it goes.
struct Call {
    method: Method,
    code: usize,
    metrics: Arc<Metrics>,
}

impl Call {
    fn answered(mut self, code: usize) {
        self.code = code;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.metrics.requests.count(self.method, self.code);
    }
}

/// What is not refused at once has no status in its headers: it goes well or is a stream.
fn code<R>(answer: &Response<R>) -> usize {
    match answer.headers().get("grpc-status") {
        None => 0,
        Some(status) => {
            let status = status.to_str().ok().and_then(|text| text.parse().ok());
            status.unwrap_or(UNKNOWN)
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tower::service_fn;

    use super::*;
    use crate::metrics::{Gauges, render};

    fn call(path: &str, status: Option<&str>, awaited: bool) -> String {
        let metrics = Arc::new(Metrics::new(["LogService/Fetch"]));
        let mut answer = Response::new(());
        if let Some(status) = status {
            let status = status.parse().unwrap();
            answer.headers_mut().insert("grpc-status", status);
        }
        let inner = service_fn(move |_: Request<()>| {
            let answer = Ok::<_, ()>(answer.clone());
            async move { answer }
        });
        let mut counted = Counting::new(Arc::clone(&metrics)).layer(inner);
        let answer = counted.call(Request::builder().uri(path).body(()).unwrap());
        match awaited {
            true => drop(answer.now_or_never().unwrap()),
            false => drop(answer),
        }
        let page = render(&metrics, Gauges::default());
        let line = page
            .lines()
            .find(|line| line.starts_with("highwater_requests_total"));
        line.unwrap().to_owned()
    }

    #[test]
    fn a_call_counts_under_its_method_and_code() {
        let fetch = "http://b/highwater.v1.LogService/Fetch";
        for (path, status, awaited, expected) in [
            (fetch, None, true, "method=\"LogService/Fetch\",code=\"OK\""),
            (fetch, Some("14"), true, "code=\"UNAVAILABLE\""),
            (fetch, Some("?"), true, "code=\"UNKNOWN\""),
            (fetch, None, false, "code=\"CANCELLED\""),
            (
                "http://b/x",
                Some("12"),
                true,
                "method=\"other\",code=\"UNIMPLEMENTED\"",
            ),
        ] {
            let line = call(path, status, awaited);
            assert!(
                line.contains(expected) && line.ends_with("} 1"),
                "{expected}: {line}"
            );
        }
    }
}
