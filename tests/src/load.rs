//! A steady load on one partition: numbered records at a rate, when each was acknowledged and, if a
//! consumer follows, seen, and at the end whether all of them are there, once and in order.

use std::ops::Range;
use std::time::{Duration, Instant};

use highwater_client::{Client, Delivery, PartitionIndex, Record};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

mod follower;
mod moments;

use follower::Follower;
use moments::Moments;

/// Records are sent this often, as many as are due.
const STEP: Duration = Duration::from_millis(5);
/// How long any wait may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The size of a record's value.
const VALUE: usize = 100;

/// A load that runs until it is stopped.
#[derive(Debug)]
pub struct Load {
    runtime: Runtime,
    client: Client,
    topic: String,
    acknowledged: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    sending: JoinHandle<u64>,
    counting: JoinHandle<Acks>,
    follower: Option<Follower>,
}

#[derive(Debug, Default)]
struct Acks {
    moments: Moments,
    errors: Vec<String>,
}

/// What a load has seen.
#[derive(Debug)]
pub struct Outcome {
    /// How many records were sent.
    pub sent: u64,
    /// What failed.
    pub errors: Vec<String>,
    acknowledged: Moments,
    seen: Option<Moments>,
}

impl Load {
    /// Sends `rate` records a second to partition 0 of `topic`, which must be empty.
    ///
    /// # Panics
    ///
    /// When the topic cannot be reached.
    #[track_caller]
    pub fn start(addresses: &str, topic: &str, rate: u32) -> Self {
        let runtime = Runtime::new().expect("a runtime can be made");
        let (stop, stopped) = watch::channel(false);
        let (count, acknowledged) = watch::channel(0);
        let (client, producer) = runtime.block_on(async {
            let client = Client::connect(addresses).await.expect("a broker answers");
            let producer = client.producer(topic).build().await;
            (client, producer.expect("the topic is there"))
        });
        let (sent, deliveries) = mpsc::unbounded_channel();
        let sending = runtime.spawn(send(producer, rate, stopped, sent));
        let counting = runtime.spawn(count_acks(deliveries, count));
        Self {
            runtime,
            client,
            topic: topic.to_owned(),
            acknowledged,
            stop,
            sending,
            counting,
            follower: None,
        }
    }

    /// The same, and a consumer follows it live, from the first record to the last.
    ///
    /// # Panics
    ///
    /// When the topic cannot be reached.
    #[track_caller]
    pub fn start_followed(addresses: &str, topic: &str, rate: u32) -> Self {
        let mut load = Self::start(addresses, topic, rate);
        load.follower = Some(Follower::start(&load.runtime, &load.client, topic));
        load
    }

    /// Waits until as many more records are acknowledged and, if a consumer follows, seen; gives the
    /// time from `begun` to then.
    #[track_caller]
    pub fn until_acknowledged(&mut self, more: u64, begun: Instant) -> Range<Instant> {
        let goal = *self.acknowledged.borrow() + more;
        let (acknowledged, follower) = (&mut self.acknowledged, &mut self.follower);
        let reached = async {
            drop(acknowledged.wait_for(|count| *count >= goal).await);
            if let Some(follower) = follower {
                follower.until_seen(goal).await;
            }
        };
        let waiting = async { tokio::time::timeout(PATIENCE, reached).await.is_ok() };
        let reached = self.runtime.block_on(waiting);
        assert!(
            reached,
            "no {more} more acknowledged and seen within {PATIENCE:?}"
        );
        begun..Instant::now()
    }

    /// Sends no more, waits for what is on its way, and checks that everything is in the log once
    /// and in order, and was seen so.
    #[track_caller]
    pub fn end(self) -> Outcome {
        self.stop.send_replace(true);
        let (sent, mut acks) = self.runtime.block_on(async {
            let sent = self.sending.await.expect("the load was sent");
            (sent, self.counting.await.expect("the load was counted"))
        });
        if acks.errors.is_empty() {
            self.runtime
                .block_on(check(&self.client, &self.topic, sent));
        }
        let following = self.follower.map(|follower| {
            let ending = async { tokio::time::timeout(PATIENCE, follower.end(sent)).await };
            let ended = self.runtime.block_on(ending);
            ended.unwrap_or_else(|_| Err(format!("not all of {sent} are seen in {PATIENCE:?}")))
        });
        let seen = following.and_then(|seen| seen.map_err(|error| acks.errors.push(error)).ok());
        Outcome {
            sent,
            errors: acks.errors,
            acknowledged: acks.moments,
            seen,
        }
    }
}

impl Outcome {
    /// From the begin of `outage` to the first acknowledgement after the longest silence in it.
    #[track_caller]
    pub fn back_after(&self, outage: &Range<Instant>) -> Duration {
        let silence = self.acknowledged.longest_silence(outage);
        silence.end.duration_since(outage.start)
    }

    /// The longest time without an acknowledgement that ended within `outage`.
    #[track_caller]
    pub fn silence(&self, outage: &Range<Instant>) -> Duration {
        let silence = self.acknowledged.longest_silence(outage);
        silence.end.duration_since(silence.start)
    }

    /// The longest time in which the consumer that followed saw no record and that ended within
    /// `outage`.
    ///
    /// # Panics
    ///
    /// When none followed.
    #[track_caller]
    pub fn unseen(&self, outage: &Range<Instant>) -> Duration {
        let seen = self.seen.as_ref().expect("a consumer followed");
        let silence = seen.longest_silence(outage);
        silence.end.duration_since(silence.start)
    }
}

/// What the record of this number holds.
fn value(number: u64) -> String {
    format!("{number:0VALUE$}")
}

async fn send(
    producer: highwater_client::Producer,
    rate: u32,
    stopped: watch::Receiver<bool>,
    sent: mpsc::UnboundedSender<Delivery>,
) -> u64 {
    let begun = Instant::now();
    let mut steps = tokio::time::interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    while !*stopped.borrow() {
        steps.tick().await;
        let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while number < due {
            let record = Record::new(value(number)).partition(PartitionIndex(0));
            let delivery = producer
                .send(record)
                .await
                .expect("a producer takes records");
            number += 1;
            if sent.send(delivery).is_err() {
                return number;
            }
        }
    }
    number
}

async fn count_acks(
    mut deliveries: mpsc::UnboundedReceiver<Delivery>,
    count: watch::Sender<u64>,
) -> Acks {
    let mut acks = Acks::default();
    while let Some(delivery) = deliveries.recv().await {
        match delivery.await {
            Ok(_) => count.send_modify(|count| *count += 1),
            Err(error) => acks.errors.push(error.to_string()),
        }
        acks.moments.note();
    }
    acks
}

/// Reads everything: record number N is at offset N.
async fn check(client: &Client, topic: &str, sent: u64) {
    let consumer = client.consumer(topic).build().await;
    let mut consumer = consumer.expect("the topic can be read");
    for number in 0..sent {
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
        let next = next.unwrap_or_else(|_| panic!("no record {number} of {sent}"));
        let record = next.expect("there is more").expect("a record can be read");
        let found = record.value_bytes().expect("a record has a value");
        assert_eq!(found, value(number), "at offset {}", record.offset());
        assert_eq!(record.offset().0, number);
    }
    let more = consumer.next();
    let more = tokio::time::timeout(STEP * 20, more).await;
    assert!(more.is_err(), "more records than were sent: {more:?}");
}
