//! What a broker is started with, checked once.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use super::StartError;

/// The settings of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Where everything is kept; made if it is missing.
    pub data_dir: PathBuf,
    /// The address for clients, host:port; port 0 takes any free one.
    pub listen: String,
    /// The address for other brokers; by default the next port.
    pub peer_listen: Option<String>,
    /// The address for HTTP; by default the next port but one.
    pub http_listen: Option<String>,
    /// The host that others reach this broker by, when it is not the one it listens on.
    pub advertise: Option<String>,
    /// Peer addresses of members of the cluster to join. Ignored by a broker that has joined.
    pub join: Vec<String>,
    /// Where the broker stands; replicas are spread over racks.
    pub rack: String,
    /// Listen beyond this machine although nobody is authenticated.
    pub insecure: bool,
    /// Export metrics of each partition, too.
    pub metrics_per_partition: bool,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("highwater-data"),
            listen: "127.0.0.1:7654".to_owned(),
            peer_listen: None,
            http_listen: None,
            advertise: None,
            join: Vec::new(),
            rack: String::new(),
            insecure: false,
            metrics_per_partition: false,
        }
    }
}

/// The addresses of a configuration, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) listen: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) advertise: Option<String>,
}

impl BrokerConfig {
    /// Resolves the addresses and refuses those that would expose the broker by accident.
    pub(super) fn addresses(&self) -> Result<Addresses, StartError> {
        let listen = resolve("listen", &self.listen)?;
        let beside = |offset: u16| match listen.port() {
            0 => Ok(SocketAddr::new(listen.ip(), 0)),
            port => match port.checked_add(offset) {
                Some(port) => Ok(SocketAddr::new(listen.ip(), port)),
                None => Err(StartError::Config(format!(
                    "listen port {port} leaves no room for the ports beside it; choose a lower \
                     one, or set peer_listen and http_listen"
                ))),
            },
        };
        let peer = match &self.peer_listen {
            Some(address) => resolve("peer_listen", address)?,
            None => beside(1)?,
        };
        let http = match &self.http_listen {
            Some(address) => resolve("http_listen", address)?,
            None => beside(2)?,
        };
        for (name, address) in [
            ("listen", listen),
            ("peer_listen", peer),
            ("http_listen", http),
        ] {
            self.refuse_exposure(name, address.ip())?;
        }
        let wildcard = listen.ip().is_unspecified() || peer.ip().is_unspecified();
        if wildcard && self.advertise.is_none() {
            return Err(StartError::Config(
                "a broker that listens on every address must say by which one others reach it: \
                 set advertise"
                    .to_owned(),
            ));
        }
        Ok(Addresses {
            listen,
            peer,
            http,
            advertise: self.advertise.clone(),
        })
    }

    fn refuse_exposure(&self, name: &str, ip: IpAddr) -> Result<(), StartError> {
        if ip.is_loopback() || self.insecure {
            return Ok(());
        }
        Err(StartError::Config(format!(
            "{name} {ip} can be reached from other machines and nobody is authenticated; listen \
             on 127.0.0.1, or say --insecure if the network is trusted"
        )))
    }
}

fn resolve(name: &str, address: &str) -> Result<SocketAddr, StartError> {
    let wrong = |why: String| StartError::Config(format!("{name} {address:?}: {why}"));
    let mut found = address
        .to_socket_addrs()
        .map_err(|error| wrong(error.to_string()))?;
    found
        .next()
        .ok_or_else(|| wrong("the name has no address".to_owned()))
}

/// The address that others use to reach a socket bound to `bound`.
pub(super) fn advertised(bound: SocketAddr, advertise: Option<&str>) -> String {
    match advertise {
        Some(host) if host.contains(':') && !host.starts_with('[') => {
            format!("[{host}]:{}", bound.port())
        }
        Some(host) => format!("{host}:{}", bound.port()),
        None => bound.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str) -> BrokerConfig {
        BrokerConfig {
            listen: listen.to_owned(),
            ..BrokerConfig::default()
        }
    }

    #[test]
    fn the_other_ports_follow_the_first() {
        let addresses = config("127.0.0.1:7654").addresses().unwrap();
        assert_eq!((addresses.peer.port(), addresses.http.port()), (7655, 7656));
        let free = config("127.0.0.1:0").addresses().unwrap();
        assert_eq!((free.peer.port(), free.http.port()), (0, 0));
    }

    #[test]
    fn an_address_beyond_this_machine_needs_insecure_and_a_wildcard_needs_advertise() {
        let exposed = config("192.0.2.1:7654").addresses().unwrap_err();
        assert!(exposed.to_string().contains("--insecure"), "{exposed}");
        let mut wildcard = config("0.0.0.0:7654");
        wildcard.insecure = true;
        assert!(
            wildcard
                .addresses()
                .unwrap_err()
                .to_string()
                .contains("advertise")
        );
        wildcard.advertise = Some("broker-1.example".to_owned());
        assert!(wildcard.addresses().is_ok());
    }

    #[test]
    fn nonsense_is_refused_with_the_name_of_the_setting() {
        let error = config("7654").addresses().unwrap_err();
        assert!(error.to_string().starts_with("listen \"7654\""), "{error}");
        assert!(
            config("127.0.0.1:65535")
                .addresses()
                .unwrap_err()
                .to_string()
                .contains("65535")
        );
    }

    #[test]
    fn others_are_told_the_advertised_host_with_the_bound_port() {
        let bound = "0.0.0.0:7654".parse().unwrap();
        assert_eq!(advertised(bound, Some("b1")), "b1:7654");
        assert_eq!(advertised(bound, Some("::1")), "[::1]:7654");
        assert_eq!(
            advertised("127.0.0.1:9".parse().unwrap(), None),
            "127.0.0.1:9"
        );
    }
}
