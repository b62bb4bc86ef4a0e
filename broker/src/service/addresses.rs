//! Where other brokers are reached now. A broker that came back elsewhere says so itself, so that those
//! it needs for a majority reach it before the metadata has its new address.

use highwater_proto::BrokerId;

use super::Services;

/// The longest address: a host name of 255 bytes, a colon and a port.
const MAX_ADDRESS: usize = 261;

impl Services {
    /// Takes a broker's own word for where it is reached, if it does not answer where it is looked
    /// for. Who answers is left alone, so that a late word of an earlier life moves nobody. Whether
    /// it is really that broker is seen to when it is spoken to.
    pub fn hear_address(&self, broker: BrokerId, address: &str) {
        if broker == self.me.broker || !is_address(address) {
            return;
        }
        let lost = match self.peers.link(broker) {
            Some(link) => link.address != address && !self.liveness.answers(broker),
            // The metadata as it is applied here is behind; the members of its group are known.
            None => {
                let members = self.metadata.replica().members();
                members.brokers.values().any(|member| *member == broker)
            }
        };
        if lost && self.peers.redirect(broker, address) {
            tracing::info!(%broker, %address, "the broker is at another address than before");
        }
    }
}

fn is_address(address: &str) -> bool {
    let parts = address.rsplit_once(':');
    let sound = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
    address.len() <= MAX_ADDRESS && parts.is_some_and(sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_and_not_long() {
        for address in ["127.0.0.1:7655", "b1.example.com:1", "[::1]:7655"] {
            assert!(is_address(address), "{address}");
        }
        let long = format!("{}:7655", "h".repeat(300));
        for address in ["", "host", ":7655", "host:", "host:x", "host:70000", &long] {
            assert!(!is_address(address), "{address}");
        }
    }
}
