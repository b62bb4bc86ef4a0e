//! What a broker is started with, checked once.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::StartError;
use crate::cluster::check_rack;
use crate::raft::suspicion::SuspicionConfig;

/// What `suspect_after` may be: three pings of 100 ms at least, and less than the 8 s after which
/// followers look for a leader by themselves.
const SUSPECT_AFTER: RangeInclusive<Duration> = Duration::from_millis(300)..=Duration::from_secs(5);

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
    /// Peer addresses of members of the cluster to join. A broker that has joined looks for its cluster there,
    /// too, until it has found it.
    pub join: Vec<String>,
    /// Where the broker stands; replicas are spread over racks.
    pub rack: String,
    /// Listen beyond this machine although nobody is authenticated.
    pub insecure: bool,
    /// Export metrics of each partition, too.
    pub metrics_per_partition: bool,
    /// How long another broker may be silent before it is suspected of having failed.
    pub suspect_after: Duration,
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
            suspect_after: SuspicionConfig::default().suspect_after,
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
        let all = [
            ("listen", listen),
            ("peer_listen", peer),
            ("http_listen", http),
        ];
        for (name, address) in all {
            self.refuse_exposure(name, address.ip())?;
        }
        refuse_same(&all)?;
        if let Some(host) = &self.advertise {
            check_host(host).map_err(|why| {
                StartError::Config(format!(
                    "advertise {host:?}: {why}; it is the name or the IP address, without a port, \
                     that others reach this broker by"
                ))
            })?;
        }
        self.check_join(listen, peer, http)?;
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

    /// Refuses what [`super::Broker::start`] would refuse without having looked at the machine. A
    /// broker `in_memory` needs no data directory.
    pub fn check(&self, in_memory: bool) -> Result<(), StartError> {
        if !in_memory && self.data_dir.as_os_str().is_empty() {
            return Err(StartError::Config(
                "data_dir is empty; set it to the directory that the broker keeps everything in"
                    .to_owned(),
            ));
        }
        if !SUSPECT_AFTER.contains(&self.suspect_after) {
            return Err(StartError::Config(format!(
                "suspect_after is {:?}; it must be between {:?}, in which a broker that lives answers, and \
                 {:?}, within which another must take over",
                self.suspect_after,
                SUSPECT_AFTER.start(),
                SUSPECT_AFTER.end()
            )));
        }
        if let Err(refused) = check_rack(&self.rack) {
            return Err(StartError::Config(format!(
                "rack {:?}: {refused}",
                self.rack
            )));
        }
        self.addresses().map(drop)
    }

    /// A broker cannot let itself in, and no other speaks to brokers on the port for clients. Its
    /// own peer address may stand among others: all brokers may have one list.
    fn check_join(
        &self,
        listen: SocketAddr,
        peer: SocketAddr,
        http: SocketAddr,
    ) -> Result<(), StartError> {
        let mut only_itself = !self.join.is_empty();
        for address in &self.join {
            let wrong = |why: &str| StartError::Config(format!("join {address:?}: {why}"));
            let split = address.rsplit_once(':');
            let port = split.and_then(|(host, port)| {
                check_host(host).ok()?;
                port.parse::<u16>().ok().filter(|port| *port != 0)
            });
            if port.is_none() {
                let why = "it must be host:port, the peer address of a member of the cluster";
                return Err(wrong(why));
            }
            let own = address.parse::<SocketAddr>().ok();
            if own.is_some_and(|own| own == listen || own == http) {
                return Err(wrong(
                    "this broker itself listens there, and not for brokers; it must be the peer \
                     address of another member of the cluster",
                ));
            }
            only_itself &= own == Some(peer);
        }
        match only_itself {
            true => Err(StartError::Config(format!(
                "join {:?}: this is the peer address of this broker itself; name another member of \
                 the cluster, or leave join out to found one",
                self.join.join(",")
            ))),
            false => Ok(()),
        }
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

/// Two listeners cannot have one port of an address.
fn refuse_same(all: &[(&str, SocketAddr)]) -> Result<(), StartError> {
    let same = |a: &SocketAddr, b: &SocketAddr| {
        let wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
        a.port() != 0 && a.port() == b.port() && (wildcard || a.ip() == b.ip())
    };
    for (at, (name, address)) in all.iter().enumerate() {
        let others = all.iter().skip(at + 1);
        if let Some((other, _)) = others.into_iter().find(|(_, other)| same(address, other)) {
            return Err(StartError::Config(format!(
                "{name} and {other} are both {address}; each needs a port of its own"
            )));
        }
    }
    Ok(())
}

/// Whether it is an IP address or the name of a host, as far as its letters tell.
fn check_host(host: &str) -> Result<(), &'static str> {
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip = bracketed.unwrap_or(host).parse::<IpAddr>().ok();
    if let Some(ip) = ip {
        return match ip.is_unspecified() {
            true => Err("that is every address and none that can be reached"),
            false => Ok(()),
        };
    }
    let in_names = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match host {
        "" => Err("it is empty"),
        _ if host.contains(':') => Err("a port does not belong there"),
        _ if !host.chars().all(in_names) || host.starts_with('-') => Err("it names no host"),
        _ => Ok(()),
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
mod tests;
