//! A steady load on one partition: numbered records at a rate, when each was acknowledged, and at the
//! end whether all of them are there, once and in order.

use std::ops::Range;
use std::time::{Duration, Instant};

use highwater_client::{Client, Delivery, PartitionIndex, Record};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Records are sent this often, as many as are due.
const STEP: Duration = Duration::from_millis(5);
/// Acknowledgements closer together than this count as one moment.
const MOMENT: Duration = Duration::from_millis(1);
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
    counting: JoinHandle<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    moments: Vec<Instant>,
    errors: Vec<String>,
}

/// What a load has seen.
#[derive(Debug)]
pub struct Outcome {
    /// How many records were sent.
    pub sent: u64,
    /// What failed.
    pub errors: Vec<String>,
    moments: Vec<Instant>,
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
        }
    }

    /// Waits until as many more records are acknowledged; gives the time from `begun` to then.
    #[track_caller]
    pub fn until_acknowledged(&mut self, more: u64, begun: Instant) -> Range<Instant> {
        let goal = *self.acknowledged.borrow() + more;
        let reached = self.acknowledged.wait_for(|count| *count >= goal);
        let waiting = async { tokio::time::timeout(PATIENCE, reached).await.is_ok() };
        let reached = self.runtime.block_on(waiting);
        assert!(
            reached,
            "no {more} more acknowledgements within {PATIENCE:?}"
        );
        begun..Instant::now()
    }

    /// Sends no more, waits for what is on its way, and checks that everything is in the log once
    /// and in order.
    #[track_caller]
    pub fn end(self) -> Outcome {
        self.stop.send_replace(true);
        let (sent, seen) = self.runtime.block_on(async {
            let sent = self.sending.await.expect("the load was sent");
            (sent, self.counting.await.expect("the load was counted"))
        });
        if seen.errors.is_empty() {
            self.runtime
                .block_on(check(&self.client, &self.topic, sent));
        }
        Outcome {
            sent,
            errors: seen.errors,
            moments: seen.moments,
        }
    }
}

impl Outcome {
    /// From the begin of `outage` to the first acknowledgement after the longest silence in it.
    pub fn back_after(&self, outage: &Range<Instant>) -> Duration {
        self.longest_silence(outage).1.duration_since(outage.start)
    }

    /// The longest time without an acknowledgement that ended within `outage`.
    pub fn silence(&self, outage: &Range<Instant>) -> Duration {
        let (from, to) = self.longest_silence(outage);
        to.duration_since(from)
    }

    fn longest_silence(&self, outage: &Range<Instant>) -> (Instant, Instant) {
        let pairs = self.moments.windows(2).map(|pair| (pair[0], pair[1]));
        let within = pairs.filter(|(_, to)| outage.contains(to));
        let longest = within.max_by_key(|(from, to)| to.duration_since(*from));
        longest.expect("acknowledgements came during the outage")
    }
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
            let value = format!("{number:0VALUE$}");
            let record = Record::new(value).partition(PartitionIndex(0));
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
) -> Seen {
    let mut seen = Seen::default();
    while let Some(delivery) = deliveries.recv().await {
        match delivery.await {
            Ok(_) => count.send_modify(|count| *count += 1),
            Err(error) => seen.errors.push(error.to_string()),
        }
        let now = Instant::now();
        let new = |last: &Instant| now.duration_since(*last) >= MOMENT;
        if seen.moments.last().is_none_or(new) {
            seen.moments.push(now);
        }
    }
    seen
}

/// Reads everything: record number N is at offset N.
async fn check(client: &Client, topic: &str, sent: u64) {
    let consumer = client.consumer(topic).build().await;
    let mut consumer = consumer.expect("the topic can be read");
    for number in 0..sent {
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
        let next = next.unwrap_or_else(|_| panic!("no record {number} of {sent}"));
        let record = next.expect("there is more").expect("a record can be read");
        let value = record.value.expect("a record has a value");
        let expected = format!("{number:0VALUE$}");
        assert_eq!(value, expected, "at offset {}", record.offset);
        assert_eq!(record.offset.0, number);
    }
    let more = consumer.next();
    let more = tokio::time::timeout(STEP * 20, more).await;
    assert!(more.is_err(), "more records than were sent: {more:?}");
}
