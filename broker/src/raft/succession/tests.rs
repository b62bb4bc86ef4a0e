use highwater_proto::LogIndex;

use super::*;

fn set(replicas: &[u64]) -> BTreeSet<ReplicaId> {
    replicas.iter().copied().map(ReplicaId).collect()
}

/// What a voter decides that has not waited for anybody yet.
fn decide(voters: &[BTreeSet<ReplicaId>], mine: &View, others: &[View]) -> Succession {
    Waited::default().decide(voters, mine, others)
}

/// A voter that suspects the leader of term 5.
fn view(replica: u64, term: u64, index: u64) -> View {
    View {
        replica: ReplicaId(replica),
        last: Some(EntryId {
            term: Term(term),
            index: LogIndex(index),
        }),
        vote: VoteView {
            term: Term(5),
            committed: true,
        },
        suspects_leader: true,
        yields: false,
        leads: false,
    }
}

fn content(view: View) -> View {
    View {
        suspects_leader: false,
        ..view
    }
}

fn three(mine: View, others: &[View]) -> Succession {
    decide(&[set(&[1, 2, 3])], &mine, others)
}

fn wait(reason: WaitReason) -> Succession {
    Succession::Wait(reason)
}

#[test]
fn of_two_survivors_exactly_the_one_with_the_greater_log_takes_over() {
    let table = [
        // Later term beats longer log; longer log beats id; the lower id decides
        // between equals: it is the first that the partition was placed on.
        (view(2, 5, 10), view(3, 4, 99), 2),
        (view(2, 4, 99), view(3, 5, 10), 3),
        (view(2, 5, 11), view(3, 5, 10), 2),
        (view(2, 5, 10), view(3, 5, 10), 2),
        (
            view(2, 1, 1),
            View {
                last: None,
                ..view(3, 0, 0)
            },
            2,
        ),
    ];
    for (two, three_, successor) in table {
        let greater = wait(WaitReason::AnotherIsGreater(ReplicaId(successor)));
        for (mine, other) in [(two, three_), (three_, two)] {
            let expected = match mine.replica.0 == successor {
                true => Succession::TakeOver,
                false => greater,
            };
            assert_eq!(three(mine, &[other]), expected, "{mine:?} {other:?}");
        }
    }
}

#[test]
fn without_a_majority_of_suspecting_voters_nobody_takes_over() {
    let alone = wait(WaitReason::NoMajority {
        suspecting: 1,
        needed: 2,
    });
    assert_eq!(three(view(2, 5, 9), &[]), alone);
    assert_eq!(three(view(2, 5, 9), &[content(view(3, 5, 1))]), alone);
    // Neither strangers, nor empty answers, nor one voter twice make a majority.
    let noise = [view(7, 5, 1), view(0, 5, 1), view(2, 5, 1), view(2, 5, 1)];
    assert_eq!(three(view(2, 5, 9), &noise), alone);
}

#[test]
fn who_does_not_suspect_the_leader_does_not_stand() {
    let mine = content(view(2, 5, 9));
    let others = [view(1, 5, 1), view(3, 5, 1)];
    assert_eq!(three(mine, &others), wait(WaitReason::LeaderSeemsAlive));
}

#[test]
fn nobody_waits_for_a_greater_voter_that_does_not_suspect() {
    // The leader itself answers, but two voters cannot reach its broker.
    let leader = content(view(1, 5, 100));
    assert_eq!(
        three(view(3, 5, 9), &[leader, view(2, 5, 8)]),
        Succession::TakeOver
    );
}

#[test]
fn a_replica_outside_the_membership_does_not_stand() {
    let others = [view(1, 5, 1), view(2, 5, 1)];
    assert_eq!(three(view(4, 5, 9), &others), wait(WaitReason::NotAVoter));
}

#[test]
fn a_leader_of_a_later_term_is_followed() {
    let mut follower = content(view(1, 5, 9));
    follower.vote.term = Term(6);
    let others = [follower, view(2, 5, 9)];
    let expected = wait(WaitReason::NewerLeader(Term(6)));
    assert_eq!(three(view(3, 5, 9), &others), expected);
    // A vote that no majority granted is no leader.
    follower.vote.committed = false;
    let others = [follower, view(2, 5, 8)];
    assert_eq!(three(view(3, 5, 9), &others), Succession::TakeOver);
}

#[test]
fn the_only_voter_takes_over_from_nobody() {
    let alone = [set(&[4])];
    assert_eq!(decide(&alone, &view(4, 1, 1), &[]), Succession::TakeOver);
}

