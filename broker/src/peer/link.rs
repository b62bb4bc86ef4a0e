//! The link to one broker: its lanes and its calls.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use highwater_proto::BrokerId;
use highwater_proto::pb::peer::peer_service_client::PeerServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use super::{Identity, Lane, control};
use crate::tasks::Tasks;

/// The largest message between brokers: a largest batch of 3 MiB, or 1 MiB of entries, and room.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// A lazily connected channel to `address` (host:port), set up for large messages.
pub fn connect(address: &str) -> Result<Channel, String> {
    Ok(endpoint(address)?.connect_lazy())
}

/// The same as a control connection, see [`super::control`].
pub fn connect_control(address: &str) -> Result<Channel, String> {
    Ok(control::connect_lazy(&endpoint(address)?, address))
}

pub(super) fn endpoint(address: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|e| format!("{address} is not host:port: {e}"))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .max_frame_size(256 << 10)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .http2_max_header_list_size(16 << 10)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// The link to one broker. It outlives connections: each part reconnects by itself.
#[derive(Debug)]
pub struct Link {
    /// The broker at the other end.
    pub broker: BrokerId,
    /// Its peer address, host:port.
    pub address: String,
    /// Entries of all groups.
    pub append: Lane,
    /// Votes, hand-overs and heartbeats, over a control connection.
    pub control: Lane,
    calls: Channel,
    urgent: Channel,
}

impl Link {
    /// A link to `broker` at `address`; connections are made when they are first used.
    pub fn new(
        broker: BrokerId,
        address: String,
        me: Identity,
        tasks: &Tasks,
    ) -> Result<Self, String> {
        Ok(Self {
            broker,
            append: Lane::new(connect(&address)?, address.clone(), me, tasks.clone()),
            control: Lane::new(
                connect_control(&address)?,
                address.clone(),
                me,
                tasks.clone(),
            )
            .with_bundles(),
            calls: connect(&address)?,
            urgent: connect_control(&address)?,
            address,
        })
    }

    /// A client for unary calls.
    pub fn calls(&self) -> Calls {
        client(self.calls.clone())
    }

    /// A client for unary calls that the other broker must answer however busy it is.
    pub fn urgent_calls(&self) -> Calls {
        client(self.urgent.clone())
    }
}

/// A client for unary calls to one broker.
pub type Calls = PeerServiceClient<Channel>;

/// A client for unary calls over `channel`.
pub fn client(channel: Channel) -> Calls {
    PeerServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// What became of a unary call that was not answered with success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connection could not be made: the request did not arrive.
    #[error("the broker cannot be reached: {0}")]
    NotSent(String),
    /// The broker refused the request and did nothing.
    #[error("the broker refused: {0}")]
    Refused(String),
    /// The request may have arrived; its effect is not known.
    #[error("no answer came: {0}")]
    Unknown(String),
}

/// Makes a unary call that takes at most `limit`.
pub async fn call<T>(
    limit: Duration,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(classify(&status)),
        Err(_) => Err(CallError::Unknown(format!("nothing within {limit:?}"))),
    }
}

fn classify(status: &Status) -> CallError {
    let message = status.message().to_owned();
    match status.code() {
        Code::FailedPrecondition | Code::InvalidArgument => CallError::Refused(message),
        _ if never_sent(status) => CallError::NotSent(message),
        Code::Unimplemented => {
            let why = "it does not know this call: it is no peer port of a broker, or one of another version";
            CallError::Unknown(why.to_owned())
        }
        code if message.is_empty() => CallError::Unknown(code.to_string()),
        _ => CallError::Unknown(message),
    }
}

/// True when the connection itself was refused, so that the request cannot have arrived.
fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        source = error.source();
    }
    false
}
