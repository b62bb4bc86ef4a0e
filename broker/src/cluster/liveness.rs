//! Which brokers answer: one ping per peer every 100 ms, sent and answered on a thread and connections
//! of its own, so that load elsewhere does not look like a failure. The judgement is
//! `raft::suspicion`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use highwater_proto::pb::peer::{PingRequest, PingResponse};
use highwater_proto::{BrokerId, ReplicaId, Term};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::leaders::Leaders;
use super::times::Times;
use crate::clock::{self, Clock, GuardedClock};
use crate::metrics::Metrics;
use crate::peer::{self, Calls, Identity, Peers};
use crate::raft::GroupId;
use crate::raft::suspicion::{Health, Suspicion, SuspicionConfig};
use crate::tasks::Tasks;

/// A ping that takes longer is not waited for; a later answer still counts for the next round.
const PING_LIMIT: Duration = Duration::from_secs(1);
/// How long a peer is given to take note that this broker leaves leading to others.
const TELL_LIMIT: Duration = Duration::from_millis(200);

/// What is known of the other brokers.
#[derive(Debug)]
pub struct Liveness {
    me: Identity,
    config: SuspicionConfig,
    started: Instant,
    // guards: the detector; held for its methods only.
    suspicion: Mutex<Suspicion>,
    /// True from when this broker is drained until that is cancelled.
    drained: AtomicBool,
    /// True once this broker stops, which no cancel takes back.
    stopping: AtomicBool,
    // guards: the peers that say they are stopping or drained; held for set operations only.
    left: Mutex<BTreeSet<BrokerId>>,
    clock: Arc<GuardedClock>,
    // guards: what the peers' clocks say; held for its methods only.
    times: Mutex<Times>,
    suspected: watch::Sender<BTreeSet<BrokerId>>,
    metrics: Arc<Metrics>,
}

/// What a peer said to a ping.
struct Answer {
    broker: BrokerId,
    /// The version that the ping said was known: only an answer of another version lists the
    /// leaderships. What is known may have been dropped since the ping went out.
    asked: u64,
    response: PingResponse,
    /// The time here when it came.
    mine: i64,
    took: Duration,
}

