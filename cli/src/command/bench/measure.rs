//! The three measurements: what runs at the same time, and what counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use highwater_client::{Client, Error, Start, Until};
use highwater_proto::Reason;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::{Failure, talk};
use crate::output::count;

use super::acks::Followers;
use super::clock::{Clock, processor_time};
use super::ground::Ground;
use super::latency::Latencies;
use super::load::{Limit, Load, Shared, share};
use super::pace::Pace;
use super::plan::{Mode, Plan};
use super::progress::Progress;
use super::read::{Budget, Found, Measure, Reader, Reading};
use super::record::Content;
use super::report::Figures;
use super::verify::{Scope, Sent, Tally};

/// A run, before and while it is measured.
#[derive(Debug)]
pub(super) struct Measurement<'a> {
    client: &'a Client,
    plan: &'a Plan,
    ground: &'a Ground,
    shared: Arc<Shared>,
    patience: Duration,
    /// How long a record may take to be acknowledged.
    delivery: Duration,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Measured {
    records: u64,
    nanos: u64,
    latencies: Latencies,
    cpu: Duration,
    /// What reading found.
    pub(super) tally: Tally,
    /// Records that were not acknowledged, as far as that was followed.
    pub(super) failed: u64,
    pub(super) failure: Option<Error>,
}

/// What all loads of a run sent.
#[derive(Debug, Default)]
struct Loaded {
    sent: Sent,
    failure: Option<Error>,
}

/// What all readers found.
#[derive(Debug)]
struct AllFound {
    tally: Tally,
    latencies: Latencies,
    last: u64,
}

type Readers = JoinSet<Result<Found, Error>>;

impl<'a> Measurement<'a> {
    pub(super) fn new(
        client: &'a Client,
        plan: &'a Plan,
        ground: &'a Ground,
        run: u64,
        (patience, delivery): (Duration, Duration),
    ) -> Self {
        let shared = Shared {
            run,
            clock: Clock::start(),
            content: Content::new(),
            sent: AtomicU64::new(0),
            read: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        };
        Self {
            client,
            plan,
            ground,
            shared: Arc::new(shared),
            patience,
            delivery,
        }
    }

    /// Measures what the plan says.
    pub(super) async fn run(&self) -> Result<Measured, Failure> {
        let _progress = Progress::start(&self.shared);
        match self.plan.mode {
            Mode::Produce => self.produce().await,
            Mode::Consume => self.consume().await,
            Mode::EndToEnd => self.end_to_end().await,
        }
    }

