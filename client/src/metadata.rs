//! Asks the cluster where things are, and remembers it. One refresh of a topic at a time, and not
//! too often; whoever waits for a refresh that began after its trouble shares its answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use highwater_proto::pb::v1;
use highwater_proto::reason::DOMAIN;
use highwater_proto::{PartitionIndex, Reason};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::channels::{Address, Api, Channels};
use crate::entropy;
use crate::error::{Error, Outcome, Result};
use crate::request::{retried, too_late};
use crate::retry::Backoff;
use crate::topology::{TopicRoutes, Topology};

/// Refreshes of one topic begin at least this far apart.
const REFRESH_EVERY: Duration = Duration::from_millis(20);
/// How long one broker may take before the next is asked as well.
const HEDGE_AFTER: Duration = Duration::from_millis(250);
/// How long brokers may say that a topic in use does not exist before it is believed: those that
/// know better may be down, and one that has just started has yet to learn of it.
const BELIEVE_AFTER: Duration = Duration::from_secs(5);

/// Whether it is to be believed that a topic in use is gone, which is said now and was since `missing`.
pub(crate) fn is_believed(missing: &mut Option<Instant>) -> bool {
    let since = missing.get_or_insert_with(Instant::now);
    since.elapsed() >= BELIEVE_AFTER
}

/// The cluster as the client sees it.
#[derive(Debug)]
pub(crate) struct Metadata {
    channels: Channels,
    bootstrap: Vec<Address>,
    request_timeout: Duration,
    /// Where this client stands; empty when that is not said.
    rack: String,
    // guards: what is known; held for look-ups only, never across an await.
    topology: Mutex<Topology>,
    // guards: when each topic was last asked for; held while one refresh runs.
    refreshed: tokio::sync::Mutex<HashMap<String, Instant>>,
    /// Which address is asked first; the next one after each refresh.
    first: AtomicUsize,
}

impl Metadata {
    pub(crate) fn new(
        channels: Channels,
        bootstrap: Vec<Address>,
        timeout: Duration,
        rack: String,
    ) -> Self {
        Self {
            channels,
            rack,
            bootstrap,
            request_timeout: timeout,
            topology: Mutex::default(),
            refreshed: tokio::sync::Mutex::default(),
            first: AtomicUsize::new(0),
        }
    }

    pub(crate) fn channels(&self) -> &Channels {
        &self.channels
    }

