//! A broker whose disk fails once, at whichever operation: while it founds its cluster, and while a
//! topic is created, written to or deleted. It goes on or says why it cannot, without a panic; after a
//! power failure it starts on a whole disk with everything that it acknowledged, and what was asked
//! for can be asked for again.

use std::cell::Cell;
use std::sync::Once;

use highwater_proto::Reason;
use highwater_proto::pb::v1;
use tokio::time::timeout;

use super::asking::{config, create, send, start_on, topic, until_sent, values};
use super::*;
use crate::log::Dir;

/// The topic that is there before, with one record, and the one that something is done to.
const KEPT: &str = "kept";
const TOPIC: &str = "t";
/// A record that is sent when all is well again.
const LAST: u8 = 99;

#[tokio::test]
async fn a_disk_that_fails_once_while_a_broker_begins_keeps_nothing_from_the_next_start() {
    for n in 0.. {
        let disk = MemDir::new();
        disk.fail_operation(n);
        let begun = Broker::start_in_memory(config(), disk.next_process());
        let Ok(begun) = timeout(LIMIT, begun).await else {
            panic!("operation {n}: it neither starts nor ends");
        };
        let reached = disk.operations() > n;
        disk.power_cut(n);
        if let Ok(broker) = begun {
            broker.abandon().await;
        }
        disk.fail_from_operation(None);
        let again = Broker::start_in_memory(config(), disk.next_process());
        let again = timeout(LIMIT, again).await.unwrap();
        let broker = again.unwrap_or_else(|error| panic!("operation {n}: {error}"));
        broker.abandon().await;
        if !reached {
            return;
        }
    }
}

thread_local! {
    // A broker in memory runs on the thread of its test alone.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Counts the panics of a thread, also those that a task takes with it.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
}

/// What clients saw of a topic on a disk that failed.
#[derive(Debug, Default)]
struct Seen {
    /// Records that were acknowledged, in order.
    acked: Vec<u8>,
    /// Whether all that was asked for was answered with success.
    done: bool,
}

/// Does something to a topic on a disk whose operation number `n` fails meanwhile, for every `n`.
/// Then lets the power go, starts the broker on a whole disk, and checks.
async fn at_every_operation(
    prepare: impl AsyncFn(&Broker),
    act: impl AsyncFn(&Broker, &mut Seen),
    check: impl AsyncFn(&Broker, &MemDir, &Seen),
) {
    count_panics();
    for n in 0.. {
        let disk = MemDir::new();
        let broker = start_on(&disk).await;
        create(&broker, topic(KEPT)).await;
        until_sent(&broker, KEPT, 1).await;
        prepare(&broker).await;
        let before = disk.operations();
        disk.fail_operation(n);
        let mut seen = Seen::default();
        tokio::select! {
            () = act(&broker, &mut seen) => {}
            // It cannot go on and says why: the program exits then.
            _why = broker.failed() => {}
        }
        let reached = disk.operations() - before > n;
        disk.power_cut(n);
        broker.abandon().await;
        disk.fail_from_operation(None);

        let broker = start_on(&disk).await;
        assert_eq!(until_read(&broker, KEPT).await, [1], "operation {n}");
        check(&broker, &disk, &seen).await;
        broker.abandon().await;
        assert_eq!(PANICS.get(), 0, "operation {n}");
        if !reached {
            assert!(seen.done, "nothing failed, and it was not done");
            assert!(n > 3, "{n} operations");
            return;
        }
    }
}

/// What a topic has, once it can be read up to its end.
async fn until_read(broker: &Broker, name: &str) -> Vec<u8> {
    // A record behind all others: it is led and applied when this is acknowledged.
    until_sent(broker, name, LAST).await;
    let mut values = values(broker, name).await;
    assert_eq!(values.last(), Some(&LAST));
    // What was sent again because its fate was unknown may be there twice.
    values.retain(|value| *value != LAST);
    values.dedup();
    values
}

fn unwanted() -> v1::DeleteTopicRequest {
    v1::DeleteTopicRequest {
        name: TOPIC.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_disk_that_fails_once_while_a_topic_is_created_leaves_it_created_or_not() {
    let act = async |broker: &Broker, seen: &mut Seen| {
        let created = broker.services.create_topic(&context(), topic(TOPIC)).await;
        seen.done = created.is_ok();
    };
    let check = async |broker: &Broker, _: &MemDir, seen: &Seen| {
        let again = broker.services.create_topic(&context(), topic(TOPIC)).await;
        match again {
            Ok(_) => assert!(!seen.done, "it was acknowledged and is gone"),
            Err(error) => assert_eq!(error.reason, Reason::TopicExists, "{error:?}"),
        }
        assert!(until_read(broker, TOPIC).await.is_empty());
    };
    at_every_operation(async |_| (), act, check).await;
}

#[tokio::test]
async fn a_disk_that_fails_once_while_records_are_written_costs_none_that_was_acknowledged() {
    let prepare = async |broker: &Broker| {
        create(broker, topic(TOPIC)).await;
        until_sent(broker, TOPIC, 0).await;
    };
    let act = async |broker: &Broker, seen: &mut Seen| {
        seen.done = true;
        for value in 1..=4 {
            match send(broker, TOPIC, value).await {
                true => seen.acked.push(value),
                false => seen.done = false,
            }
        }
    };
    let check = async |broker: &Broker, _: &MemDir, seen: &Seen| {
        let there = until_read(broker, TOPIC).await;
        assert!(there.is_sorted() && there[0] == 0, "{there:?}");
        let lost = seen.acked.iter().find(|value| !there.contains(value));
        assert_eq!(lost, None, "{there:?}, {seen:?}");
    };
    at_every_operation(prepare, act, check).await;
}

#[tokio::test]
async fn a_disk_that_fails_once_while_a_topic_is_deleted_leaves_nothing_of_it_in_the_end() {
    let prepare = async |broker: &Broker| {
        create(broker, topic(TOPIC)).await;
        until_sent(broker, TOPIC, 0).await;
    };
    let act = async |broker: &Broker, seen: &mut Seen| {
        let deleted = broker.services.delete_topic(&context(), unwanted()).await;
        seen.done = deleted.is_ok();
        let gone = timeout(LIMIT, until_gone(broker)).await;
        assert!(gone.is_ok(), "it neither deletes it nor ends: {seen:?}");
    };
    let check = async |broker: &Broker, disk: &MemDir, seen: &Seen| {
        match broker.services.delete_topic(&context(), unwanted()).await {
            Ok(_) => assert!(!seen.done, "it was acknowledged and is there"),
            Err(error) => assert_eq!(error.reason, Reason::TopicNotFound, "{error:?}"),
        }
        let gone = timeout(LIMIT, until_gone(broker)).await;
        assert!(gone.is_ok(), "it is still there: {seen:?}");
        let groups = disk.subdir("groups").unwrap().list_subdirs().unwrap();
        assert_eq!(
            groups.len(),
            2,
            "the metadata and the other topic: {groups:?}"
        );
    };
    at_every_operation(prepare, act, check).await;
}

/// Waits until the broker has deleted what it has of deleted topics, and said so.
async fn until_gone(broker: &Broker) {
    let services = &broker.services;
    let mut published = services.metadata.watch();
    let gone = published.wait_for(|now| now.state.removed_on(services.me.broker).next().is_none());
    drop(gone.await);
}
