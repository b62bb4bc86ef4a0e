//! HTTP for operators: `/healthz` says that the process is alive, `/readyz` that it takes work,
//! `/metrics` what it counts and measures.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::connection::Connection;
use super::slots::Slots;

/// Says why the broker does not take work, or nothing when it does.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Writes the page of metrics, or nothing before there are any.
pub type MetricsPage = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The text format of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until `stop` resolves.
pub async fn serve(
    (listener, slots): (TcpListener, Slots),
    readiness: Readiness,
    metrics: MetricsPage,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let app = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(readiness)
        .route("/metrics", get(page).with_state(metrics));
    let listener = Slotted { listener, slots };
    if let Err(error) = axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await
    {
        tracing::error!(%error, "the HTTP listener ended");
    }
}

/// A listener whose connections have slots.
struct Slotted {
    listener: TcpListener,
    slots: Slots,
}

impl axum::serve::Listener for Slotted {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, slot) = self.slots.accept(&self.listener).await;
            if let Ok(peer) = stream.peer_addr() {
                return (Connection::http1((stream, slot)), peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn page(State(metrics): State<MetricsPage>) -> Response {
    match metrics() {
        Some(page) => ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "not yet\n").into_response(),
    }
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    match readiness() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