    /// When a request that begins now must be answered.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.request_timeout
    }

    /// How long a request may take.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    fn topology(&self) -> MutexGuard<'_, Topology> {
        self.topology.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every address that may answer: brokers learned from the cluster, then the bootstrap ones. Another
    /// broker comes first after each refresh: the one that was asked may be cut off from the others, and
    /// tell for ever what was so before.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        let mut addresses: Vec<Address> = self.topology().addresses().cloned().collect();
        let brokers = addresses.len().max(1);
        addresses.rotate_left(self.first.load(Ordering::Relaxed) % brokers);
        for address in &self.bootstrap {
            if !addresses.contains(address) {
                addresses.push(Arc::clone(address));
            }
        }
        addresses
    }

    /// The address of a partition's leader, if one is known.
    pub(crate) fn leader(&self, topic: &str, partition: PartitionIndex) -> Option<Address> {
        self.topology().leader(topic, partition)
    }

    /// The addresses of a partition's replicas, nearest to this client first.
    pub(crate) fn nearest(
        &self,
        topic: &str,
        partition: PartitionIndex,
        salt: usize,
    ) -> Vec<Address> {
        self.topology()
            .nearest(topic, partition, (&self.rack, salt))
    }

    /// True if a broker told, when last asked, that the name stands for another topic than the one with
    /// this id. It may lag, and know only the one before.
    pub(crate) fn is_recreated(&self, topic: &str, id: &str) -> bool {
        let topology = self.topology();
        topology.topic(topic).is_some_and(|routes| routes.id != id)
    }

    /// Refuses the answer of a broker that belongs to another cluster, so that the next one is asked.
    pub(crate) fn of_this_cluster(&self, cluster: &str) -> Result<(), Status> {
        let known = self.topology().learn_brokers(cluster, &[]);
        known.map_err(|error| judged(Reason::WrongCluster, error.message()))
    }

    /// Uses the leader that an error about the topic with this id names, if it does. True if that
    /// gave a new route.
    pub(crate) fn learn_from(&self, error: &Error, topic_id: &str) -> bool {
        let hint = error.not_leader();
        hint.is_some_and(|hint| self.topology().hint(hint, topic_id))
    }

    /// Contacts the cluster: each known address has one chance, and one that is starting is waited
    /// for until the request timeout.
    pub(crate) async fn contact(&self) -> Result<()> {
        let ask = |api: Api| async move {
            let request = v1::ListBrokersRequest {};
            let answer = api.cluster().list_brokers(request).await;
            answer.map_err(|status| no_client_port(&status).unwrap_or(status))
        };
        let deadline = self.deadline();
        let mut backoff = Backoff::default();
        loop {
            let error = match self.ask_any(deadline, ask).await {
                Ok(answer) => {
                    let mut topology = self.topology();
                    return topology.learn_brokers(&answer.cluster_id, &answer.brokers);
                }
                Err(error) => error,
            };
            let wait = backoff.next(entropy::random());
            if error.reason() != Some(Reason::NotReady) || too_late(wait, deadline) {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// The topic's routes, from memory or from the cluster.
    pub(crate) async fn topic(
        self: &Arc<Self>,
        name: &str,
        deadline: Instant,
    ) -> Result<TopicRoutes> {
        let began = Instant::now();
        let find = || async move {
            let known = self.topology().topic(name).cloned();
            match known {
                Some(routes) => Ok(routes),
                None => self.refresh(name, began, deadline).await,
            }
        };
        retried(deadline, find).await
    }

    /// The topic's routes as a broker knows them now, for what begins to use the topic: another
    /// client may have altered, deleted or re-created it since this one asked.
    pub(crate) async fn current_topic(&self, name: &str, deadline: Instant) -> Result<TopicRoutes> {
        retried(deadline, || self.ask_topic(name, deadline)).await
    }

    /// The largest batch that the topic with this id takes, if it is the one that is known.
    pub(crate) fn largest_batch(&self, topic: &str, id: &str) -> Option<usize> {
        let topology = self.topology();
        let routes = topology.topic(topic).filter(|routes| routes.id == id);
        routes.map(TopicRoutes::largest_batch)
    }

    /// Forgets what is known of a topic: it may have been re-created.
    pub(crate) fn forget(&self, topic: &str) {
        self.topology().forget(topic);
    }

    /// Asks the cluster for a topic anew, unless that happened after `trouble`. In a task of its own:
    /// everybody's questions take turns, and who is not polled any more must not keep its turn from
    /// the others.
    pub(crate) async fn refresh(
        self: &Arc<Self>,
        topic: &str,
        trouble: Instant,
        deadline: Instant,
    ) -> Result<TopicRoutes> {
        let (metadata, topic) = (Arc::clone(self), topic.to_owned());
        let asking = tokio::spawn(async move {
            let turn = metadata.refresh_in_turn(&topic, trouble, deadline);
            turn.await
        });
        let ended = |_| Err(Error::new(Reason::NotReady, "the runtime is ending"));
        asking.await.unwrap_or_else(ended)
    }

    async fn refresh_in_turn(
        &self,
        topic: &str,
        trouble: Instant,
        deadline: Instant,
    ) -> Result<TopicRoutes> {
        let mut refreshed = self.refreshed.lock().await;
        if let Some(last) = refreshed.get(topic).copied() {
            let known = self.topology().topic(topic).cloned();
            if let Some(routes) = known.filter(|_| last > trouble) {
                return Ok(routes);
            }
            tokio::time::sleep_until(last + REFRESH_EVERY).await;
        }
        refreshed.insert(topic.to_owned(), Instant::now());
        let answer = self.ask_topic(topic, deadline).await;
        self.first.fetch_add(1, Ordering::Relaxed);
        answer
    }

    /// Asks the cluster for a topic. One that it does not have is forgotten.
    async fn ask_topic(&self, topic: &str, deadline: Instant) -> Result<TopicRoutes> {
        let ask = |api: Api| async move {
            let topics = vec![topic.to_owned()];
            let request = v1::GetMetadataRequest { topics };
            api.cluster().get_metadata(request).await
        };
        let answer = self.ask_any(deadline, ask).await?;
        let metadata = answer.metadata.unwrap_or_default();
        let mut topology = self.topology();
        topology.learn(&metadata)?;
        // A topic that is simply left out is one that the broker, which has caught up, does not know.
        if !metadata.topics.iter().any(|known| known.name == topic) {
            topology.forget(topic);
        }
        topology
            .topic(topic)
            .cloned()
            .ok_or_else(|| not_there(topic))
    }

    /// Asks known brokers until one answers: the next one joins in when a broker fails, when it
    /// takes long, and when it does not know a topic (it may lag behind). Only for questions.
    pub(crate) async fn ask_any<T, F>(&self, deadline: Instant, ask: impl Fn(Api) -> F) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let answered = self.first_answer(deadline, ask).await;
        answered.map(|(_, answer)| answer)
    }

    /// The addresses for a command, which only one broker is sent at a time: one that answers a
    /// question now comes first, since one that stands still would hold it up.
    pub(crate) async fn addresses_of_command(&self, deadline: Instant) -> Vec<Address> {
        let mut addresses = self.addresses();
        if addresses.len() > 1 {
            let ask = |api: Api| async move {
                let request = v1::ListBrokersRequest {};
                api.cluster().list_brokers(request).await
            };
            let now = Instant::now();
            let half = now + deadline.saturating_duration_since(now) / 2;
            if let Ok((answers, _)) = self.first_answer(half, ask).await {
                addresses.sort_by_key(|address| *address != answers);
            }
        }
        addresses
    }

    async fn first_answer<T, F>(
        &self,
        deadline: Instant,
        ask: impl Fn(Api) -> F,
    ) -> Result<(Address, T)>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut waiting = self.addresses().into_iter();
        let mut running = FuturesUnordered::new();
        let mut worst = None;
        loop {
            if let Some(address) = waiting.next() {
                let remaining = deadline.saturating_duration_since(Instant::now());
                let api = self.channels.shared(&address)?.within(remaining);
                let call = ask(api);
                running.push(async move {
                    match call.await {
                        Ok(answer) => Ok((address, answer.into_inner())),
                        Err(status) => Err(at(&address, status)),
                    }
                });
            }
            let patience = match waiting.len() {
                0 => deadline,
                _ => deadline.min(Instant::now() + HEDGE_AFTER),
            };
            match timeout_at(patience, running.next()).await {
                Ok(Some(Ok(answer))) => return Ok(answer),
                Ok(Some(Err(error))) => worst = Some(more_telling(worst, error)),
                Ok(None) => return Err(worst.unwrap_or_else(no_address)),
                Err(_) if Instant::now() >= deadline => {
                    return Err(worst.unwrap_or_else(|| silent(self.request_timeout)));
                }
                Err(_) => {}
            }
        }
    }
}

