//! The clients of the history: what they do, and how it is noted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater_client::{
    Client, Consumer, ConsumerRecord, Delivery, Error, Event, Freshness, Offset, Outcome,
    PartitionIndex, Position, Producer, ReadFrom, Reason, Record, Start, Until,
};
use highwater_proto::pb::v1;
use highwater_tests::api::{Api, text};
use highwater_tests::history::{End, Fate, History, INCARNATION, Moment, Seen, Sent, Value};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::PARTITIONS;

/// How old may be what is read at a follower that is to be fresh.
const AGE: Duration = Duration::from_millis(400);

/// What happens, noted as it does.
#[derive(Debug)]
pub(crate) struct Notes {
    pub(crate) began: Instant,
    pub(crate) history: Mutex<History>,
    pub(crate) acknowledged: watch::Sender<u64>,
}

impl Notes {
    fn now(&self) -> Moment {
        Moment::try_from(self.began.elapsed().as_nanos()).unwrap()
    }

    fn saw(&self, consumer: u32, record: &ConsumerRecord) -> Seen {
        let seen = Seen {
            consumer,
            partition: record.partition().0,
            offset: record.offset().0,
            value: value_of(record),
            at: self.now(),
        };
        self.history.lock().unwrap().seen.push(seen);
        seen
    }
}

fn value_of(record: &ConsumerRecord) -> Value {
    let text = std::str::from_utf8(record.value().unwrap()).unwrap();
    Value::parse(text).unwrap()
}

fn fate_of(error: &Error) -> Fate {
    match error.outcome() {
        Outcome::Unknown => Fate::Unknown,
        _ => Fate::NotWritten,
    }
}

/// Notes what becomes of records: value, partition, when it was sent, and its delivery.
async fn await_all(
    notes: Arc<Notes>,
    mut sent: mpsc::UnboundedReceiver<(Value, u32, Moment, Delivery)>,
) {
    while let Some((value, partition, begun, delivery)) = sent.recv().await {
        let fate = match delivery.await {
            Ok(ack) => Fate::Acknowledged(ack.offset.map(|offset| offset.0)),
            Err(error) => fate_of(&error),
        };
        let ended = notes.now();
        let is_acknowledged = u64::from(matches!(fate, Fate::Acknowledged(_)));
        notes.history.lock().unwrap().sent.push(Sent {
            value,
            partition,
            begun,
            ended,
            fate,
        });
        notes
            .acknowledged
            .send_modify(|count| *count += is_acknowledged);
    }
}

/// Sends numbered records round the partitions, and has notes taken of what becomes of them.
struct Numbered {
    producer: u32,
    notes: Arc<Notes>,
    to_await: mpsc::UnboundedSender<(Value, u32, Moment, Delivery)>,
}

impl Numbered {
    fn new(producer: u32, notes: Arc<Notes>) -> (Self, JoinHandle<()>) {
        let (to_await, sent) = mpsc::unbounded_channel();
        let awaiting = tokio::spawn(await_all(Arc::clone(&notes), sent));
        let numbered = Self {
            producer,
            notes,
            to_await,
        };
        (numbered, awaiting)
    }

    async fn send(&self, producer: &Producer, number: u64) {
        let value = Value {
            producer: self.producer,
            number,
        };
        let partition = (number % u64::from(PARTITIONS)) as u32;
        let record = Record::new(value.to_string()).partition(PartitionIndex(partition));
        let begun = self.notes.now();
        match producer.send(record).await {
            Ok(delivery) => {
                let sent = (value, partition, begun, delivery);
                self.to_await.send(sent).unwrap();
            }
            // The end of a producer whose name another one has: nothing was sent.
            Err(error) => assert_eq!(error.reason(), Some(Reason::ProducerFenced), "{error}"),
        }
    }
}

/// Sends some every few milliseconds, until told to stop. An odd producer is impatient, so that it
/// has to be told of failures.
pub(crate) async fn produce(
    client: Client,
    number: u32,
    notes: Arc<Notes>,
    stop: watch::Receiver<bool>,
) {
    let patience = Duration::from_millis(if number % 2 == 1 { 600 } else { 60_000 });
    let producer = client.producer("t").delivery_timeout(patience);
    let producer = producer.build().await.unwrap();
    let (numbered, awaiting) = Numbered::new(number, notes);
    let mut rounds = interval(Duration::from_millis(4));
    for count in 0.. {
        rounds.tick().await;
        if *stop.borrow() {
            break;
        }
        numbered.send(&producer, count).await;
    }
    drop(numbered);
    awaiting.await.unwrap();
}

