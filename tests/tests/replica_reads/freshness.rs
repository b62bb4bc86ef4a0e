//! What reads promise of their age, and what is refused where that cannot be kept.

use super::*;

#[test]
fn a_leader_that_no_majority_confirms_answers_no_linearizable_read() {
    run(async |three: &Three| {
        let (apis, leader) = (&three.apis, three.leader);
        let cluster = &three.cluster;
        let api = &apis[leader];
        api.append("t", 0, batches::batch(["a"])).await.unwrap();
        let others = [(leader + 1) % 3, (leader + 2) % 3];
        others
            .iter()
            .for_each(|other| cluster.brokers[*other].signal(Signal::STOP));
        let linearizable = read(0, Freshness::Linearizable);
        let refusal = api
            .fetch_with(linearizable.clone(), false)
            .await
            .unwrap_err();
        assert_eq!(refusal.code, Code::Unavailable, "{refusal:?}");
        assert!(refusal.retriable, "{refusal:?}");
        others
            .iter()
            .for_each(|other| cluster.brokers[*other].signal(Signal::CONT));
        let read = soon("an answer of a leader", async {
            loop {
                for api in apis {
                    if let Ok(read) = api.fetch_with(linearizable.clone(), false).await {
                        return read;
                    }
                }
            }
        });
        assert_eq!(read.await.next_offset, 1);
    });
}

#[test]
fn what_a_request_says_of_freshness_must_make_sense() {
    run(async |three: &Three| {
        let (apis, leader) = (&three.apis, three.leader);
        let requests = [
            v1::FetchRequest {
                freshness: 99,
                ..read(0, Freshness::Unspecified)
            },
            v1::FetchRequest {
                max_age_ms: 5,
                ..read(0, Freshness::Committed)
            },
            v1::FetchRequest {
                max_age_ms: 0,
                ..read(0, Freshness::Bounded)
            },
            v1::FetchRequest {
                max_age_ms: -1,
                ..read(0, Freshness::Bounded)
            },
        ];
        for request in requests {
            let refusal = apis[leader].fetch(request).await.unwrap_err();
            refusal.is(Code::InvalidArgument, "INVALID_REQUEST", &[]);
            assert!(!refusal.retriable);
        }
    });
}

#[test]
fn a_replica_that_is_cut_off_serves_what_is_committed_and_nothing_that_claims_to_be_fresh() {
    run(async |three: &Three| {
        let (apis, leader) = (&three.apis, three.leader);
        let cluster = &three.cluster;
        apis[leader]
            .append("t", 0, batches::batch(["a", "b"]))
            .await
            .unwrap();
        let alone = (leader + 1) % 3;
        let api = &apis[alone];
        let before = bytes_of(api, 2, Freshness::Bounded).await;
        let mut fresh = api
            .subscribe(subscription(0, Freshness::Bounded))
            .await
            .unwrap();
        let first = soon("what is there", fresh.message())
            .await
            .unwrap()
            .unwrap();
        assert_eq!((first.next_offset, first.follower), (2, true));
        let others = [leader, (leader + 2) % 3];
        others
            .iter()
            .for_each(|other| cluster.brokers[*other].signal(Signal::STOP));
        // What the leader said before it stood still counts until it is too old.
        let refusal = soon("the end of what is fresh", async {
            loop {
                if let Err(refusal) = api.fetch_with(read(0, Freshness::Bounded), false).await {
                    return refusal;
                }
            }
        });
        let refusal = refusal.await;
        refusal.is(Code::Unavailable, "STALE", &[]);
        assert!(refusal.retriable);
        let ended = soon("the end of the subscription", fresh.message()).await;
        let ended = highwater_tests::api::Refusal::from(ended.unwrap_err());
        ended.is(Code::Unavailable, "STALE", &[]);
        let during = bytes_of(api, 2, Freshness::Committed).await;
        assert!(during == before);
        others
            .iter()
            .for_each(|other| cluster.brokers[*other].signal(Signal::CONT));
        soon("a fresh answer", async {
            while api
                .fetch_with(read(0, Freshness::Bounded), false)
                .await
                .is_err()
            {}
        })
        .await;
    });
}
