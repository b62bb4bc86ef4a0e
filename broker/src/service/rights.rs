//! Who asks, and whether they may. Today everybody may do everything; every request asks all the
//! same, so that rules can come without touching a service.

use std::time::Duration;

use highwater_proto::Reason;

use super::Error;

/// Who asks, and how long they wait.
#[derive(Debug, Clone)]
pub struct Context {
    /// The caller; "anonymous" without authentication.
    pub principal: String,
    /// How long the caller still waits.
    pub deadline: Duration,
    /// True when another broker may be asked instead of answering `NOT_LEADER`.
    pub may_forward: bool,
}

/// What a request does to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Appends records.
    Write,
    /// Reads records.
    Read,
    /// Reads metadata.
    Describe,
    /// Creates a topic.
    Create,
    /// Changes settings.
    Alter,
    /// Deletes a topic, or records of it.
    Delete,
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A topic, by name.
    Topic(&'a str),
    /// The cluster as a whole.
    Cluster,
}

/// The action of every RPC of the public API.
pub const RIGHTS: &[(&str, Action)] = &[
    ("highwater.v1.LogService/Produce", Action::Write),
    ("highwater.v1.LogService/ProduceSession", Action::Write),
    ("highwater.v1.LogService/Fetch", Action::Read),
    ("highwater.v1.LogService/Subscribe", Action::Read),
    ("highwater.v1.LogService/ListOffsets", Action::Read),
    ("highwater.v1.LogService/InitProducer", Action::Write),
    ("highwater.v1.TopicService/CreateTopic", Action::Create),
    ("highwater.v1.TopicService/ListTopics", Action::Describe),
    ("highwater.v1.TopicService/DescribeTopic", Action::Describe),
    ("highwater.v1.TopicService/AlterTopic", Action::Alter),
    ("highwater.v1.TopicService/DeleteTopic", Action::Delete),
    ("highwater.v1.TopicService/TrimPartition", Action::Delete),
    ("highwater.v1.ClusterService/GetCluster", Action::Describe),
    ("highwater.v1.ClusterService/ListBrokers", Action::Describe),
    ("highwater.v1.ClusterService/GetMetadata", Action::Describe),
    (
        "highwater.v1.ClusterService/WatchMetadata",
        Action::Describe,
    ),
    ("highwater.v1.ClusterService/DrainBroker", Action::Alter),
    ("highwater.v1.ClusterService/GetDrain", Action::Describe),
];

impl Context {
    /// Asks whether the caller may call `method` on `resource`.
    pub fn authorize(&self, method: &str, resource: Resource<'_>) -> Result<(), Error> {
        let right = RIGHTS.iter().find(|(name, _)| *name == method);
        let Some((_, action)) = right else {
            return Err(Error::new(
                Reason::Denied,
                format!("nobody may call {method}"),
            ));
        };
        tracing::trace!(principal = %self.principal, ?action, ?resource, "allowed");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use highwater_proto::pb::DESCRIPTORS;
    use prost::Message;

    use super::*;

    #[test]
    fn every_rpc_of_the_public_api_has_exactly_one_right() {
        let files = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let public = files
            .file
            .iter()
            .filter(|file| file.package() == "highwater.v1");
        let rpcs: BTreeSet<String> = public
            .flat_map(|file| &file.service)
            .flat_map(|service| {
                let name = service.name();
                service
                    .method
                    .iter()
                    .map(move |m| format!("highwater.v1.{name}/{}", m.name()))
            })
            .collect();
        let rights: BTreeSet<String> = RIGHTS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(rpcs, rights);
        assert_eq!(rights.len(), RIGHTS.len());
    }

    #[test]
    fn a_method_without_a_right_is_denied() {
        let principal = "anonymous".to_owned();
        let context = Context {
            principal,
            deadline: Duration::from_secs(1),
            may_forward: false,
        };
        let denied = context.authorize("highwater.v1.LogService/Format", Resource::Cluster);
        assert_eq!(denied.unwrap_err().reason, Reason::Denied);
    }
}