#[test]
fn while_the_membership_changes_both_sets_need_a_majority() {
    let sets = [set(&[1, 2, 3]), set(&[3, 4, 5])];
    let mine = view(3, 5, 9);
    let missing = wait(WaitReason::NoMajority {
        suspecting: 1,
        needed: 2,
    });
    assert_eq!(decide(&sets, &mine, &[view(2, 5, 1)]), missing);
    let both = [view(2, 5, 1), view(4, 5, 1)];
    assert_eq!(decide(&sets, &mine, &both), Succession::TakeOver);
}

#[test]
fn in_every_mix_of_five_voters_with_full_sight_exactly_one_takes_over_or_all_wait() {
    let voters = [set(&[1, 2, 3, 4, 5])];
    for mask in 0..32_u32 {
        let views: Vec<_> = (1..=5)
            .map(|id| View {
                suspects_leader: mask & (1 << (id - 1)) != 0,
                ..view(id, 5, id * 7 % 5)
            })
            .collect();
        let decisions = views.iter().map(|mine| decide(&voters, mine, &views));
        let successors = decisions.filter(|d| *d == Succession::TakeOver).count();
        assert_eq!(
            successors,
            usize::from(mask.count_ones() >= 3),
            "{mask:05b}"
        );
    }
}

#[test]
fn of_equal_logs_that_of_a_broker_that_stays_goes_first() {
    let yielding = View {
        yields: true,
        ..view(1, 5, 7)
    };
    let staying = view(2, 5, 7);
    let waits = Succession::Wait(WaitReason::AnotherIsGreater(ReplicaId(2)));
    assert_eq!(three(yielding, &[staying]), waits);
    assert_eq!(three(staying, &[yielding]), Succession::TakeOver);
    let longer = View {
        yields: true,
        ..view(1, 5, 8)
    };
    assert_eq!(three(longer, &[staying]), Succession::TakeOver);
}

#[test]
fn a_leader_that_answers_is_not_replaced_unless_it_hands_over() {
    let leader = View {
        leads: true,
        ..content(view(3, 5, 7))
    };
    let voters = [view(1, 5, 7), view(2, 5, 7)];
    let waits = Succession::Wait(WaitReason::NewerLeader(Term(5)));
    assert_eq!(three(voters[0], &[voters[1], leader]), waits);
    let leaving = View {
        yields: true,
        ..leader
    };
    assert_eq!(
        three(voters[0], &[voters[1], leaving]),
        Succession::TakeOver
    );
}

/// The leader of term 5, which hands over.
fn leaving(replica: u64, index: u64) -> View {
    View {
        yields: true,
        leads: true,
        ..content(view(replica, 5, index))
    }
}

#[test]
fn the_vote_of_a_leader_that_hands_over_counts() {
    // Of two voters, and of three without the third.
    let two = [set(&[1, 2])];
    assert_eq!(
        decide(&two, &view(2, 5, 7), &[leaving(1, 7)]),
        Succession::TakeOver
    );
    assert_eq!(three(view(2, 5, 7), &[leaving(1, 7)]), Succession::TakeOver);
    let nobody = View {
        suspects_leader: false,
        ..view(0, 0, 0)
    };
    let others = [leaving(1, 7), nobody];
    assert_eq!(three(view(3, 5, 7), &others), Succession::TakeOver);
    // One vote does not replace two.
    let five = [set(&[1, 2, 3, 4, 5])];
    let missing = wait(WaitReason::NoMajority {
        suspecting: 1,
        needed: 3,
    });
    assert_eq!(decide(&five, &view(2, 5, 7), &[leaving(1, 7)]), missing);
}

#[test]
fn a_leader_that_hands_over_is_asked_for_its_vote_by_whoever_has_all_that_it_has() {
    let behind = wait(WaitReason::BehindTheLeader(ReplicaId(1)));
    assert_eq!(three(view(2, 5, 7), &[leaving(1, 8)]), behind);
    // Who does not need that vote need not have all: what it lacks no majority had.
    let others = [leaving(1, 8), view(3, 5, 7)];
    assert_eq!(three(view(2, 5, 7), &others), Succession::TakeOver);
}

#[test]
fn a_leader_hands_over_to_one_that_stays_and_does_not_stand_itself() {
    assert_eq!(
        three(leaving(1, 7), &[view(2, 5, 7), view(3, 5, 7)]),
        wait(WaitReason::LeaderSeemsAlive)
    );
    let both_leave = View {
        yields: true,
        ..view(2, 5, 7)
    };
    let others = [leaving(1, 7), both_leave];
    assert_eq!(three(view(3, 5, 7), &others), Succession::TakeOver);
}

