//! Producers and consumers of three brokers while leaders are killed and frozen at random: what all
//! of them did and saw is held against the log by the history checker.
//!
//! `HIGHWATER_SEED=n` repeats the choices of a run, which prints its seed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stdout,
    reason = "the seed, for whoever has to repeat it"
)]

mod clients;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clients::{
    Notes, consume, look_up, mark_ends, produce, produce_by_name, read_fresh, read_log,
    read_replica,
};
use highwater_client::{Client, NewTopic, ReadFrom};
use highwater_tests::history::{Fate, History, Value, check};
use highwater_tests::random::{Random, seed};
use highwater_tests::{Cluster, program};
use rustix::process::Signal;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

const PARTITIONS: u32 = 3;
const PRODUCERS: u32 = 4;
const LENGTH: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(90);

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

/// A client, by what it is called when it does not end.
async fn named(name: String, client: impl Future<Output = ()>) -> String {
    client.await;
    name
}

/// Waits until all clients have ended.
async fn all_end(clients: &mut JoinSet<String>) {
    let mut ended = Vec::new();
    let all = async {
        while let Some(client) = clients.join_next().await {
            ended.push(client.unwrap());
        }
    };
    let in_time = timeout(PATIENCE, all).await.is_ok();
    assert!(in_time, "of the clients, only these have ended: {ended:?}");
}

/// Starts those that write, and those that look whether what they read is fresh.
fn start_writing(
    writer: &Client,
    notes: &Arc<Notes>,
    stopped: &watch::Receiver<bool>,
    on: &Handle,
) -> JoinSet<String> {
    let mut writing = JoinSet::new();
    for number in 0..PRODUCERS {
        let (notes, stopped) = (Arc::clone(notes), stopped.clone());
        let producer = produce(writer.clone(), number, notes, stopped);
        writing.spawn_on(named(format!("producer {number}"), producer), on);
    }
    notes.history.lock().unwrap().named.insert(PRODUCERS);
    let by_name = produce_by_name(
        writer.clone(),
        PRODUCERS,
        Arc::clone(notes),
        stopped.clone(),
    );
    writing.spawn_on(named("the named producer".to_owned(), by_name), on);
    let looking = look_up(writer.clone(), Arc::clone(notes), stopped.clone());
    writing.spawn_on(named("looking up".to_owned(), looking), on);
    for (number, from) in (2..).zip([ReadFrom::Leader, ReadFrom::Nearest]) {
        let (notes, stopped) = (Arc::clone(notes), stopped.clone());
        let consumer = read_fresh(writer.clone(), number, from, notes, stopped);
        writing.spawn_on(named(format!("consumer {number}, fresh"), consumer), on);
    }
    writing
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
        "{disturbances} leaders down; {} records sent, {} not written, {} unknown; {} seen, {} ends, {} \
         replicas",
        history.sent.len(),
        count(|fate| *fate == Fate::NotWritten),
        count(|fate| *fate == Fate::Unknown),
        history.seen.len(),
        history.ends.len(),
        history.replicas.len()
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
    // Ends with the connections of those that write, and whatever waits there.
    let writers = Runtime::new().unwrap();
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
    let writer = writers.block_on(Client::connect(cluster.addresses()));
    let writer = writer.unwrap();
    let (stop, stopped) = watch::channel(false);
    let (tell_ends, ends) = watch::channel(None);
    let mut writing = start_writing(&writer, &notes, &stopped, writers.handle());
    let mut reading = JoinSet::new();
    for (number, from) in (0..).zip([ReadFrom::Leader, ReadFrom::Nearest]) {
        let (notes, ends) = (Arc::clone(&notes), ends.clone());
        let consumer = consume(client.clone(), number, from, notes, ends);
        reading.spawn_on(
            named(format!("consumer {number}"), consumer),
            runtime.handle(),
        );
    }

    let mut random = Random(seed);
    let mut disturbances = 0;
    while notes.began.elapsed() < LENGTH || disturbances < 2 {
        disturb(&mut cluster, &runtime, &notes, random.draw());
        disturbances += 1;
    }

    stop.send_replace(true);
    writers.block_on(all_end(&mut writing));
    // What was given up may still be on its way, wherever it waits: at its producer, in a connection, in
    // a broker's queue. All of that ends here, but for what stands in a log already, committed or not;
    // and of that nothing comes behind a record of a later leader.
    drop(writer);
    writers.shutdown_timeout(PATIENCE);
    cluster.restart_all();
    runtime.block_on(async {
        let marks = timeout(PATIENCE, mark_ends(&client, PRODUCERS + 1, &notes));
        let marks = marks.await.unwrap();
        let log = timeout(PATIENCE, read_log(&client)).await.unwrap();
        for (partition, mark) in marks {
            let last = log[&partition].last().copied();
            assert_eq!(last, Some(mark), "seed {seed}, the end of {partition}");
        }
        let end = |(partition, log): (&u32, &Vec<(u64, Value)>)| (*partition, log.len() as u64);
        tell_ends.send_replace(Some(log.iter().map(end).collect()));
        for broker in &cluster.brokers {
            let replica = timeout(PATIENCE, read_replica(broker.listen(), &log));
            for (partition, replica) in replica.await.unwrap() {
                let of = (broker.id() as u32, partition);
                let replicas = &mut notes.history.lock().unwrap().replicas;
                replicas.insert(of, replica);
            }
        }
        notes.history.lock().unwrap().log = log;
        all_end(&mut reading).await;
    });
    judge(seed, disturbances, &notes.history.lock().unwrap());
}
