//! Which brokers are suspected of having failed, judged by pings. One detector per broker, for all
//! groups it shares with its peers.
//!
//! A peer is suspected when it has not answered for [`suspect_after`](SuspicionConfig::suspect_after)
//! *and* enough pings were missed. A broker that was itself held up knows nothing about the others:
//! when its own rounds of pings come late, it starts counting anew. Time is an argument: how long
//! the process's monotonic clock has run.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_proto::BrokerId;

/// When a peer is suspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuspicionConfig {
    /// The time from one round of pings to the next.
    pub ping_interval: Duration,
    /// How long a peer may be silent.
    pub suspect_after: Duration,
    /// How many pings in a row it must have missed as well.
    pub min_missed: u32,
    /// By how much an own round may come late before its judgement is worth nothing.
    pub tolerated_delay: Duration,
}

impl Default for SuspicionConfig {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_millis(100),
            suspect_after: Duration::from_millis(400),
            min_missed: 3,
            tolerated_delay: Duration::from_millis(100),
        }
    }
}

impl SuspicionConfig {
    /// With this for how long a peer may be silent.
    pub fn after(suspect_after: Duration) -> Self {
        Self {
            suspect_after,
            ..Self::default()
        }
    }
}

/// What is thought of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers, or has not been silent for long enough.
    Alive,
    /// It seems to have failed.
    Suspected {
        /// When it began to seem so.
        since: Duration,
    },
}

/// The failure detector of one broker.
#[derive(Debug, Clone)]
pub struct Suspicion {
    config: SuspicionConfig,
    last_round: Option<Duration>,
    peers: BTreeMap<BrokerId, Peer>,
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    /// When it last answered, or when counting began.
    heard: Duration,
    /// True when the last ping has no answer yet.
    waiting: bool,
    /// Pings without an answer that were followed by another ping.
    missed: u32,
    /// When enough pings had been missed.
    missed_enough: Option<Duration>,
    /// Suspected by a round that came in time; only an answer ends it.
    suspected: Option<Duration>,
}

impl Peer {
    fn begin(now: Duration) -> Self {
        Self {
            heard: now,
            waiting: false,
            missed: 0,
            missed_enough: None,
            suspected: None,
        }
    }
}

impl Suspicion {
    /// A detector that watches nobody yet.
    pub fn new(config: SuspicionConfig) -> Self {
        Self {
            config,
            last_round: None,
            peers: BTreeMap::new(),
        }
    }

    /// Begins to watch a peer, which counts as alive; does nothing when it is watched already.
    pub fn watch(&mut self, peer: BrokerId, now: Duration) {
        self.peers.entry(peer).or_insert_with(|| Peer::begin(now));
    }

    /// Ends watching a peer: it left the cluster.
    pub fn forget(&mut self, peer: BrokerId) {
        self.peers.remove(&peer);
    }

    /// The peers that are watched, and so the ones to ping.
    pub fn peers(&self) -> impl Iterator<Item = BrokerId> {
        self.peers.keys().copied()
    }

    /// A round begins: each watched peer is sent one ping now. Returns true when the round came
    /// late, so that counting began anew for every peer that was not suspected before.
    pub fn round(&mut self, now: Duration) -> bool {
        let late = self.is_late(now);
        let config = self.config;
        for peer in self.peers.values_mut() {
            if late && peer.suspected.is_none() {
                *peer = Peer::begin(now);
            }
            if peer.waiting {
                peer.missed = peer.missed.saturating_add(1);
            }
            if peer.missed >= config.min_missed {
                peer.missed_enough.get_or_insert(now);
            }
            peer.suspected = peer.suspected.or_else(|| peer.suspected_by(now, &config));
            peer.waiting = true;
        }
        self.last_round = Some(now);
        late
    }

    /// The peer answered a ping. Returns true when it was suspected until now.
    pub fn answered(&mut self, peer: BrokerId, now: Duration) -> bool {
        let was_suspected = self.health(peer, now) != Health::Alive;
        if let Some(peer) = self.peers.get_mut(&peer) {
            *peer = Peer::begin(now);
        }
        was_suspected
    }

    /// What is thought of a peer now. A peer that is not watched counts as alive.
    pub fn health(&self, peer: BrokerId, now: Duration) -> Health {
        let late = self.is_late(now);
        let suspected = self.peers.get(&peer).and_then(|peer| {
            let unsettled = || peer.suspected_by(now, &self.config).filter(|_| !late);
            peer.suspected.or_else(unsettled)
        });
        match suspected {
            Some(since) => Health::Suspected { since },
            None => Health::Alive,
        }
    }

    /// True when the next round should have begun so long ago that this broker was held up itself.
    fn is_late(&self, now: Duration) -> bool {
        let tolerated = self.config.ping_interval + self.config.tolerated_delay;
        self.last_round
            .is_some_and(|last| now.saturating_sub(last) > tolerated)
    }
}

impl Peer {
    fn suspected_by(&self, now: Duration, config: &SuspicionConfig) -> Option<Duration> {
        let since = self.missed_enough?.max(self.heard + config.suspect_after);
        (now >= since).then_some(since)
    }
}

#[cfg(test)]
mod tests;
