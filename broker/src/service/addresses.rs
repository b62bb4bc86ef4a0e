//! Where other brokers are reached now. A broker that came back elsewhere says so itself, so that those
//! it needs for a majority reach it before the metadata has its new address.

use highwater_proto::BrokerId;
use highwater_proto::pb::peer::{Endpoints, Member};

use super::Services;
use crate::cluster::is_address;
use crate::peer::Link;

impl Services {
    /// The brokers that answer this one, with their addresses for brokers.
    pub fn reached(&self) -> Vec<Member> {
        let links = self.peers.all();
        let answering = links
            .values()
            .filter(|link| self.liveness.answers(link.broker));
        let member = |link: &Link| Member {
            broker_id: link.broker.0,
            endpoints: Some(Endpoints {
                peer: link.address.clone(),
                ..Endpoints::default()
            }),
        };
        answering.map(|link| member(link)).collect()
    }

    /// Takes a broker's word for where it is reached, its own or that of one that it answers, if it
    /// does not answer here where it is looked for. Who answers is left alone, so that a late word of an
    /// earlier life moves nobody. Whether it is really that broker is seen to when it is spoken to.
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
