//! How fresh what a consumer reads must be, and from which replicas. Pure.

use std::time::Duration;

use highwater_proto::Reason;
use highwater_proto::pb::v1;

use crate::error::{Error, Result};

/// What a consumer promises of the records it reads, beside that they are committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// Each replica gives what it knows to be committed. At the leader that is everything that was
    /// acknowledged, unless it has been deposed without knowing; a follower may be behind by any
    /// time.
    #[default]
    Committed,
    /// Each subscription begins with everything that was acknowledged before it began: the leader
    /// has a majority confirm it first. Only the leader answers.
    Linearizable,
    /// Whatever a replica sends, it has everything that was acknowledged so long before, or earlier.
    /// One that cannot make sure of that is left for another one.
    Bounded(Duration),
}

/// Which replica is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadFrom {
    /// The leader.
    #[default]
    Leader,
    /// One in the rack that the client stands in
    /// ([`ClientBuilder::rack`](crate::ClientBuilder::rack)), or else any, a follower rather than
    /// the leader. While none of them can answer, the leader.
    Nearest,
}

impl Freshness {
    /// The freshness as a subscription asks for it.
    pub(super) fn on_the_wire(self, from: ReadFrom) -> Result<(v1::Freshness, i32)> {
        match (self, from) {
            (Self::Committed, ReadFrom::Leader) => Ok((v1::Freshness::Unspecified, 0)),
            (Self::Committed, ReadFrom::Nearest) => Ok((v1::Freshness::Committed, 0)),
            (Self::Linearizable, ReadFrom::Leader) => Ok((v1::Freshness::Linearizable, 0)),
            (Self::Linearizable, ReadFrom::Nearest) => Err(Error::new(
                Reason::InvalidRequest,
                "only the leader answers linearizable reads, not the nearest replica",
            )),
            (Self::Bounded(age), _) => match i32::try_from(age.as_millis()) {
                Ok(age) if age > 0 => Ok((v1::Freshness::Bounded, age)),
                Ok(_) | Err(_) => Err(Error::new(
                    Reason::InvalidRequest,
                    format!("a bound of {age:?} is not between 1 ms and 24 days"),
                )),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_milliseconds_and_only_the_leader_is_linearizable() {
        let age = |age| Freshness::Bounded(age).on_the_wire(ReadFrom::Nearest);
        let asked = age(Duration::from_millis(250)).unwrap();
        assert_eq!(asked, (v1::Freshness::Bounded, 250));
        for wrong in [Duration::ZERO, Duration::from_secs(1 << 40)] {
            let error = age(wrong).unwrap_err();
            assert_eq!(error.reason(), Some(Reason::InvalidRequest));
        }
        assert!(
            Freshness::Linearizable
                .on_the_wire(ReadFrom::Leader)
                .is_ok()
        );
        assert!(
            Freshness::Linearizable
                .on_the_wire(ReadFrom::Nearest)
                .is_err()
        );
    }
}