    /// Ends what still runs.
    pub(super) fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }

    async fn produce(&self) -> Result<Measured, Failure> {
        let mut loads = self.loads().await?;
        let mut followers = Followers::new(&self.shared);
        for load in &mut loads {
            load.followed_by(followers.of_client(self.ground.partitions));
        }
        let (start, used) = (self.shared.clock.nanos(), processor_time());
        let loaded = self
            .load(loads, start, self.plan.rate, self.plan.limit())
            .await;
        let acked = followers.finish().await;
        let cpu = processor_time().saturating_sub(used);
        let found = match self.read_back(&loaded.sent).await {
            // What failed is reported also where nobody is left to read from.
            Err(_) if acked.failed > 0 => AllFound::nothing_of(&loaded.sent),
            found => found?,
        };
        Ok(Measured {
            records: acked.records,
            nanos: acked.last.saturating_sub(start),
            latencies: acked.latencies,
            cpu,
            tally: found.tally,
            failed: acked.failed,
            failure: acked.failure.or(loaded.failure),
        })
    }

    async fn end_to_end(&self) -> Result<Measured, Failure> {
        let (tell, sent) = watch::channel(None);
        let reading = self.reading(Measure::FromDue);
        let readers = self.spawn_readers(&reading, &sent).await?;
        let loads = self.loads().await?;
        self.await_warm_up().await;
        let (start, used) = (self.shared.clock.nanos(), processor_time());
        let loaded = self
            .load(loads, start, self.plan.rate, self.plan.limit())
            .await;
        let all_sent = Arc::new(loaded.sent);
        tell.send_replace(Some(Arc::clone(&all_sent)));
        let found = finish(readers, &all_sent).await?;
        Ok(Measured {
            records: found.tally.verified,
            nanos: found.last.saturating_sub(start),
            latencies: found.latencies,
            cpu: processor_time().saturating_sub(used),
            tally: found.tally,
            failed: 0,
            failure: loaded.failure,
        })
    }

    async fn consume(&self) -> Result<Measured, Failure> {
        let own = self.ground.own;
        let mut loaded = Loaded::default();
        if own {
            let loads = self.loads().await?;
            let fill = Limit::Records(self.plan.fill());
            loaded = self
                .load(loads, self.shared.clock.nanos(), None, fill)
                .await;
        } else if self.ground.records == 0 {
            let message = format!("topic {:?} has no records to read", self.ground.topic);
            let hint = format!("highwater bench produce --topic {}", self.ground.topic);
            return Err(Failure::api(Reason::InvalidRequest, message).hint(hint));
        }
        let (start, used) = (self.shared.clock.nanos(), processor_time());
        let end = self
            .plan
            .duration
            .map(|time| start + time.as_nanos() as u64);
        let reading = Reading {
            start: Start::Earliest,
            until: Until::Latest,
            scope: match own {
                true => Scope::Run(self.shared.run),
                false => Scope::AnyRun,
            },
            budget: Budget::of(self.plan.records.filter(|_| !own)),
            end: end.unwrap_or(u64::MAX),
            ..self.reading(Measure::Wait)
        };
        let (_tell, sent) = watch::channel(None);
        let readers = self.spawn_readers(&reading, &sent).await?;
        let cut_short = self.plan.duration.is_some();
        let expected = if cut_short { Sent::new() } else { loaded.sent };
        let found = finish(readers, &expected).await?;
        if let Some(wanted) = self.plan.records.filter(|_| !own) {
            self.tell_of_fewer(found.tally, wanted);
        }
        Ok(Measured {
            records: found.tally.verified,
            nanos: found.last.saturating_sub(start),
            latencies: found.latencies,
            cpu: processor_time().saturating_sub(used),
            tally: found.tally,
            failed: 0,
            failure: loaded.failure,
        })
    }

    /// Says that a named topic has fewer records than were to be read.
    fn tell_of_fewer(&self, found: Tally, wanted: u64) {
        let read = found.verified + found.repeated + found.broken + found.foreign;
        if read < wanted {
            let (topic, read) = (&self.ground.topic, count(read, "record"));
            talk(format!(
                "warning: topic {topic} has {read} to read, not {wanted}"
            ));
        }
    }

    /// Reads everything that was sent, unmeasured.
    async fn read_back(&self, sent: &Sent) -> Result<AllFound, Failure> {
        let reading = Reading {
            until: Until::Latest,
            ..self.reading(Measure::Wait)
        };
        let (_tell, all_sent) = watch::channel(Some(Arc::new(sent.clone())));
        let readers = self.spawn_readers(&reading, &all_sent).await?;
        finish(readers, sent).await
    }

    /// All records of this run from where the topic ended before it.
    fn reading(&self, measure: Measure) -> Reading {
        Reading {
            topic: self.ground.topic.clone(),
            partitions: self.ground.partitions,
            readers: self.plan.clients,
            start: Start::Offsets(self.ground.ends.clone()),
            until: Until::Never,
            scope: Scope::Run(self.shared.run),
            measure,
            budget: Budget::default(),
            end: u64::MAX,
            patience: self.patience,
        }
    }

    async fn spawn_readers(
        &self,
        reading: &Reading,
        sent: &watch::Receiver<Option<Arc<Sent>>>,
    ) -> Result<Readers, Failure> {
        let readers = reading.readers(self.client, &self.shared, sent).await?;
        Ok(readers.into_iter().map(Reader::run).collect())
    }

    /// Producers whose connections are open and whose first records are durable, and read where
    /// somebody reads.
    async fn loads(&self) -> Result<Vec<Load>, Failure> {
        let mut warming = JoinSet::new();
        for number in 0..self.plan.clients {
            let builder = self
                .client
                .producer(&self.ground.topic)
                .delivery_timeout(self.delivery)
                .batch_bytes(self.plan.batch);
            let producer = builder.build().await?;
            let (shared, plan) = (Arc::clone(&self.shared), self.plan);
            let mut load = Load::new(shared, producer, number, plan.size, plan.batch);
            warming.spawn(async move { load.warm_up().await.map(|()| load) });
        }
        let mut loads = Vec::new();
        while let Some(warm) = warming.join_next().await {
            loads.push(joined(warm)??);
        }
        Ok(loads)
    }

    /// Waits until the readers have every record that warmed up; what is lost shows later.
    async fn await_warm_up(&self) {
        let all = u64::from(self.plan.clients) * u64::from(self.ground.partitions);
        let arrived = async {
            while self.shared.read.load(Ordering::Relaxed) < all {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        drop(tokio::time::timeout(self.patience, arrived).await);
    }

    /// Runs the loads, each on a thread of its own, to their ends.
    async fn load(&self, loads: Vec<Load>, start: u64, rate: Option<u64>, limit: Limit) -> Loaded {
        let clients = self.plan.clients;
        let mut running = JoinSet::new();
        for (number, load) in (0..).zip(loads) {
            let pace = rate.map(|rate| Pace::new(rate, clients, number));
            let limit = match limit {
                Limit::Records(records) => Limit::Records(share(records, clients, number)),
                Limit::Duration(time) => Limit::Duration(time),
            };
            let runtime = Handle::current();
            running.spawn_blocking(move || runtime.block_on(load.run(start, pace, limit)));
        }
        let mut all = Loaded::default();
        while let Some(Ok((sent, failure))) = running.join_next().await {
            all.sent.extend(sent);
            all.failure = all.failure.or(failure);
        }
        all
    }
}

impl Measured {
    /// Records that failed or were not found as they should be. What failed is missing too, so it
    /// counts once.
    pub(super) fn errors(&self) -> u64 {
        let others = self.tally.errors() - self.tally.missing;
        others + self.tally.missing.max(self.failed)
    }

    pub(super) fn figures(&self, size: usize) -> Figures {
        Figures {
            records: self.records,
            nanos: self.nanos,
            size,
            latency_ms: self.latencies.clone().percentiles(),
            verified: self.tally.verified,
            errors: self.errors(),
            client_cpu: self.cpu.as_secs_f64(),
        }
    }
}

impl AllFound {
    /// Nothing was read, so that all of it is missing.
    fn nothing_of(sent: &Sent) -> Self {
        Self {
            tally: Tally {
                missing: sent.values().sum(),
                ..Tally::default()
            },
            latencies: Latencies::new(),
            last: 0,
        }
    }
}

/// Waits for all readers.
async fn finish(mut readers: Readers, sent: &Sent) -> Result<AllFound, Failure> {
    let mut all = AllFound::nothing_of(&Sent::new());
    while let Some(found) = readers.join_next().await {
        let found = joined(found)??;
        all.tally = all.tally.plus(found.verifier.finish(sent));
        all.last = all.last.max(found.last);
        all.latencies.merge(found.latencies);
    }
    Ok(all)
}

fn joined<T>(ended: Result<T, tokio::task::JoinError>) -> Result<T, Failure> {
    ended.map_err(|error| Failure::api(Reason::Internal, format!("a task ended early: {error}")))
}