fn not_there(topic: &str) -> Error {
    Error::new(
        Reason::TopicNotFound,
        format!("topic {topic:?} does not exist"),
    )
}

fn at(address: &Address, status: Status) -> Error {
    Error::from(status).in_context(address)
}

/// What listens there speaks HTTP/2 and does not know the first call of every client.
fn no_client_port(status: &Status) -> Option<Status> {
    let known = status.code() != Code::Unimplemented || !status.details().is_empty();
    (!known).then(|| {
        let message =
            "that is no port for clients of a broker; perhaps it is its HTTP or peer port";
        judged(Reason::Unreachable, message)
    })
}

/// The status to take in place of a broker's answer.
fn judged(reason: Reason, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, HashMap::new());
    Status::with_error_details(reason.code(), message, details)
}

/// Of two brokers' errors, the one that says more: a refusal beats a broker that answered something
/// else, and that beats one that is away or silent.
pub(crate) fn more_telling(known: Option<Error>, new: Error) -> Error {
    let away = |error: &Error| !error.is_answer();
    match known {
        Some(known) if known.outcome() == Outcome::Refused => known,
        Some(known) if !away(&known) && away(&new) => known,
        _ => new,
    }
}

pub(crate) fn no_address() -> Error {
    Error::new(Reason::Unreachable, "no broker address is known")
}

pub(crate) fn silent(waited: Duration) -> Error {
    let message = format!("no broker answered within {waited:?}");
    Error::new(Reason::TimedOut, message)
}
