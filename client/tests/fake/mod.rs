//! A cluster of brokers in memory that speaks the real API on 127.0.0.1, and misbehaves on demand.
//! It appends in the order in which batches come and recognises sequences as the brokers do.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a part of the tests, of which each uses a part"
)]

mod admin;
mod log;
mod names;
mod partition;
mod runs;
mod session;
mod status;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use highwater_client::{Client, PartitionIndex, Reason};
use highwater_proto::pb::v1::cluster_service_server::ClusterServiceServer;
use highwater_proto::pb::v1::log_service_server::LogServiceServer;
use highwater_proto::pb::v1::topic_service_server::TopicServiceServer;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

pub(crate) use self::partition::Partition;

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a batch may be refused for by chance: to be sent again, or never.
const REFUSALS: [Reason; 5] = [
    Reason::Overloaded,
    Reason::NoLeader,
    Reason::NotReady,
    Reason::BadBatch,
    Reason::Denied,
];

/// What goes wrong, and how often.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// One of so many batches ends its session; every other time after it was appended.
    pub(crate) drop_session_one_in: Option<u64>,
    /// After so many batches, the next ones, their partition forgets its producers, and their sessions
    /// end without an answer.
    pub(crate) forget_next: u32,
    /// One of so many messages ends its subscription.
    pub(crate) drop_subscription_one_in: Option<u64>,
    /// The next batches are refused for these reasons, before they are appended.
    pub(crate) refuse: VecDeque<Reason>,
    /// Every batch of these partitions is refused for this reason, however often it comes.
    pub(crate) refuse_at: BTreeMap<i32, Reason>,
    /// One of so many batches is refused for a reason chosen by chance.
    pub(crate) refuse_one_in: Option<u64>,
    /// One of so many batches is answered with OUTCOME_UNKNOWN, appended or not.
    pub(crate) unknown_one_in: Option<u64>,
    /// Appends are not acknowledged until this is lifted.
    pub(crate) hold_acks: bool,
    /// So many acknowledgements, the next ones, are never sent.
    pub(crate) swallow_next: u32,
    /// This broker does not acknowledge appends, as long as it is this one.
    pub(crate) mute: Option<i32>,
    /// So many calls find a broker that has yet to learn of its topics.
    pub(crate) ignorance: u32,
    /// So many first calls of clients find a broker that is starting.
    pub(crate) starting: u32,
    /// Nobody leads the metadata: topics and identities cannot be made.
    pub(crate) leaderless: bool,
    /// NOT_LEADER does not say who is.
    pub(crate) no_hints: bool,
    /// So many creations and deletions take effect and then lose their answer.
    pub(crate) lose_answers: u32,
    /// A creation of a topic that exists is refused for this reason, as by a broker that lags.
    pub(crate) refuse_repeated: Option<Reason>,
    /// Every broker has a replica of everything, and serves those who may read followers.
    pub(crate) followers_serve: bool,
    /// This broker serves no subscription, as long as it is this one.
    pub(crate) away: Option<i32>,
    /// This broker never answers a subscription of this partition, as long as it is these.
    pub(crate) unanswered: Option<(i32, i32)>,
    /// This broker takes questions and commands, and answers none, as long as it is this one.
    pub(crate) mum: Option<i32>,
    /// This broker cannot make sure how fresh what it has is, as long as it is this one.
    pub(crate) stale: Option<i32>,
    /// This broker is cut off from the others: it tells that it leads every partition, as it did one epoch ago.
    pub(crate) behind: Option<i32>,
    /// What brokers tell as the largest batch of every topic, as those do that lag behind.
    pub(crate) told_limit: Option<i32>,
    /// What brokers that lag behind tell as the id of every topic.
    pub(crate) told_id: Option<&'static str>,
    /// Identities are given out, and the answers wait until this is lifted.
    pub(crate) hold_identities: bool,
    /// Identities are refused for this reason.
    pub(crate) refuse_identities: Option<Reason>,
    /// Identities of these brokers are those of another cluster.
    pub(crate) foreign: BTreeSet<i32>,
    /// Questions about topics wait until this is lifted.
    pub(crate) hold_metadata: bool,
    /// What a session may have on its way.
    pub(crate) credit_bytes: Option<u64>,
    /// Brokers acknowledge each batch alone, as those did that knew nothing else.
    pub(crate) single_acks: bool,
}

