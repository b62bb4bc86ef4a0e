//! The links to all other brokers of the cluster, kept in step with the metadata, and with what
//! brokers say themselves where the metadata is behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use highwater_proto::{BrokerId, LogIndex};
use tokio::runtime::Handle;

use super::link::endpoint;
use super::{Identity, Link};
use crate::tasks::Tasks;

type Links = BTreeMap<BrokerId, Arc<Link>>;
type Addresses = BTreeMap<BrokerId, String>;

/// The links, by broker. Readers take no lock.
#[derive(Debug)]
pub struct Peers {
    me: Identity,
    address: String,
    tasks: Tasks,
    /// Where connections are served, whoever makes a link: entries must not travel on the thread
    /// that answers pings.
    runtime: Handle,
    // guards: the addresses, and that the links are made of the latest; held for map operations only.
    book: Mutex<Book>,
    links: ArcSwap<Links>,
}

/// Where the brokers are reached.
#[derive(Debug, Default)]
struct Book {
    /// What the metadata says.
    known: Addresses,
    /// The entry of the metadata log that it is as of.
    as_of: LogIndex,
    /// What brokers said of themselves since; it counts until the metadata says something new.
    heard: Addresses,
}

impl Book {
    fn addresses(&self) -> Addresses {
        let mut addresses = self.known.clone();
        addresses.extend(self.heard.clone());
        addresses
    }
}

impl Peers {
    /// No links yet; `tasks` ends what they run.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime; what the links run belongs to it.
    pub fn new(me: Identity, tasks: Tasks) -> Self {
        Self {
            me,
            address: String::new(),
            tasks,
            runtime: Handle::current(),
            book: Mutex::default(),
            links: ArcSwap::default(),
        }
    }

    /// The same for a broker that others reach at `address`.
    #[must_use]
    pub fn reached_at(self, address: String) -> Self {
        Self { address, ..self }
    }

    /// Who this broker is.
    pub fn me(&self) -> Identity {
        self.me
    }

    /// Where others reach this broker, host:port; empty where nobody does.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The link to `broker`, if it is known.
    pub fn link(&self, broker: BrokerId) -> Option<Arc<Link>> {
        self.links.load().get(&broker).cloned()
    }

    /// All links.
    pub fn all(&self) -> Arc<Links> {
        self.links.load_full()
    }

    /// Makes the links those of `addresses` (peer address by broker, this broker left out), as the
    /// metadata had them as of its entry `as_of`, and forgets what a broker said itself whose address
    /// is another one there than before. A link whose address did not change is kept with its
    /// connections. False when later ones are known: then nothing changes. The metadata of an earlier
    /// time is applied again after each start.
    pub fn update(&self, addresses: &Addresses, as_of: LogIndex) -> bool {
        self.change(|book| {
            if as_of < book.as_of {
                return false;
            }
            book.as_of = as_of;
            let known = &book.known;
            let unchanged = |broker: &BrokerId| known.get(broker) == addresses.get(broker);
            book.heard.retain(|broker, _| unchanged(broker));
            book.known.clone_from(addresses);
            true
        })
    }

    /// Makes the link to `broker` one to `address`, until the metadata has a new one for it. False
    /// when nobody can be reached at such an address: then nothing changes.
    pub fn redirect(&self, broker: BrokerId, address: &str) -> bool {
        self.change(|book| {
            let usable = endpoint(address).is_ok();
            if usable {
                book.heard.insert(broker, address.to_owned());
            }
            usable
        })
    }

    /// Makes the links what the book says, if it was changed.
    fn change(&self, change: impl FnOnce(&mut Book) -> bool) -> bool {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if !change(&mut book) {
            return false;
        }
        let _here = self.runtime.enter();
        let old = self.links.load_full();
        let mut links = Links::new();
        for (broker, address) in book.addresses() {
            if broker == self.me.broker {
                continue;
            }
            let kept = old.get(&broker).filter(|link| link.address == address);
            let link = match kept {
                Some(link) => Arc::clone(link),
                None => match Link::new(broker, address, self.me, &self.tasks) {
                    Ok(link) => Arc::new(link),
                    Err(error) => {
                        tracing::warn!(%broker, %error, "a broker's peer address cannot be used");
                        continue;
                    }
                },
            };
            links.insert(broker, link);
        }
        self.links.store(Arc::new(links));
        true
    }
}

#[cfg(test)]
mod tests {
    use highwater_proto::{ClusterId, Incarnation};

    use super::*;

    const ME: BrokerId = BrokerId(1);
    const OTHER: BrokerId = BrokerId(2);

    fn peers() -> Peers {
        let me = Identity {
            cluster: ClusterId::from_bytes([1; 16]),
            broker: ME,
            incarnation: Incarnation::from_bytes([7; 16]),
        };
        Peers::new(me, Tasks::new())
    }

    fn at(addresses: &[(BrokerId, &str)]) -> Addresses {
        let owned = |(broker, address): &(BrokerId, &str)| (*broker, (*address).to_owned());
        addresses.iter().map(owned).collect()
    }

    fn address(peers: &Peers) -> Option<String> {
        peers.link(OTHER).map(|link| link.address.clone())
    }

    #[tokio::test]
    async fn what_a_broker_says_itself_counts_until_the_metadata_says_something_new() {
        let peers = peers();
        peers.update(&at(&[(ME, "a:1"), (OTHER, "b:1")]), LogIndex(1));
        assert!(peers.redirect(OTHER, "b:2"));
        assert!(!peers.redirect(OTHER, "b b:2"), "no host has such a name");
        assert_eq!(address(&peers).as_deref(), Some("b:2"));
        peers.update(&at(&[(ME, "a:9"), (OTHER, "b:1")]), LogIndex(2));
        assert_eq!(address(&peers).as_deref(), Some("b:2"), "nothing new of it");
        peers.update(&at(&[(ME, "a:9"), (OTHER, "b:3")]), LogIndex(3));
        assert_eq!(address(&peers).as_deref(), Some("b:3"));
        assert_eq!(peers.all().len(), 1, "there is no link to itself");
    }

    #[tokio::test]
    async fn a_link_is_kept_when_the_metadata_comes_to_say_what_its_broker_said() {
        let peers = peers();
        peers.update(&at(&[(OTHER, "b:1")]), LogIndex(1));
        peers.redirect(OTHER, "b:2");
        let link = peers.link(OTHER).unwrap();
        peers.update(&at(&[(OTHER, "b:2")]), LogIndex(2));
        assert!(Arc::ptr_eq(&link, &peers.link(OTHER).unwrap()));
    }

    #[tokio::test]
    async fn a_member_that_the_metadata_does_not_have_yet_is_reached_where_it_says() {
        let peers = peers();
        peers.redirect(OTHER, "b:2");
        peers.update(&at(&[(ME, "a:1")]), LogIndex(1));
        assert_eq!(address(&peers).as_deref(), Some("b:2"));
    }

    #[tokio::test]
    async fn the_metadata_of_an_earlier_time_has_no_say() {
        let peers = peers();
        assert!(peers.update(&at(&[(OTHER, "b:2")]), LogIndex(8)));
        assert!(!peers.update(&at(&[(OTHER, "b:1")]), LogIndex(7)));
        assert_eq!(address(&peers).as_deref(), Some("b:2"));
        assert!(peers.update(&at(&[(OTHER, "b:3")]), LogIndex(8)));
        assert_eq!(address(&peers).as_deref(), Some("b:3"));
    }
}