/// As [`produce`] under a name, which one incarnation after another takes over while the one before
/// has records on its way, and goes on.
pub(crate) async fn produce_by_name(
    client: Client,
    number: u32,
    notes: Arc<Notes>,
    stop: watch::Receiver<bool>,
) {
    let (numbered, awaiting) = Numbered::new(number, notes);
    let mut rounds = interval(Duration::from_millis(4));
    let mut before: Option<(Producer, u64)> = None;
    for incarnation in 0.. {
        let producer = loop {
            match client.producer("t").name("writer").build().await {
                Ok(producer) => break producer,
                // Somebody who must be told does not answer; it is asked again.
                Err(error) => assert_ne!(error.outcome(), Outcome::Refused, "{error}"),
            }
        };
        let first = incarnation * INCARNATION;
        for count in 0..60 {
            rounds.tick().await;
            numbered.send(&producer, first + count).await;
            if let Some((before, next)) = &mut before {
                numbered.send(before, *next).await;
                *next += 1;
            }
        }
        if *stop.borrow() {
            break;
        }
        // What it has on its way when the next one takes over.
        before = Some((producer, first + 60));
    }
    drop(numbered);
    awaiting.await.unwrap();
}

/// Sends a record to each partition when nobody else does; gives where they are.
pub(crate) async fn mark_ends(
    client: &Client,
    number: u32,
    notes: &Arc<Notes>,
) -> BTreeMap<u32, (u64, Value)> {
    let producer = client.producer("t").build().await.unwrap();
    let (numbered, awaiting) = Numbered::new(number, Arc::clone(notes));
    for partition in 0..PARTITIONS {
        numbered.send(&producer, u64::from(partition)).await;
    }
    drop(numbered);
    awaiting.await.unwrap();
    let history = notes.history.lock().unwrap();
    let marks = history
        .sent
        .iter()
        .filter(|sent| sent.value.producer == number);
    let mark = |sent: &Sent| match sent.fate {
        Fate::Acknowledged(Some(offset)) => (sent.partition, (offset, sent.value)),
        other => panic!("{}: {other:?}", sent.value),
    };
    marks.map(mark).collect()
}

/// Reads everything, up to `ends` once they are known. Every 1,000 records it begins anew where it was;
/// in between it stops a partition and sets it going again, or seeks to where it is.
pub(crate) async fn consume(
    client: Client,
    number: u32,
    from: ReadFrom,
    notes: Arc<Notes>,
    mut ends: watch::Receiver<Option<BTreeMap<u32, u64>>>,
) {
    let mut next: BTreeMap<u32, u64> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    let began = next
        .iter()
        .map(|(partition, at)| ((number, *partition), *at));
    notes.history.lock().unwrap().began.extend(began);
    loop {
        let places = next.iter().map(|(p, at)| (PartitionIndex(*p), Offset(*at)));
        let consumer = client.consumer("t").start(Start::Offsets(places.collect()));
        let consumer = match from {
            ReadFrom::Nearest => consumer.read_from(from).freshness(Freshness::Committed),
            _ => consumer,
        };
        let mut consumer = consumer.build().await.unwrap();
        for count in 1..=1000_u32 {
            if count % 150 == 0 {
                disarrange(&mut consumer, &next, PartitionIndex(count % PARTITIONS)).await;
            }
            if ends.borrow().as_ref().is_some_and(|ends| *ends == next) {
                return;
            }
            tokio::select! {
                record = consumer.next() => {
                    let seen = notes.saw(number, &record.unwrap().unwrap());
                    next.insert(seen.partition, seen.offset + 1);
                }
                changed = ends.changed() => changed.unwrap(),
            }
        }
    }
}

/// Stops a partition, sends it to where it is, and lets it go on: nothing comes twice, nothing is left out.
async fn disarrange(consumer: &mut Consumer, next: &BTreeMap<u32, u64>, partition: PartitionIndex) {
    consumer.pause(partition).unwrap();
    let here = Offset(next[&partition.0]);
    // Without a leader it fails in the end, and changes nothing then.
    if let Ok(sought) = consumer.seek(partition, Start::Offset(here)).await {
        assert_eq!(sought, here);
    }
    consumer.resume(partition).unwrap();
}

