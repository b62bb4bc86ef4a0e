//! Producers and consumers of three brokers while leaders are killed and frozen at random: what all
//! of them did and saw is held against the log by the history checker.
//!
//! `HIGHWATER_SEED=n` repeats the choices of a run, which prints its seed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stdout,
    reason = "the seed, for whoever has to repeat it"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater_client::{
    Client, ConsumerRecord, Delivery, Error, Freshness, NewTopic, Offset, Outcome, PartitionIndex,
    Position, ReadFrom, Record, Start, Until,
};
use highwater_tests::history::{End, Fate, History, Moment, Seen, Sent, Value, check};
use highwater_tests::random::{Random, seed};
use highwater_tests::{Cluster, program};
use rustix::process::Signal;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

const PARTITIONS: u32 = 3;
const PRODUCERS: u32 = 4;
const LENGTH: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(90);

/// What happens, noted as it does.
#[derive(Debug)]
struct Notes {
    began: Instant,
    history: Mutex<History>,
    acknowledged: watch::Sender<u64>,
}

impl Notes {
    fn now(&self) -> Moment {
        Moment::try_from(self.began.elapsed().as_nanos()).unwrap()
    }

    fn saw(&self, consumer: u32, record: &ConsumerRecord) -> Seen {
        let seen = Seen {
            consumer,
            partition: record.partition.0,
            offset: record.offset.0,
            value: value_of(record),
            at: self.now(),
        };
        self.history.lock().unwrap().seen.push(seen);
        seen
    }
}

fn value_of(record: &ConsumerRecord) -> Value {
    let text = std::str::from_utf8(record.value.as_deref().unwrap()).unwrap();
    Value::parse(text).unwrap()
}

fn fate_of(error: &Error) -> Fate {
    match error.outcome() {
        Outcome::Unknown => Fate::Unknown,
        _ => Fate::NotWritten,
    }
}

/// Sends numbered records round the partitions, some every few milliseconds, until told to stop.
/// An odd producer is impatient, so that it has to be told of failures.
async fn produce(client: Client, number: u32, notes: Arc<Notes>, stop: watch::Receiver<bool>) {
    let patience = Duration::from_millis(if number % 2 == 1 { 600 } else { 60_000 });
    let producer = client.producer("t").delivery_timeout(patience);
    let producer = producer.build().await.unwrap();
    let (to_await, mut sent) = mpsc::unbounded_channel::<(Value, u32, Moment, Delivery)>();
    let awaiting = tokio::spawn({
        let notes = Arc::clone(&notes);
        async move {
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
    });
    let mut rounds = interval(Duration::from_millis(4));
    for count in 0.. {
        rounds.tick().await;
        if *stop.borrow() {
            break;
        }
        let value = Value {
            producer: number,
            number: count,
        };
        let partition = (count % u64::from(PARTITIONS)) as u32;
        let record = Record::new(value.to_string()).partition(PartitionIndex(partition));
        let begun = notes.now();
        let delivery = producer.send(record).await.unwrap();
        to_await.send((value, partition, begun, delivery)).unwrap();
    }
    drop(to_await);
    awaiting.await.unwrap();
}

/// Reads everything, up to `ends` once they are known. Every 1,000 records it begins anew where it was.
async fn consume(
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
        for _ in 0..1000 {
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

/// Looks the ends up, over and over.
async fn look_up(client: Client, notes: Arc<Notes>, stop: watch::Receiver<bool>) {
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
                begun,
                ended,
            });
        }
    }
}

async fn read_log(client: &Client) -> BTreeMap<u32, Vec<(u64, Value)>> {
    let mut log: BTreeMap<u32, Vec<(u64, Value)>> = BTreeMap::new();
    let consumer = client.consumer("t").until(Until::Latest);
    let mut consumer = consumer.build().await.unwrap();
    while let Some(record) = consumer.next().await {
        let record = record.unwrap();
        let partition = log.entry(record.partition.0).or_default();
        partition.push((record.offset.0, value_of(&record)));
    }
    log
}

