use super::*;

const PEER: BrokerId = BrokerId(2);
const OTHER: BrokerId = BrokerId(3);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn detector() -> Suspicion {
    let mut suspicion = Suspicion::new(SuspicionConfig::default());
    suspicion.watch(PEER, ms(0));
    suspicion.watch(OTHER, ms(0));
    suspicion
}

/// Rounds at these times; `OTHER` answers each at once, `PEER` none.
fn rounds(suspicion: &mut Suspicion, times: &[u64]) {
    for time in times {
        suspicion.round(ms(*time));
        suspicion.answered(OTHER, ms(*time));
    }
}

fn suspected_since(since: u64) -> Health {
    Health::Suspected { since: ms(since) }
}

#[test]
fn a_peer_that_answers_is_alive() {
    let mut suspicion = detector();
    for round in 0..50 {
        assert!(!suspicion.round(ms(round * 100)));
        suspicion.answered(PEER, ms(round * 100 + 90));
        assert_eq!(suspicion.health(PEER, ms(round * 100 + 99)), Health::Alive);
    }
}

#[test]
fn silence_is_suspected_after_400_ms_and_three_missed_pings() {
    // The last answer at 0; what the detector says at the time after the rounds.
    let table: [(&[u64], u64, Health); 8] = [
        (&[], 10_000, Health::Alive),
        (&[0, 100, 200], 299, Health::Alive),
        (&[0, 100, 200, 300], 399, Health::Alive),
        (&[0, 100, 200, 300], 400, suspected_since(400)),
        (&[1, 101, 201, 301], 401, suspected_since(400)),
        // Slow rounds: 400 ms have passed, but only two pings were missed.
        (&[100, 290, 480], 490, Health::Alive),
        (&[100, 290, 480, 670], 670, suspected_since(670)),
        (&[0, 100, 200, 300, 400, 500], 550, suspected_since(400)),
    ];
    for (times, now, expected) in table {
        let mut suspicion = detector();
        rounds(&mut suspicion, times);
        assert_eq!(
            suspicion.health(PEER, ms(now)),
            expected,
            "{times:?} at {now}"
        );
        assert_eq!(suspicion.health(OTHER, ms(now)), Health::Alive);
    }
}

#[test]
fn an_answer_ends_the_suspicion() {
    let mut suspicion = detector();
    rounds(&mut suspicion, &[0, 100, 200, 300, 400]);
    assert_eq!(suspicion.health(PEER, ms(450)), suspected_since(400));
    assert!(suspicion.answered(PEER, ms(460)));
    assert_eq!(suspicion.health(PEER, ms(460)), Health::Alive);
    assert!(!suspicion.answered(PEER, ms(470)));
    rounds(&mut suspicion, &[500, 600, 700, 800]);
    assert_eq!(suspicion.health(PEER, ms(869)), Health::Alive);
    assert_eq!(suspicion.health(PEER, ms(870)), suspected_since(870));
}

#[test]
fn a_broker_that_was_held_up_starts_counting_anew() {
    let mut suspicion = detector();
    rounds(&mut suspicion, &[0, 100, 200, 300]);
    // Nothing ran for ten seconds: neither a question before the next round nor the round itself
    // may blame the others.
    assert_eq!(suspicion.health(PEER, ms(10_300)), Health::Alive);
    assert_eq!(suspicion.health(OTHER, ms(10_300)), Health::Alive);
    assert!(suspicion.round(ms(10_300)));
    assert_eq!(suspicion.health(PEER, ms(10_400)), Health::Alive);
    rounds(&mut suspicion, &[10_400, 10_500, 10_600]);
    assert_eq!(suspicion.health(PEER, ms(10_699)), Health::Alive);
    assert_eq!(suspicion.health(PEER, ms(10_700)), suspected_since(10_700));
    assert_eq!(suspicion.health(OTHER, ms(10_700)), Health::Alive);
}

#[test]
fn a_round_may_be_late_by_100_ms_and_no_more() {
    for (next, late) in [(199, false), (200, false), (201, true)] {
        let mut suspicion = detector();
        suspicion.round(ms(0));
        assert_eq!(suspicion.round(ms(next)), late, "{next}");
    }
}

#[test]
fn a_suspicion_that_was_formed_in_time_outlives_an_own_delay() {
    let mut suspicion = detector();
    rounds(&mut suspicion, &[0, 100, 200, 300, 400]);
    assert!(suspicion.round(ms(5_000)));
    assert_eq!(suspicion.health(PEER, ms(5_000)), suspected_since(400));
    assert_eq!(suspicion.health(OTHER, ms(5_000)), Health::Alive);
}

#[test]
fn a_peer_that_is_new_or_not_watched_is_alive() {
    let mut suspicion = detector();
    rounds(&mut suspicion, &[0, 100, 200, 300, 400]);
    suspicion.watch(BrokerId(9), ms(450));
    assert_eq!(suspicion.health(BrokerId(9), ms(460)), Health::Alive);
    suspicion.watch(PEER, ms(450));
    assert_eq!(suspicion.health(PEER, ms(460)), suspected_since(400));
    suspicion.forget(PEER);
    assert_eq!(suspicion.health(PEER, ms(460)), Health::Alive);
    assert_eq!(suspicion.peers().collect::<Vec<_>>(), [OTHER, BrokerId(9)]);
}