impl Liveness {
    /// Nobody is watched yet. `counts` says whether others may count on the clock from the start.
    pub fn new(
        me: Identity,
        config: SuspicionConfig,
        (clock, counts): (Arc<GuardedClock>, bool),
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            clock,
            times: Mutex::new(Times::new(counts)),
            metrics,
            me,
            config,
            started: clock::monotonic(),
            suspicion: Mutex::new(Suspicion::new(config)),
            drained: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            left: Mutex::default(),
            suspected: watch::Sender::default(),
        }
    }

    fn suspicion(&self) -> MutexGuard<'_, Suspicion> {
        self.suspicion
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        clock::monotonic().duration_since(self.started)
    }

    /// True unless the broker is suspected of having failed, or says that it leaves leading to
    /// others.
    pub fn is_up(&self, broker: BrokerId) -> bool {
        if broker == self.me.broker {
            return true;
        }
        // One lock at a time: another order elsewhere could not deadlock with this one.
        let left = self.left().contains(&broker);
        !left && self.answers(broker)
    }

    /// True unless the broker is suspected of having failed: its replicas vote and follow, also
    /// while it leaves leading to others.
    pub fn answers(&self, broker: BrokerId) -> bool {
        broker == self.me.broker || self.suspicion().health(broker, self.now()) == Health::Alive
    }

    /// Whether this broker should take over from a leader on `broker`. One that itself leaves
    /// leading to others does so only when that broker has failed.
    pub fn should_replace(&self, broker: BrokerId) -> bool {
        match self.is_leaving() {
            true => !self.answers(broker),
            false => !self.is_up(broker),
        }
    }

    fn left(&self) -> MutexGuard<'_, BTreeSet<BrokerId>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while this broker leaves leading to others: it is drained, or stopping.
    pub fn is_leaving(&self) -> bool {
        self.drained.load(Ordering::Relaxed) || self.is_stopping()
    }

    /// True once this broker stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Begins or ends a drain of this broker; true if that changed whether it leaves leading to
    /// others. [`Self::tell`] has the peers know at once.
    pub fn set_drained(&self, drained: bool) -> bool {
        let before = self.drained.swap(drained, Ordering::Relaxed);
        before != drained && !self.is_stopping()
    }

    /// This broker leaves leading to others until it ends. [`Self::tell`] has the peers know at once.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Takes what a peer says of itself: that it leaves leading to others, or does not any more.
    pub fn hear(&self, broker: BrokerId, leaving: bool, leaders: &Leaders) {
        let changed = if leaving {
            self.left().insert(broker)
        } else {
            self.left().remove(&broker)
        };
        if changed {
            self.publish(leaders);
        }
    }

    /// Tells every peer at once whether this broker leaves leading to others, so that they take over
    /// what it leads, or do not any more. Further pings say the same.
    pub async fn tell(&self, peers: &Peers) {
        let links = peers.all();
        let told = links.values().map(|link| async move {
            let ping = self.request(peers, 0);
            drop(peer::call(TELL_LIMIT, link.urgent_calls().ping(ping)).await);
        });
        futures_util::future::join_all(told).await;
    }

    /// The suspected brokers, and every change.
    pub fn suspected(&self) -> watch::Receiver<BTreeSet<BrokerId>> {
        self.suspected.subscribe()
    }

    /// Pings until `tasks` are cancelled. Runs on a runtime of its own.
    pub async fn run(self: Arc<Self>, peers: Arc<Peers>, leaders: Arc<Leaders>, tasks: Tasks) {
        let mut pings = FuturesUnordered::new();
        let mut connections = BTreeMap::new();
        let mut rounds = tokio::time::interval(self.config.ping_interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = tasks.cancelled() => return,
                _ = rounds.tick() => {
                    self.follow(&peers, &mut connections);
                    self.suspicion().round(self.now());
                    for (broker, (_, calls)) in &connections {
                        let request = self.request(&peers, leaders.known_version(*broker));
                        pings.push(self.ping(*broker, calls.clone(), request));
                    }
                    self.publish(&leaders);
                }
                Some(answer) = pings.next() => {
                    if let Some(answer) = answer {
                        self.answered(answer, &leaders);
                        self.agree_on_the_time(&peers);
                    }
                }
            }
        }
    }

    /// Keeps one connection to each known peer.
    fn follow(&self, peers: &Peers, connections: &mut BTreeMap<BrokerId, (String, Calls)>) {
        let links = peers.all();
        connections.retain(|broker, (address, _)| {
            let kept = links
                .get(broker)
                .is_some_and(|link| link.address == *address);
            if !links.contains_key(broker) {
                self.suspicion().forget(*broker);
                self.times().forget(*broker);
            }
            kept
        });
        for (broker, link) in links.iter() {
            if !connections.contains_key(broker)
                && let Ok(channel) = peer::connect_control(&link.address)
            {
                connections.insert(*broker, (link.address.clone(), peer::client(channel)));
                self.suspicion().watch(*broker, self.now());
            }
        }
    }

    fn request(&self, peers: &Peers, known_version: u64) -> PingRequest {
        PingRequest {
            hello: Some(self.me.hello()),
            known_version,
            leaving: self.is_leaving(),
            peer: peers.address().to_owned(),
            seeking: false,
        }
    }

    async fn ping(
        &self,
        broker: BrokerId,
        mut calls: Calls,
        request: PingRequest,
    ) -> Option<Answer> {
        // Also the time in which the machine slept: the answer may have been there before.
        let began = self.clock.uptime();
        let known_version = request.known_version;
        let answer = peer::call(PING_LIMIT, calls.ping(request)).await;
        // Before the end is looked at: `took` has whatever lies between the two clocks' times.
        let mine = self.clock.now().0;
        answer.ok().map(|response| Answer {
            broker,
            asked: known_version,
            response,
            mine,
            took: Duration::from_millis(self.clock.uptime().saturating_sub(began).unsigned_abs()),
        })
    }

    fn answered(&self, answer: Answer, leaders: &Leaders) {
        let Answer {
            broker,
            asked,
            response,
            mine,
            took,
        } = answer;
        // An answer of another broker at that address says nothing about this one.
        if self.me.admit(response.hello.as_ref()) != Ok(broker) {
            return;
        }
        self.suspicion().answered(broker, self.now());
        self.hear(broker, response.leaving, leaders);
        let theirs = (response.now > 0).then_some(response.now);
        self.times().hear(broker, theirs, mine, took);
        self.times().hear_of_wall(broker, response.clock_ahead);
        if response.version != asked {
            let groups = response.leaderships.iter().filter_map(|leadership| {
                let group = leadership.group.as_ref().and_then(GroupId::from_pb)?;
                Some((group, ReplicaId(leadership.replica), Term(leadership.term)))
            });
            leaders.announce(broker, response.version, groups);
        }
        self.publish(leaders);
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock that is compared with those of others.
    pub fn clock(&self) -> &Arc<GuardedClock> {
        &self.clock
    }

    /// What others are told that the time is; `None` before this broker's clock counts.
    pub fn time(&self) -> Option<i64> {
        let counts = self.times().counts();
        counts.then(|| self.clock.now().0)
    }

    /// By how many milliseconds the wall clock of a broker's machine is ahead of the time that the
    /// broker goes by; 0 while it follows it, and of one that does not answer.
    pub fn clock_ahead_ms(&self, broker: BrokerId) -> i64 {
        if broker == self.me.broker {
            return self.clock.ahead_ms();
        }
        self.times().wall(broker)
    }

    /// The largest difference between this broker's time and that of another one, in milliseconds.
    pub fn clock_skew_ms(&self) -> u64 {
        self.times().skew()
    }

    /// Takes the time that most brokers have, if it is far from this one's.
    fn agree_on_the_time(&self, peers: &Peers) {
        let links = peers.all();
        let up: Vec<BrokerId> = links.keys().copied().filter(|b| self.answers(*b)).collect();
        let shift = self.times().shift(links.len() + 1, up);
        if let Some(shift_ms) = shift {
            self.clock.shift(shift_ms);
            tracing::warn!(
                shift_ms,
                "this broker's clock was far from what most brokers have: it takes their time; set \
                 the machine's clock right"
            );
        }
    }

    /// Tells of changes, and that a suspected broker leads nothing.
    fn publish(&self, leaders: &Leaders) {
        let now = self.now();
        let left = self.left().clone();
        let suspected: BTreeSet<BrokerId> = {
            let suspicion = self.suspicion();
            let is_suspected = |peer: &BrokerId| suspicion.health(*peer, now) != Health::Alive;
            let gone = |peer: &BrokerId| is_suspected(peer) || left.contains(peer);
            suspicion.peers().filter(gone).collect()
        };
        let before = self.suspected.borrow().clone();
        if before == suspected {
            return;
        }
        for broker in suspected.difference(&before) {
            tracing::warn!(%broker, "the broker does not answer, or leaves leading to others");
            leaders.lost(*broker);
            self.times().forget(*broker);
            self.metrics
                .suspicions
                .add(u64::from(!left.contains(broker)));
        }
        for broker in before.difference(&suspected) {
            tracing::info!(%broker, "the broker answers and may lead again");
        }
        self.suspected.send_replace(suspected);
    }
}
