//! What goes to another broker before it has answered, and in how many messages. The other broker is
//! played by the test, on the one thread that the test runs on.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::future::join_all;
use highwater_proto::{
    ClusterId, Incarnation, LogIndex, Offset, PartitionIndex, Term, Timestamp, TopicId,
};
use tokio::task::JoinHandle;

use super::super::types::{Entry, LeaderId, Payload, log_id};
use super::*;
use crate::log::{FrameKind, Head};
use crate::peer::Identity;
use crate::peer::fake::{FakeLane, FakePeer};
use crate::tasks::Tasks;

const LIMIT: Duration = Duration::from_secs(30);
const OTHER: BrokerId = BrokerId(2);
const MIB: usize = 1 << 20;

/// A broker that is linked to the one that the test plays.
struct Leading {
    peers: Arc<Peers>,
    other: FakePeer,
}

impl Leading {
    async fn start() -> Self {
        let me = Identity {
            cluster: ClusterId::from_bytes([1; 16]),
            broker: BrokerId(1),
            incarnation: Incarnation::from_bytes([2; 16]),
        };
        let other = FakePeer::start().await;
        let peers = Arc::new(Peers::new(me, Tasks::new()));
        peers.update(
            &BTreeMap::from([(OTHER, other.address.clone())]),
            LogIndex(1),
        );
        Self { peers, other }
    }

    fn network(&self, partition: u32) -> Network {
        Network {
            group: GroupId::Partition(TopicId::from_bytes([7; 16]), PartitionIndex(partition)),
            replica: ReplicaId(1),
            peers: Arc::clone(&self.peers),
            rooms: Rooms::default(),
            acknowledged: Acknowledged::default(),
            pass_leases: Arc::default(),
            metrics: Arc::new(Metrics::new([])),
        }
    }

    /// Streams `count` requests of `bytes` each, and counts those that were taken up.
    fn stream(&self, partition: u32, count: u64, bytes: usize) -> Streaming {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        let input = stream::iter(1..=count).map(move |index| {
            counter.fetch_add(1, Ordering::Relaxed);
            append(index, bytes)
        });
        let connection = self.network(partition).connection(2, node(), false);
        let running = tokio::spawn(async move {
            let mut connection = connection;
            let option = RPCOption::new(LIMIT);
            let output = connection.stream_append(input, option).await.unwrap();
            let results: Vec<_> = output.collect().await;
            let whole = |(result, index): (&Result<StreamAppendResult<Types>, _>, u64)| {
                let last = log_id(Term(3), LogIndex(index));
                let expected = if bytes == 0 { None } else { Some(last) };
                assert_eq!(*result.as_ref().unwrap(), Ok(expected));
            };
            results.iter().zip(1..).for_each(whole);
            results.len() as u64
        });
        Streaming { taken, running }
    }
}

struct Streaming {
    taken: Arc<AtomicUsize>,
    running: JoinHandle<u64>,
}

