//! Sockets and HTTP/2 settings of the two listeners, in one place.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use highwater_proto::pb;
use highwater_proto::pb::peer::peer_service_server::PeerServiceServer;
use highwater_proto::pb::v1::cluster_service_server::ClusterServiceServer;
use highwater_proto::pb::v1::log_service_server::LogServiceServer;
use highwater_proto::pb::v1::topic_service_server::TopicServiceServer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Router;

use super::cluster::ClusterApi;
use super::counted::Counting;
use super::explained::Explaining;
use super::log::LogApi;
use super::peer::PeerApi;
use super::topic::TopicApi;
use super::uncopied::Uncopied;
use crate::listener::connection::{Connection, Which};
use crate::listener::{Slot, Slots};
use crate::metrics::Metrics;
use crate::peer::MAX_MESSAGE_BYTES;
use crate::service::Services;

/// The largest message of a client: a largest batch of 3 MiB and room, below gRPC's stock limit.
const MAX_REQUEST_BYTES: usize = 4 << 20;
const MAX_STREAMS: u32 = 1024;
const MAX_HEADER_LIST: u32 = 16 << 10;
/// Calls that a client opened and gave up before they were looked at; with more it is taken for an
/// attacker and its connection ended. After a broker stood still, all calls of that time are so.
const MAX_GIVEN_UP: usize = 1024;

/// A listening socket on `address` (host:port; port 0 takes any free one).
pub async fn bind(address: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

fn server() -> Server {
    Server::builder()
        .max_frame_size(Some(256 << 10))
        .initial_stream_window_size(Some(8 << 20))
        .initial_connection_window_size(Some(16 << 20))
        .max_concurrent_streams(Some(MAX_STREAMS))
        .http2_max_header_list_size(Some(MAX_HEADER_LIST))
        .http2_max_pending_accept_reset_streams(Some(MAX_GIVEN_UP))
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
}

/// Nagle's algorithm would hold back small messages; a bare incoming stream leaves it on.
fn incoming(
    listener: TcpListener,
    slots: Slots,
    metrics: Arc<Metrics>,
    which: Which,
) -> impl Stream<Item = io::Result<Connection>> {
    let accepted = stream::unfold((listener, slots), async |(listener, slots)| {
        let accepted = slots.accept(&listener).await;
        Some((accepted, (listener, slots)))
    });
    accepted.map(move |(stream, slot)| {
        stream.set_nodelay(true)?;
        let metrics = Arc::clone(&metrics);
        Ok(Connection::http2((stream, slot), metrics, which))
    })
}

/// The service that carries batches.
pub(crate) fn log_service(services: Arc<Services>) -> Uncopied<LogServiceServer<LogApi>> {
    let service = LogServiceServer::new(LogApi::new(services));
    Uncopied::new(service.max_decoding_message_size(MAX_REQUEST_BYTES))
}

/// Serves the public API until `stop` resolves.
pub async fn serve_public(
    (listener, slots): (TcpListener, Slots),
    services: Arc<Services>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let log = log_service(Arc::clone(&services));
    let topic = TopicServiceServer::new(TopicApi::new(Arc::clone(&services)))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let metrics = Arc::clone(&services.metrics);
    let cluster = ClusterServiceServer::new(ClusterApi::new(services));
    let router = server()
        .layer(Counting::new(Arc::clone(&metrics)))
        .layer(Explaining)
        .add_service(log)
        .add_service(topic)
        .add_service(cluster);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<LogServiceServer<LogApi>>().await;
    health.set_serving::<TopicServiceServer<TopicApi>>().await;
    health
        .set_serving::<ClusterServiceServer<ClusterApi>>()
        .await;
    let router = with_reflection(router.add_service(health_service));
    let incoming = incoming(listener, slots, metrics, |all| &all.clients);
    router.serve_with_incoming_shutdown(incoming, stop).await
}

/// Clients with nothing but reflection see the public API, in both versions of the protocol.
fn with_reflection<L>(router: Router<L>) -> Router<L> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("highwater.v1.LogService")
            .with_service_name("highwater.v1.TopicService")
            .with_service_name("highwater.v1.ClusterService")
            .with_service_name("grpc.health.v1.Health")
    };
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => router.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "reflection is not available");
            router
        }
    }
}

/// Serves the control connections of other brokers until `stop` resolves.
pub async fn serve_control(
    connections: mpsc::Receiver<(TcpStream, Slot)>,
    api: PeerApi,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    serve_peers(ReceiverStream::new(connections).map(Ok), api, stop).await
}

/// Serves the other connections of brokers until `stop` resolves.
pub async fn serve_bulk(
    connections: mpsc::Receiver<(std::net::TcpStream, Slot)>,
    api: PeerApi,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let here = |(stream, slot): (std::net::TcpStream, Slot)| {
        let stream = TcpStream::from_std(stream)?;
        stream.set_nodelay(true)?;
        Ok((stream, slot))
    };
    serve_peers(ReceiverStream::new(connections).map(here), api, stop).await
}

async fn serve_peers(
    connections: impl Stream<Item = io::Result<(TcpStream, Slot)>>,
    api: PeerApi,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let metrics = api.metrics();
    let service = PeerServiceServer::new(api)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let counted = connections.map(move |stream| {
        let counted =
            |accepted| Connection::http2(accepted, Arc::clone(&metrics), |all| &all.peers);
        stream.map(counted)
    });
    server()
        .add_service(service)
        .serve_with_incoming_shutdown(counted, stop)
        .await
}
