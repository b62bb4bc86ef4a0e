//! The handle on a cluster, and how to make one.

use std::env::{self, VarError};
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::Reason;

use crate::channels::{Address, Channels};
use crate::consumer::ConsumerBuilder;
use crate::error::{Error, Result};
use crate::metadata::Metadata;
use crate::patience::at_most_a_year;
use crate::producer::ProducerBuilder;

/// The port that an address without one means.
pub const DEFAULT_PORT: u16 = 7654;
/// The variable of the environment that names brokers, here and for the command line.
const BROKERS: &str = "HIGHWATER_BROKERS";
/// The brokers that are meant when it is not set.
const DEFAULT_BROKERS: &str = "127.0.0.1:7654";

/// A handle on a cluster. Cheap to clone; all clones share connections and what is known of the
/// cluster.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) metadata: Arc<Metadata>,
}

impl Client {
    /// Connects to the cluster that any of the brokers in `bootstrap` (`host:port,host:port`)
    /// belongs to. One that is just starting is waited for until the request timeout; fails with
    /// `UNREACHABLE` when none answers. Cancel-safe.
    pub async fn connect(bootstrap: impl AsRef<str>) -> Result<Self> {
        Self::builder().bootstrap(bootstrap).connect().await
    }

    /// Connects to the cluster that the command line would talk to in the same environment: that of
    /// the brokers in `HIGHWATER_BROKERS`, or of one at `127.0.0.1:7654` when that is not set. Fails
    /// as [`Client::connect`] does. Cancel-safe.
    pub async fn from_env() -> Result<Self> {
        Self::connect(brokers(env::var(BROKERS))?).await
    }

    /// A client with other settings than the default ones. Asks nobody.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Begins a producer for `topic`. Each has buffers and an identity of its own; there is no order
    /// between producers.
    pub fn producer(&self, topic: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder::new(self.clone(), topic.into())
    }

    /// Begins a consumer of `topic`. Consumers do not share anything: each gets every record.
    pub fn consumer(&self, topic: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), topic.into())
    }
}

/// Settings of a [`Client`].
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    bootstrap: Vec<String>,
    request_timeout: Duration,
    connect_timeout: Duration,
    client_id: String,
    rack: String,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(3),
            client_id: concat!("highwater-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            rack: String::new(),
        }
    }
}

impl ClientBuilder {
    /// Brokers to ask first, as `host:port,host:port`; a host alone means port [`DEFAULT_PORT`].
    /// The others are learned. May be called again to add some.
    #[must_use]
    pub fn bootstrap(mut self, addresses: impl AsRef<str>) -> Self {
        let addresses = addresses.as_ref().split(',').map(str::trim);
        let given = addresses.filter(|address| !address.is_empty());
        self.bootstrap.extend(given.map(str::to_owned));
        self
    }

    /// How long a request may take with all its retries; 30 s by default. Records that are being
    /// produced have a deadline of their own. At most a year; what is longer counts as that.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = at_most_a_year(timeout);
        self
    }

    /// How long one connection attempt may take; 3 s by default. At most a year; what is longer counts
    /// as that.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = at_most_a_year(timeout);
        self
    }

    /// The name under which brokers show this client; ASCII. It is no identity: a producer that fences
    /// its predecessor has [`ProducerBuilder::name`].
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }

    /// The rack that this client stands in, as brokers name theirs: consumers that read from the
    /// nearest replica prefer those there.
    #[must_use]
    pub fn rack(mut self, rack: impl Into<String>) -> Self {
        self.rack = rack.into();
        self
    }

    /// Contacts the cluster; fails with `UNREACHABLE` when no bootstrap broker answers. Cancel-safe.
    pub async fn connect(self) -> Result<Client> {
        let client = self.build()?;
        client.metadata.contact().await?;
        Ok(client)
    }

    /// Makes a client that contacts the cluster when it is first needed. Fails with `INVALID_REQUEST`
    /// for an address or a name that cannot be, and for no other reason.
    pub fn build(self) -> Result<Client> {
        let bootstrap = self.bootstrap.iter().map(|address| parse_address(address));
        let bootstrap: Vec<Address> = bootstrap.collect::<Result<_>>()?;
        if bootstrap.is_empty() {
            let message = "no bootstrap address is given; it has the form host:port";
            return Err(Error::new(Reason::InvalidRequest, message));
        }
        let channels = Channels::new(&self.client_id, self.connect_timeout)?;
        let metadata = Metadata::new(channels, bootstrap, self.request_timeout, self.rack);
        Ok(Client {
            metadata: Arc::new(metadata),
        })
    }
}

/// The brokers that the variable of the environment names.
fn brokers(variable: std::result::Result<String, VarError>) -> Result<String> {
    match variable {
        Ok(brokers) => Ok(brokers),
        Err(VarError::NotPresent) => Ok(DEFAULT_BROKERS.to_owned()),
        Err(VarError::NotUnicode(_)) => {
            let message = format!("{BROKERS} is no text; it has the form host:port,host:port");
            Err(Error::new(Reason::InvalidRequest, message))
        }
    }
}

fn parse_address(text: &str) -> Result<Address> {
    let bad = |why: &str| {
        let message = format!("{text:?} is not an address of the form host:port: {why}");
        Err(Error::new(Reason::InvalidRequest, message))
    };
    // Only a bracketed IPv6 address may contain more than one colon.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if host.is_empty() || host.contains('/') {
        return bad("the host is missing or has a '/'");
    }
    if host.contains(':') && !host.starts_with('[') {
        return bad("an IPv6 address stands in brackets");
    }
    match port {
        None => Ok(Arc::from(format!("{host}:{DEFAULT_PORT}"))),
        Some(port) if port.parse::<u16>().is_ok_and(|p| p > 0) => Ok(Arc::from(text)),
        Some(_) => bad("the port is a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_perhaps_a_port() {
        for (text, address) in [
            ("localhost:9", "localhost:9"),
            ("localhost", "localhost:7654"),
            ("[::1]:9", "[::1]:9"),
            ("[::1]", "[::1]:7654"),
        ] {
            assert_eq!(&*parse_address(text).unwrap(), address);
        }
        for text in [":9", "h:", "h:0", "h:99999", "http://h:9", "::1"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_environment_names_brokers_as_it_does_for_the_command_line() {
        assert_eq!(brokers(Ok("a:1,b".to_owned())).unwrap(), "a:1,b");
        let unset = brokers(Err(VarError::NotPresent)).unwrap();
        assert_eq!(&*parse_address(&unset).unwrap(), "127.0.0.1:7654");
        let error = brokers(Err(VarError::NotUnicode("x".into()))).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::InvalidRequest));
    }

    #[tokio::test]
    async fn a_client_needs_an_address_and_an_ascii_name() {
        let none = Client::builder().bootstrap(" , ").build().unwrap_err();
        assert_eq!(none.reason(), Some(Reason::InvalidRequest));
        let name = Client::builder().bootstrap("h:9").client_id("a\nb").build();
        assert_eq!(name.unwrap_err().reason(), Some(Reason::InvalidRequest));
    }
}