/// How fresh a subscription must be, and what may be missing then, in nanoseconds.
fn fresh(from: ReadFrom) -> (Freshness, Moment) {
    match from {
        ReadFrom::Nearest => (Freshness::Bounded(AGE), AGE.as_nanos() as Moment),
        _ => (Freshness::Linearizable, 0),
    }
}

/// Begins to read a partition, over and over, where it stopped before, and notes what its end is said
/// to be: of a message that was sent after the beginning, so what is in it is known.
pub(crate) async fn read_fresh(
    client: Client,
    number: u32,
    from: ReadFrom,
    notes: Arc<Notes>,
    stop: watch::Receiver<bool>,
) {
    let (freshness, age) = fresh(from);
    let mut next = [Offset(0); PARTITIONS as usize];
    for partition in 0..PARTITIONS {
        let began = &mut notes.history.lock().unwrap().began;
        began.insert((number, partition), 0);
    }
    let mut rounds = interval(Duration::from_millis(50));
    for round in 0.. {
        rounds.tick().await;
        if *stop.borrow() {
            return;
        }
        let partition = round % PARTITIONS;
        let next = &mut next[partition as usize];
        let consumer = client.consumer("t").read_from(from).freshness(freshness);
        let consumer = consumer.partitions([PartitionIndex(partition)]);
        let begun = notes.now();
        let mut consumer = consumer.start(Start::Offset(*next)).build().await.unwrap();
        let end = loop {
            match consumer.next_event().await.unwrap().unwrap() {
                Event::CaughtUp(news) => break news.high_watermark,
                Event::Batch(batch) => {
                    for record in batch.records().unwrap() {
                        notes.saw(number, &record.unwrap());
                    }
                    *next = batch.next_offset();
                }
                other => panic!("{other:?}"),
            }
        };
        let ended = notes.now();
        notes.history.lock().unwrap().ends.push(End {
            partition,
            offset: end.0,
            age,
            begun,
            ended,
        });
    }
}

/// Looks the ends up, over and over.
pub(crate) async fn look_up(client: Client, notes: Arc<Notes>, stop: watch::Receiver<bool>) {
    let mut rounds = interval(Duration::from_millis(200));
    for round in 0.. {
        rounds.tick().await;
        if *stop.borrow() {
            return;
        }
        let (partition, begun) = (round % PARTITIONS, notes.now());
        let found = client.list_offsets("t", PartitionIndex(partition), Position::Latest);
        if let Ok(found) = found.await {
            let ended = notes.now();
            notes.history.lock().unwrap().ends.push(End {
                partition,
                offset: found.high_watermark.0,
                age: 0,
                begun,
                ended,
            });
        }
    }
}

/// The log of each partition as its leader has it.
pub(crate) async fn read_log(client: &Client) -> BTreeMap<u32, Vec<(u64, Value)>> {
    let mut log: BTreeMap<u32, Vec<(u64, Value)>> = BTreeMap::new();
    let consumer = client.consumer("t").until(Until::Latest);
    let mut consumer = consumer.build().await.unwrap();
    while let Some(record) = consumer.next().await {
        let record = record.unwrap();
        let partition = log.entry(record.partition().0).or_default();
        partition.push((record.offset().0, value_of(&record)));
    }
    log
}

/// The log of each partition as the broker's own replica has it, once that knows as much to be
/// committed as `log` has.
pub(crate) async fn read_replica(
    broker: &str,
    log: &BTreeMap<u32, Vec<(u64, Value)>>,
) -> BTreeMap<u32, Vec<(u64, Value)>> {
    let api = Api::connect(broker).await;
    let mut replica: BTreeMap<u32, Vec<(u64, Value)>> = BTreeMap::new();
    for (partition, log) in log {
        let found = replica.entry(*partition).or_default();
        let mut next = 0;
        while next < log.len() as i64 {
            let request = v1::FetchRequest {
                topic: "t".to_owned(),
                partition: *partition as i32,
                offset: next,
                max_wait_ms: 10_000,
                freshness: v1::Freshness::Committed.into(),
                ..v1::FetchRequest::default()
            };
            let read = api
                .led(|| api.fetch_with(request.clone(), false))
                .await
                .unwrap();
            next = read.next_offset;
            for record in read.records {
                let offset = record.offset.unsigned_abs();
                found.push((offset, Value::parse(&text(record)).unwrap()));
            }
        }
    }
    replica
}
