//! A broker whose disk fails once while it founds its cluster, at whichever operation. It starts or
//! says why it cannot, and after a power failure it starts on a whole disk.

use super::*;

fn config() -> BrokerConfig {
    BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        ..BrokerConfig::default()
    }
}

#[tokio::test]
async fn a_disk_that_fails_once_while_a_broker_begins_keeps_nothing_from_the_next_start() {
    for n in 0.. {
        let disk = MemDir::new();
        disk.fail_operation(n);
        let begun = Broker::start_in_memory(config(), disk.next_process());
        let Ok(begun) = tokio::time::timeout(LIMIT, begun).await else {
            panic!("operation {n}: it neither starts nor ends");
        };
        let reached = disk.operations() > n;
        disk.power_cut(n);
        if let Ok(broker) = begun {
            broker.abandon().await;
        }
        disk.fail_from_operation(None);
        let again = Broker::start_in_memory(config(), disk.next_process());
        let again = tokio::time::timeout(LIMIT, again).await.unwrap();
        let broker = again.unwrap_or_else(|error| panic!("operation {n}: {error}"));
        broker.abandon().await;
        if !reached {
            return;
        }
    }
}