/// A topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) id: String,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) replication: u32,
}

impl Topic {
    /// The largest batch that it takes.
    pub(crate) fn max_batch_bytes(&self) -> usize {
        let set = self.config.get("max.batch.bytes");
        set.map_or(1 << 20, |bytes| bytes.parse().unwrap())
    }
}

/// What all brokers of the cluster agree on.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) faults: Faults,
    brokers: BTreeMap<i32, String>,
    producers: u64,
    /// The epoch of each producer that has a name, and the names.
    epochs: BTreeMap<u64, i16>,
    names: BTreeMap<String, (u64, u64)>,
    /// How many calls asked for an identity.
    pub(crate) asked: u64,
    /// How long those waited who asked for an identity or an offset.
    pub(crate) asked_within: Vec<Duration>,
    topics_made: u64,
    random: u64,
}

/// Counters that tests look at.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sessions: AtomicUsize,
    pub(crate) subscriptions: AtomicUsize,
    pub(crate) subscription_bytes: AtomicU64,
    pub(crate) batches: AtomicUsize,
    /// Batches of which only the answer is still to be sent, or is sent.
    pub(crate) judged: AtomicUsize,
    /// Acks that were sent; one may be for several batches.
    pub(crate) acks: AtomicUsize,
    pub(crate) duplicates: AtomicUsize,
    pub(crate) metadata_requests: AtomicUsize,
    /// Batches that came beyond the credit of their session.
    pub(crate) overruns: AtomicUsize,
    /// The most batches of a partition that were appended and not yet acknowledged.
    pub(crate) most_unanswered: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Counts changes; whoever waits for something looks again.
    changed: watch::Sender<u64>,
    pub(crate) counters: Counters,
}

/// The cluster. Brokers are numbered from 1 and live until killed or dropped.
pub(crate) struct FakeCluster {
    pub(crate) shared: Arc<Shared>,
    running: BTreeMap<i32, Runtime>,
    /// Listeners that nobody accepts from.
    hung: Vec<TcpListener>,
}

/// One broker's view.
#[derive(Clone)]
pub(crate) struct FakeBroker {
    id: i32,
    shared: Arc<Shared>,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn note_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Waits as long as the state is like that.
    async fn wait_while(&self, like_that: impl Fn(&State) -> bool) {
        let mut changes = self.changed.subscribe();
        while like_that(&self.state()) {
            changes.changed().await.unwrap();
        }
    }

    pub(crate) fn count(&self, counter: impl Fn(&Counters) -> &AtomicUsize) -> usize {
        counter(&self.counters).load(Ordering::SeqCst)
    }
}

impl State {
    /// True once in `one_in` times, by chance.
    pub(crate) fn chance(&mut self, one_in: Option<u64>) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        one_in.is_some_and(|n| self.random.is_multiple_of(n))
    }

    /// Whether the next batch, one of this partition, is refused, and why.
    pub(crate) fn refusal(&mut self, partition: i32) -> Option<Reason> {
        if let Some(reason) = self.faults.refuse_at.get(&partition) {
            return Some(*reason);
        }
        if let Some(reason) = self.faults.refuse.pop_front() {
            return Some(reason);
        }
        let one_in = self.faults.refuse_one_in;
        let refused = self.chance(one_in);
        refused.then(|| REFUSALS[(self.random >> 32) as usize % REFUSALS.len()])
    }

    pub(crate) fn partition(&mut self, topic: &str, partition: u32) -> Option<&mut Partition> {
        let topic = self.topics.get_mut(topic)?;
        topic.partitions.get_mut(partition as usize)
    }
}

