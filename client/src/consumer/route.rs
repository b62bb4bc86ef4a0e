//! Which of a partition's replicas a reader asks. Pure.

use super::freshness::ReadFrom;
use crate::channels::Address;

/// The choice, as of the last failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The leader, always.
    Leader,
    /// The replica at this place of those that are nearest.
    Near(usize),
    /// The leader for once: a replica could not answer what the leader can.
    Referred,
}

impl Route {
    pub(super) fn new(from: ReadFrom) -> Self {
        match from {
            ReadFrom::Leader => Self::Leader,
            ReadFrom::Nearest => Self::Near(0),
        }
    }

    /// The replica to ask; `None` stands for the leader.
    pub(super) fn choose(self, nearest: &[Address]) -> Option<&Address> {
        match self {
            Self::Leader | Self::Referred => None,
            Self::Near(place) => nearest.get(place % nearest.len().max(1)),
        }
    }

    /// True if the leader answers, or the nearest replica where that is wanted.
    pub(super) fn is_wanted(self) -> bool {
        matches!(self, Self::Leader | Self::Near(0))
    }

    /// True if it is a replica that may follow.
    pub(super) fn may_follow(self) -> bool {
        matches!(self, Self::Near(_))
    }

    /// Where to go after a failure; `referred` if only the leader can answer.
    pub(super) fn after_failure(self, referred: bool) -> Self {
        match self {
            Self::Leader => Self::Leader,
            Self::Near(_) if referred => Self::Referred,
            Self::Near(place) => Self::Near(place.wrapping_add(1)),
            Self::Referred => Self::Near(0),
        }
    }

    /// Back to the nearest replica.
    pub(super) fn renewed(self) -> Self {
        match self {
            Self::Leader => Self::Leader,
            Self::Near(_) | Self::Referred => Self::Near(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn replicas_are_tried_in_turn_from_the_nearest_on() {
        let near: Vec<Address> = ["a", "b"].into_iter().map(Arc::from).collect();
        let mut route = Route::new(ReadFrom::Nearest);
        let mut chosen = Vec::new();
        for _ in 0..3 {
            chosen.extend(route.choose(&near).map(|address| address.to_string()));
            route = route.after_failure(false);
        }
        assert_eq!(chosen, ["a", "b", "a"]);
        assert!(!route.is_wanted() && route.renewed().is_wanted());
        assert_eq!(route.choose(&[]), None);
    }

    #[test]
    fn what_only_the_leader_can_answer_is_asked_there_and_then_the_nearest_again() {
        let referred = Route::new(ReadFrom::Nearest).after_failure(true);
        assert_eq!(referred.choose(&[Arc::from("a")]), None);
        assert!(!referred.is_wanted() && !referred.may_follow());
        assert_eq!(referred.after_failure(false), Route::Near(0));
        let leader = Route::new(ReadFrom::Leader);
        assert_eq!(leader.after_failure(true), leader);
    }
}
