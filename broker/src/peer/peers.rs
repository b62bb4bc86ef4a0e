//! The links to all other brokers of the cluster, kept in step with the metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use highwater_proto::BrokerId;

use super::{Identity, Link};
use crate::tasks::Tasks;

type Links = BTreeMap<BrokerId, Arc<Link>>;

/// The links, by broker. Readers take no lock.
#[derive(Debug)]
pub struct Peers {
    me: Identity,
    tasks: Tasks,
    links: ArcSwap<Links>,
}

impl Peers {
    /// No links yet; `tasks` ends what they run.
    pub fn new(me: Identity, tasks: Tasks) -> Self {
        Self {
            me,
            tasks,
            links: ArcSwap::default(),
        }
    }

    /// Who this broker is.
    pub fn me(&self) -> Identity {
        self.me
    }

    /// The link to `broker`, if it is known.
    pub fn link(&self, broker: BrokerId) -> Option<Arc<Link>> {
        self.links.load().get(&broker).cloned()
    }

    /// All links.
    pub fn all(&self) -> Arc<Links> {
        self.links.load_full()
    }

    /// Makes the links those of `addresses` (peer address by broker, this broker left out). A link
    /// whose address did not change is kept with its connections.
    pub fn update(&self, addresses: &BTreeMap<BrokerId, String>) {
        let old = self.links.load_full();
        let mut links = Links::new();
        for (broker, address) in addresses {
            if *broker == self.me.broker {
                continue;
            }
            let kept = old.get(broker).filter(|link| link.address == *address);
            let link = match kept {
                Some(link) => Arc::clone(link),
                None => match Link::new(*broker, address.clone(), self.me, &self.tasks) {
                    Ok(link) => Arc::new(link),
                    Err(error) => {
                        tracing::warn!(%broker, %error, "a broker's peer address cannot be used");
                        continue;
                    }
                },
            };
            links.insert(*broker, link);
        }
        self.links.store(Arc::new(links));
    }
}