/// Kills or freezes a leader, waits until acknowledgements went on without it, and brings it back.
fn disturb(cluster: &mut Cluster, runtime: &Runtime, notes: &Notes, random: u64) {
    let leader = cluster.leader_of("t", (random % u64::from(PARTITIONS)) as usize);
    let frozen = random & 0x100 != 0;
    match frozen {
        true => cluster.brokers[leader].signal(Signal::STOP),
        false => cluster.brokers[leader].kill(),
    }
    let more = 200 + (random >> 16) % 1500;
    let mut acknowledged = notes.acknowledged.subscribe();
    let wanted = *acknowledged.borrow() + more;
    let progress = acknowledged.wait_for(|count| *count >= wanted);
    let progressed = runtime.block_on(async { timeout(PATIENCE, progress).await.is_ok() });
    match frozen {
        true => cluster.brokers[leader].signal(Signal::CONT),
        false => cluster.brokers[leader].restart(),
    }
    assert!(
        progressed,
        "no {more} acknowledgements without broker {leader}"
    );
    cluster.until_healthy();
}

fn judge(seed: u64, disturbances: u32, history: &History) {
    let count = |wanted: fn(&Fate) -> bool| {
        history
            .sent
            .iter()
            .filter(|sent| wanted(&sent.fate))
            .count()
    };
    println!(
        "{disturbances} leaders down; {} records sent, {} not written, {} unknown; {} seen, {} ends",
        history.sent.len(),
        count(|fate| *fate == Fate::NotWritten),
        count(|fate| *fate == Fate::Unknown),
        history.seen.len(),
        history.ends.len()
    );
    let found = check(history);
    let shown: Vec<String> = found.iter().take(20).map(ToString::to_string).collect();
    assert!(
        found.is_empty(),
        "seed {seed}: {} anomalies, such as\n{}",
        found.len(),
        shown.join("\n")
    );
}

#[test]
fn no_history_is_impossible_while_leaders_are_killed_and_frozen() {
    let seed = seed();
    println!("HIGHWATER_SEED={seed}");
    let mut cluster = Cluster::start(&program!(), 3);
    let runtime = Runtime::new().unwrap();
    let notes = Arc::new(Notes {
        began: Instant::now(),
        history: Mutex::default(),
        acknowledged: watch::Sender::new(0),
    });
    let client = runtime.block_on(async {
        let client = Client::connect(cluster.addresses()).await.unwrap();
        let topic = NewTopic::new("t").partitions(PARTITIONS).replication(3);
        client.create_topic(topic).await.unwrap();
        client
    });
    let (stop, stopped) = watch::channel(false);
    let (tell_ends, ends) = watch::channel(None);
    let (mut writing, mut reading) = (JoinSet::new(), JoinSet::new());
    let on = runtime.handle();
    for number in 0..PRODUCERS {
        let (notes, stopped) = (Arc::clone(&notes), stopped.clone());
        writing.spawn_on(produce(client.clone(), number, notes, stopped), on);
    }
    writing.spawn_on(look_up(client.clone(), Arc::clone(&notes), stopped), on);
    for (number, from) in (0..).zip([ReadFrom::Leader, ReadFrom::Nearest]) {
        let (notes, ends) = (Arc::clone(&notes), ends.clone());
        reading.spawn_on(consume(client.clone(), number, from, notes, ends), on);
    }

    let mut random = Random(seed);
    let mut disturbances = 0;
    while notes.began.elapsed() < LENGTH || disturbances < 2 {
        disturb(&mut cluster, &runtime, &notes, random.draw());
        disturbances += 1;
    }

    stop.send_replace(true);
    runtime.block_on(async {
        timeout(PATIENCE, writing.join_all()).await.unwrap();
        let log = timeout(PATIENCE, read_log(&client)).await.unwrap();
        let end = |(partition, log): (&u32, &Vec<(u64, Value)>)| (*partition, log.len() as u64);
        tell_ends.send_replace(Some(log.iter().map(end).collect()));
        notes.history.lock().unwrap().log = log;
        timeout(PATIENCE, reading.join_all()).await.unwrap();
    });
    judge(seed, disturbances, &notes.history.lock().unwrap());
}