#[test]
fn while_the_membership_changes_a_leader_that_hands_over_counts_where_it_votes() {
    let sets = [set(&[1, 2, 3]), set(&[2, 3, 4])];
    let missing = wait(WaitReason::NoMajority {
        suspecting: 1,
        needed: 2,
    });
    let mine = view(2, 5, 7);
    assert_eq!(decide(&sets, &mine, &[leaving(1, 7)]), missing);
    assert_eq!(decide(&sets, &mine, &[leaving(3, 7)]), Succession::TakeOver);
}

#[test]
fn a_leader_that_stays_keeps_its_vote() {
    let stays = View {
        yields: false,
        ..leaving(1, 7)
    };
    let waits = wait(WaitReason::NewerLeader(Term(5)));
    assert_eq!(decide(&[set(&[1, 2])], &view(2, 5, 7), &[stays]), waits);
}

fn standing(view: View, term: u64) -> View {
    let vote = VoteView {
        term: Term(term),
        committed: false,
    };
    View { vote, ..view }
}

/// What voter 3 of three decides in as many rounds as it waits for anybody, and in the one after.
fn after_patience(waited: &mut Waited, others: &[View]) -> Succession {
    let voters = [set(&[1, 2, 3])];
    let mut round = || waited.decide(&voters, &view(3, 5, 7), others);
    for _ in 0..PATIENCE {
        let waits = wait(WaitReason::AnotherIsGreater(ReplicaId(2)));
        assert_eq!(round(), waits);
    }
    round()
}

#[test]
fn a_greater_voter_that_does_not_stand_is_not_waited_for_without_limit() {
    // Its leader hands over: two are enough with its vote.
    for leader in [leaving(1, 7), view(1, 5, 6)] {
        let others = [leader, view(2, 5, 7)];
        let mut waited = Waited::default();
        assert_eq!(after_patience(&mut waited, &others), Succession::TakeOver);
        // And again, should that election fail.
        let again = waited.decide(&[set(&[1, 2, 3])], &view(3, 5, 7), &others);
        assert_eq!(again, Succession::TakeOver);
    }
}

#[test]
fn a_greater_voter_that_stands_is_waited_for_anew() {
    let mut waited = Waited::default();
    for term in 5..8 {
        let others = [leaving(1, 7), standing(view(2, 5, 7), term)];
        assert_eq!(after_patience(&mut waited, &others), Succession::TakeOver);
    }
}

#[test]
fn a_voter_that_comes_back_is_waited_for_anew() {
    let mut waited = Waited::default();
    let others = [leaving(1, 7), view(2, 5, 7)];
    assert_eq!(after_patience(&mut waited, &others), Succession::TakeOver);
    let voters = [set(&[1, 2, 3])];
    waited.decide(&voters, &view(3, 5, 7), &[leaving(1, 7)]);
    assert_eq!(after_patience(&mut waited, &others), Succession::TakeOver);
}

#[test]
fn of_several_that_do_not_stand_each_is_waited_for_once() {
    let voters = [set(&[1, 2, 3, 4, 5])];
    let others = [1, 2, 3].map(|replica| view(replica, 5, 7));
    let mut waited = Waited::default();
    let mut waits = BTreeMap::new();
    loop {
        match waited.decide(&voters, &view(4, 5, 7), &others) {
            Succession::TakeOver => break,
            Succession::Wait(why) => match why {
                WaitReason::AnotherIsGreater(replica) => *waits.entry(replica.0).or_insert(0) += 1,
                other => panic!("{other:?}"),
            },
        }
    }
    let once = [1, 2, 3].map(|replica| (replica, PATIENCE));
    assert_eq!(waits, BTreeMap::from(once));
}

#[test]
fn who_waits_for_one_that_leads_meanwhile_follows_it() {
    let mut waited = Waited::default();
    let others = [leaving(1, 7), view(2, 5, 7)];
    assert_eq!(after_patience(&mut waited, &others), Succession::TakeOver);
    let leads = View {
        leads: true,
        ..content(standing(view(2, 5, 7), 6))
    };
    let leads = View {
        vote: VoteView {
            committed: true,
            ..leads.vote
        },
        ..leads
    };
    let decided = waited.decide(&[set(&[1, 2, 3])], &view(3, 5, 7), &[leaving(1, 7), leads]);
    assert_eq!(decided, wait(WaitReason::NewerLeader(Term(6))));
}
