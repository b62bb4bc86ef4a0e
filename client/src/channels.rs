//! Connections to brokers: one shared by all calls to an address, and separate ones for streams
//! of data, so that large frames never hold up a small call.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::Reason;
use highwater_proto::pb::v1;
use highwater_proto::pb::v1::cluster_service_client::ClusterServiceClient;
use highwater_proto::pb::v1::log_service_client::LogServiceClient;
use highwater_proto::pb::v1::topic_service_client::TopicServiceClient;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tower::util::MapRequest;

use crate::error::{Error, Result};

/// A broker's address for clients, as `host:port`.
pub(crate) type Address = Arc<str>;

/// The largest message taken from a broker: a batch has at most 3 MiB, and a description of ten
/// thousand partitions fits too.
const MAX_MESSAGE: usize = 16 << 20;
const FRAME: u32 = 256 << 10;
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// How much a broker may send ahead of what was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub(crate) stream: u32,
    pub(crate) connection: u32,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            stream: STREAM_WINDOW,
            connection: CONNECTION_WINDOW,
        }
    }
}

/// Opens connections, and keeps the shared one of each address.
#[derive(Debug)]
pub(crate) struct Channels {
    client_id: MetadataValue<Ascii>,
    connect_timeout: Duration,
    // guards: the shared connections; held only to look one up.
    shared: Mutex<HashMap<Address, Channel>>,
}

impl Channels {
    pub(crate) fn new(client_id: &str, connect_timeout: Duration) -> Result<Self> {
        let client_id = client_id.parse().map_err(|_| {
            let message = format!("the client id {client_id:?} has characters outside ASCII");
            Error::new(Reason::InvalidRequest, message)
        })?;
        Ok(Self {
            client_id,
            connect_timeout,
            shared: Mutex::default(),
        })
    }

    /// The shared connection to `address`; it connects when first used and again after a loss.
    pub(crate) fn shared(&self, address: &Address) -> Result<Api> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = shared.get(address) {
            return Ok(self.api(channel.clone()));
        }
        let channel = self.endpoint(address, Windows::default())?.connect_lazy();
        shared.insert(Arc::clone(address), channel.clone());
        Ok(self.api(channel))
    }

    /// A connection of its own, for streams of data.
    pub(crate) fn dedicated(&self, address: &Address, windows: Windows) -> Result<Api> {
        Ok(self.api(self.endpoint(address, windows)?.connect_lazy()))
    }

    fn api(&self, channel: Channel) -> Api {
        let stamp = Stamp {
            client_id: self.client_id.clone(),
            timeout: None,
        };
        Api { channel, stamp }
    }

    fn endpoint(&self, address: &Address, windows: Windows) -> Result<Endpoint> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
            let message = format!("{address:?} is not an address of the form host:port: {error}");
            Error::new(Reason::InvalidRequest, message)
        })?;
        Ok(endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .max_frame_size(FRAME)
            .initial_stream_window_size(windows.stream)
            .initial_connection_window_size(windows.connection)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT))
    }
}

/// One connection's typed clients.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    channel: Channel,
    stamp: Stamp,
}

type Stamped = InterceptedService<Channel, Stamp>;

impl Api {
    /// Tells the broker how long the caller waits.
    pub(crate) fn within(mut self, timeout: Duration) -> Self {
        self.stamp.timeout = format!("{}m", timeout.as_millis().clamp(1, 99_999_999))
            .parse()
            .ok();
        self
    }

    pub(crate) fn log(self) -> LogServiceClient<Stamped> {
        LogServiceClient::with_interceptor(self.channel, self.stamp)
            .max_decoding_message_size(MAX_MESSAGE)
    }

    /// Opens a produce session whose messages are `messages`, encoded already.
    pub(crate) async fn produce_session(
        self,
        messages: impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
    ) -> Result<Response<Streaming<v1::ProduceSessionResponse>>, Status> {
        let mut body = Some(Body::new(messages));
        let channel = MapRequest::new(self.channel, move |request: http::Request<Body>| {
            request.map(|empty| body.take().unwrap_or(empty))
        });
        let mut log = LogServiceClient::with_interceptor(channel, self.stamp)
            .max_decoding_message_size(MAX_MESSAGE);
        log.produce_session(tokio_stream::empty()).await
    }

    pub(crate) fn topics(self) -> TopicServiceClient<Stamped> {
        TopicServiceClient::with_interceptor(self.channel, self.stamp)
            .max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn cluster(self) -> ClusterServiceClient<Stamped> {
        ClusterServiceClient::with_interceptor(self.channel, self.stamp)
            .max_decoding_message_size(MAX_MESSAGE)
    }
}

/// What every call carries: the client routes by itself and says who it is.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    client_id: MetadataValue<Ascii>,
    timeout: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Stamp {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("highwater-forward", MetadataValue::from_static("never"));
        metadata.insert("highwater-client", self.client_id.clone());
        if let Some(timeout) = &self.timeout {
            metadata.insert("grpc-timeout", timeout.clone());
        }
        Ok(request)
    }
}