impl FakeCluster {
    /// Starts so many brokers.
    pub(crate) fn start(brokers: i32) -> Self {
        let state = State {
            random: 0x9e37_79b9_7f4a_7c15,
            ..State::default()
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: watch::channel(0).0,
            counters: Counters::default(),
        });
        let mut cluster = Self {
            shared,
            running: BTreeMap::new(),
            hung: Vec::new(),
        };
        for id in 1..=brokers {
            cluster.start_broker(id);
        }
        cluster
    }

    /// Starts a broker on a port that nobody else has.
    pub(crate) fn start_broker(&mut self, id: i32) {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = {
            let _inside = runtime.enter();
            TcpIncoming::bind(any).unwrap().with_nodelay(Some(true))
        };
        let address = listener.local_addr().unwrap().to_string();
        let broker = FakeBroker {
            id,
            shared: Arc::clone(&self.shared),
        };
        let server = Server::builder()
            .max_concurrent_streams(Some(1024))
            .max_frame_size(Some(256 << 10))
            .initial_stream_window_size(Some(8 << 20))
            .initial_connection_window_size(Some(16 << 20))
            .add_service(LogServiceServer::new(broker.clone()).max_decoding_message_size(8 << 20))
            .add_service(TopicServiceServer::new(broker.clone()))
            .add_service(ClusterServiceServer::new(broker))
            .serve_with_incoming(listener);
        runtime.spawn(server);
        self.running.insert(id, runtime);
        self.shared.state().brokers.insert(id, address);
        self.shared.note_change();
    }

    /// Ends a broker, connections and all; it is gone when this returns. The cluster still lists
    /// its old address.
    pub(crate) fn kill(&mut self, id: i32) {
        let runtime = self.running.remove(&id).unwrap();
        // A runtime must not be ended inside another one.
        let end = std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE));
        end.join().unwrap();
    }

    /// Replaces a broker by one that takes connections and never says a word.
    pub(crate) fn hang(&mut self, id: i32) {
        self.kill(id);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        self.hung.push(listener);
        self.shared.state().brokers.insert(id, address);
    }

    pub(crate) fn address(&self, id: i32) -> String {
        self.shared.state().brokers[&id].clone()
    }

    /// All addresses, as a client wants them.
    pub(crate) fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.shared.state().brokers.values().cloned().collect();
        addresses.join(",")
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.bootstrap()).await.unwrap()
    }

    /// Makes a topic whose partitions are led by the brokers in turn.
    pub(crate) fn create_topic(&self, name: &str, partitions: u32) {
        self.shared
            .state()
            .create(name, partitions, 1, BTreeMap::new());
        self.shared.note_change();
    }

    /// Makes another broker the leader; the old one refuses what comes after that.
    pub(crate) fn lead(&self, topic: &str, partition: u32, broker: i32) {
        let mut state = self.shared.state();
        let partition = state.partition(topic, partition).unwrap();
        partition.leader = broker;
        partition.epoch += 1;
        drop(state);
        self.shared.note_change();
    }

    pub(crate) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.shared.state().faults);
        self.shared.note_change();
    }

    /// Waits until the state is as wanted.
    pub(crate) async fn wait_until(&self, what: &str, wanted: impl Fn(&mut State) -> bool) {
        let mut changes = self.shared.changed.subscribe();
        let wait = async {
            while !wanted(&mut self.shared.state()) {
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("not within {PATIENCE:?}: {what}");
        }
    }

    /// The values of a partition's records, in order.
    pub(crate) fn values(&self, topic: &str, partition: PartitionIndex) -> Vec<String> {
        let mut state = self.shared.state();
        state.partition(topic, partition.0).unwrap().values()
    }
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        for (_, runtime) in std::mem::take(&mut self.running) {
            runtime.shutdown_background();
        }
    }
}
