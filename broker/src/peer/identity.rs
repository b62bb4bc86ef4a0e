//! Who a broker is to others: cluster, id, and an incarnation drawn at every start.

use bytes::Bytes;
use highwater_proto::pb::peer::Hello;
use highwater_proto::{BrokerId, ClusterId, Incarnation};

/// The versions of the peer protocol that this broker speaks, lowest and highest.
pub const PROTOCOL: (u32, u32) = (1, 1);

/// A broker's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its id there.
    pub broker: BrokerId,
    /// Drawn afresh at every start of the process.
    pub incarnation: Incarnation,
}

/// Why a peer was turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The message has no hello.
    #[error("the peer did not say who it is")]
    Missing,
    /// The peer belongs to another cluster.
    #[error("the peer belongs to cluster {theirs}, this broker to {ours}")]
    WrongCluster {
        /// The peer's cluster.
        theirs: String,
        /// This broker's cluster.
        ours: ClusterId,
    },
    /// No protocol version in common.
    #[error("the peer speaks protocol {min} to {max}, this broker {} to {}", PROTOCOL.0, PROTOCOL.1)]
    Protocol {
        /// The lowest version the peer speaks.
        min: u32,
        /// The highest version the peer speaks.
        max: u32,
    },
}

impl Identity {
    /// What this broker says of itself.
    pub fn hello(&self) -> Hello {
        Hello {
            cluster_id: self.cluster.to_string(),
            broker_id: self.broker.0,
            ..Self::stranger(self.incarnation)
        }
    }

    /// What a broker says of itself before it belongs to a cluster.
    pub fn stranger(incarnation: Incarnation) -> Hello {
        Hello {
            cluster_id: String::new(),
            broker_id: 0,
            incarnation: Bytes::copy_from_slice(&incarnation.to_bytes()),
            protocol_min: PROTOCOL.0,
            protocol_max: PROTOCOL.1,
        }
    }

    /// Checks that a peer is of this cluster and speaks a common protocol; gives its broker id.
    pub fn admit(&self, hello: Option<&Hello>) -> Result<BrokerId, IdentityError> {
        let hello = hello.ok_or(IdentityError::Missing)?;
        check_protocol(hello)?;
        if hello.cluster_id != self.cluster.to_string() {
            let theirs = hello.cluster_id.clone();
            return Err(IdentityError::WrongCluster {
                theirs,
                ours: self.cluster,
            });
        }
        Ok(BrokerId(hello.broker_id))
    }
}

/// Checks that a peer speaks a common protocol.
pub fn check_protocol(hello: &Hello) -> Result<(), IdentityError> {
    let (min, max) = (hello.protocol_min, hello.protocol_max);
    if min > PROTOCOL.1 || max < PROTOCOL.0 {
        return Err(IdentityError::Protocol { min, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(cluster: u8) -> Identity {
        let cluster = ClusterId::from_bytes([cluster; 16]);
        Identity {
            cluster,
            broker: BrokerId(3),
            incarnation: Incarnation::from_bytes([7; 16]),
        }
    }

    #[test]
    fn a_peer_of_the_same_cluster_is_admitted() {
        let hello = identity(1).hello();
        assert_eq!(identity(1).admit(Some(&hello)), Ok(BrokerId(3)));
    }

    #[test]
    fn strangers_other_clusters_and_other_protocols_are_turned_away() {
        let us = identity(1);
        assert_eq!(us.admit(None), Err(IdentityError::Missing));
        let other = identity(2).hello();
        assert!(matches!(
            us.admit(Some(&other)),
            Err(IdentityError::WrongCluster { .. })
        ));
        let newer = Hello {
            protocol_min: 2,
            protocol_max: 9,
            ..us.hello()
        };
        assert_eq!(
            us.admit(Some(&newer)),
            Err(IdentityError::Protocol { min: 2, max: 9 })
        );
    }
}
