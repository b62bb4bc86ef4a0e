//! A broker joins: any member takes the request, the metadata group decides, and the answer tells
//! the newcomer its ids and whom to connect to.

use std::str::FromStr;
use std::time::Duration;

use highwater_proto::pb::peer::{self as pb, JoinRequest, JoinResponse, Member};
use highwater_proto::{BrokerId, ClusterId, Incarnation, Reason};

use super::{Error, Services};
use crate::cluster::{Command, Endpoints, LEVELS, Registration, Reply};
use crate::peer::check_protocol;

/// How long the metadata group may take to decide.
const LIMIT: Duration = Duration::from_secs(10);

impl Services {
    /// Registers the broker that asks.
    pub async fn join(&self, request: JoinRequest) -> Result<JoinResponse, Error> {
        let registration = self.registration(request)?;
        let reply = self
            .metadata
            .propose(&Command::RegisterBroker(registration), LIMIT)
            .await?;
        let Reply::Registered {
            broker,
            metadata_replica,
        } = reply
        else {
            let message = format!("the metadata group answered {reply:?}");
            return Err(Error::new(Reason::Internal, message));
        };
        tracing::info!(%broker, "a broker has joined");
        Ok(JoinResponse {
            cluster_id: self.me.cluster.to_string(),
            broker_id: broker.0,
            metadata_replica: metadata_replica.0,
            members: self.members(),
        })
    }

    fn registration(&self, request: JoinRequest) -> Result<Registration, Error> {
        let hello = request
            .hello
            .ok_or_else(|| Error::invalid("the broker did not say who it is"))?;
        check_protocol(&hello)
            .map_err(|error| Error::new(Reason::UnsupportedVersion, error.to_string()))?;
        let broker = self.returning(&hello)?;
        let incarnation = <[u8; 16]>::try_from(hello.incarnation.as_ref())
            .map_err(|_| Error::invalid("an incarnation has 16 bytes"))?;
        let endpoints = request
            .endpoints
            .ok_or_else(|| Error::invalid("there are no endpoints"))?;
        Ok(Registration {
            broker,
            incarnation: Incarnation::from_bytes(incarnation),
            endpoints: Endpoints {
                listen: endpoints.listen,
                peer: endpoints.peer,
                http: endpoints.http,
            },
            rack: request.rack,
            levels: LEVELS,
        })
    }

    /// The id of a broker that has been a member before; a newcomer names no cluster.
    fn returning(&self, hello: &pb::Hello) -> Result<Option<BrokerId>, Error> {
        if hello.cluster_id.is_empty() {
            return Ok(None);
        }
        if ClusterId::from_str(&hello.cluster_id) != Ok(self.me.cluster) {
            let (theirs, ours) = (&hello.cluster_id, self.me.cluster);
            let message = format!("the broker belongs to cluster {theirs}, this one is {ours}");
            return Err(Error::new(Reason::WrongCluster, message));
        }
        Ok(Some(BrokerId(hello.broker_id)))
    }

    fn members(&self) -> Vec<Member> {
        let state = self.metadata.state();
        let member = |broker: &crate::cluster::Broker| Member {
            broker_id: broker.id.0,
            endpoints: Some(pb::Endpoints {
                listen: broker.endpoints.listen.clone(),
                peer: broker.endpoints.peer.clone(),
                http: broker.endpoints.http.clone(),
            }),
        };
        state.brokers().map(member).collect()
    }
}
