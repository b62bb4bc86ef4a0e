//! Control connections: for what must be answered whatever else the broker does. They come to the
//! same port as all connections of brokers and begin with a few bytes of their own, by which the
//! listener knows them before it has read anything else; behind these they are HTTP/2 like the rest.

use std::io;
use std::sync::Arc;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

/// The first bytes of a control connection. HTTP/2 begins with `PRI`, so the first one tells.
pub const PREAMBLE: &[u8; 8] = b"HWCTRL1\n";

/// A channel to `address` that is connected when it is first used.
pub(super) fn connect_lazy(endpoint: &Endpoint, address: &str) -> Channel {
    let address: Arc<str> = address.into();
    let connector = tower::service_fn(move |_: Uri| open(Arc::clone(&address)));
    endpoint.connect_with_connector_lazy(connector)
}

async fn open(address: Arc<str>) -> io::Result<TokioIo<TcpStream>> {
    let mut stream = TcpStream::connect(&*address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(PREAMBLE).await?;
    Ok(TokioIo::new(stream))
}