impl Streaming {
    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

fn node() -> ReplicaNode {
    ReplicaNode { broker: OTHER }
}

fn vote() -> Vote {
    let leader_id = LeaderId {
        term: 3,
        voted_for: 1,
    };
    Vote {
        leader_id,
        committed: true,
    }
}

/// A heartbeat, or a request with one entry that counts `bytes`.
fn append(index: u64, bytes: usize) -> AppendEntriesRequest<Types> {
    let entry = |body_len: usize| {
        let head = Head {
            kind: FrameKind::Blank,
            extension_len: 0,
            body_len: u32::try_from(body_len).unwrap(),
            term: Term(3),
            index: LogIndex(index),
            base_offset: Offset(0),
            record_count: 0,
            append_time: Timestamp(0),
            max_timestamp: Timestamp(0),
            chain: 0,
            body_crc: 0,
        };
        Entry {
            log_id: log_id(Term(3), LogIndex(index)),
            payload: Payload::Blank,
            frame: Some((head, Bytes::from(vec![7; body_len]))),
        }
    };
    AppendEntriesRequest {
        vote: vote(),
        prev_log_id: None,
        entries: bytes
            .checked_sub(Head::LEN)
            .map(entry)
            .into_iter()
            .collect(),
        leader_commit: None,
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.unwrap()
}

async fn messages(lane: &mut FakeLane, count: usize) -> Vec<LaneRequest> {
    let mut messages = Vec::new();
    for _ in 0..count {
        messages.push(within(lane.message()).await);
    }
    messages
}

/// Answers one message after the other, oldest first; each makes room for one that was not sent yet.
/// No more than `most` are taken up and not answered at any time.
async fn answer_all(
    lane: &mut FakeLane,
    mut sent: Vec<LaneRequest>,
    (count, most): (usize, usize),
    taken: impl Fn() -> usize,
) {
    for answered in 0..count {
        assert!(taken() <= most + answered, "{} at {answered}", taken());
        lane.answer(&sent[answered]).await;
        if sent.len() < count {
            sent.push(within(lane.message()).await);
        }
    }
}

#[tokio::test]
async fn requests_go_out_before_the_first_is_answered_and_64_at_most() {
    let mut leading = Leading::start().await;
    let stream = leading.stream(0, 100, 0);
    let mut lane = within(leading.other.lane()).await;
    let sent = messages(&mut lane, 64).await;
    let numbers: Vec<u64> = sent.iter().map(|request| request.correlation).collect();
    assert!(numbers.is_sorted(), "in order");
    answer_all(&mut lane, sent, (100, 64), || stream.taken()).await;
    assert_eq!(within(stream.running).await.unwrap(), 100);
}

#[tokio::test]
async fn of_one_group_8_mib_are_on_their_way_at_most() {
    let mut leading = Leading::start().await;
    let stream = leading.stream(0, 20, MIB);
    let mut lane = within(leading.other.lane()).await;
    let sent = messages(&mut lane, 8).await;
    // One more is taken up, and waits.
    answer_all(&mut lane, sent, (20, 9), || stream.taken()).await;
    assert_eq!(within(stream.running).await.unwrap(), 20);
}

#[tokio::test]
async fn of_all_groups_16_mib_are_on_their_way_at_most() {
    let mut leading = Leading::start().await;
    let streams = [0, 1, 2].map(|partition| leading.stream(partition, 12, MIB));
    let mut lane = within(leading.other.lane()).await;
    let sent = messages(&mut lane, 16).await;
    let taken = || streams.iter().map(Streaming::taken).sum();
    answer_all(&mut lane, sent, (36, 16 + 3), taken).await;
    for stream in streams {
        assert_eq!(within(stream.running).await.unwrap(), 12);
    }
}

#[tokio::test]
async fn heartbeats_of_64_idle_groups_travel_as_one_message() {
    let mut leading = Leading::start().await;
    let send = async |leading: &Leading, groups: std::ops::Range<u32>| {
        let beats = groups.map(|partition| {
            let mut connection = leading.network(partition).connection(2, node(), true);
            tokio::spawn(async move {
                let beat = connection.append_entries(append(1, 0), RPCOption::new(LIMIT));
                beat.await.unwrap();
            })
        });
        beats.collect::<Vec<_>>()
    };
    let first = send(&leading, 0..1).await;
    let mut lane = within(leading.other.lane()).await;
    assert!(
        lane.hello.bundle_answers,
        "answers may travel together, too"
    );
    let alone = within(lane.message()).await;
    lane.answer(&alone).await;
    within(join_all(first))
        .await
        .into_iter()
        .for_each(|beat| beat.unwrap());

    let beats = send(&leading, 0..64).await;
    let together = within(lane.message()).await;
    let Some(lane_request::Message::Bundle(bundle)) = &together.message else {
        panic!("sent alone: {together:?}");
    };
    assert_eq!(bundle.requests.len(), 64);
    lane.answer(&together).await;
    within(join_all(beats))
        .await
        .into_iter()
        .for_each(|beat| beat.unwrap());
}
