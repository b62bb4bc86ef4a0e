//! Who this broker is: founded with the cluster, given when it joined, kept in the data directory.
//! A directory that holds data and no identity is refused, never taken for an empty one.

use std::str::FromStr;
use std::time::Duration;

use highwater_proto::pb::peer::{self as pb, JoinRequest, JoinResponse};
use highwater_proto::{BrokerId, ClusterId, Incarnation, LogIndex, ReplicaId};
use prost::Message;

use crate::clock;
use crate::log::Dir;
use crate::log::small_file::{SmallFileError, read_file, write_file};
use crate::peer::{self, Identity};

const IDENTITY_FILE: &str = "identity";
const JOINING_FILE: &str = "joining";
const ADDRESSES_FILE: &str = "addresses";

/// The broker that founds a cluster, and its replica of the metadata group.
const FOUNDER: (BrokerId, ReplicaId) = (BrokerId(1), ReplicaId(1));

const JOIN_FOR: Duration = Duration::from_secs(60);
const JOIN_ATTEMPT: Duration = Duration::from_secs(10);
/// How long a member may take to say whether it is of the same cluster.
const PING_LIMIT: Duration = Duration::from_millis(500);
const JOIN_AGAIN: Duration = Duration::from_millis(200);
/// A broker that waits to be let in says so no more often than this.
const JOIN_LOG: Duration = Duration::from_secs(5);

/// This broker in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) identity: Identity,
    pub(super) metadata_replica: ReplicaId,
    pub(super) founder: bool,
}

/// A broker's addresses and rack, as it asks to be let in.
#[derive(Debug, Clone)]
pub(super) struct Applicant {
    pub(super) endpoints: pb::Endpoints,
    pub(super) rack: String,
}

/// Finds this broker's membership, founding or joining a cluster if the directory is empty.
pub(super) async fn establish(
    dir: &dyn Dir,
    incarnation: Incarnation,
    join: &[String],
    applicant: &Applicant,
    fresh: impl FnOnce() -> [u8; 16],
) -> Result<Membership, String> {
    if let Some(membership) = load(dir, incarnation)? {
        if !join.is_empty() {
            tracing::info!(
                "this broker has joined before; --join only says where else its cluster may be"
            );
            refuse_other_cluster(join, &membership).await?;
        }
        refuse_copy(dir, &membership, applicant).await?;
        return Ok(membership);
    }
    refuse_data_without_identity(dir)?;
    if join.is_empty() {
        refuse_begun_join(dir)?;
        let cluster = ClusterId::from_bytes(fresh());
        let (broker, metadata_replica) = FOUNDER;
        let identity = Identity {
            cluster,
            broker,
            incarnation,
        };
        let founded = Membership {
            identity,
            metadata_replica,
            founder: true,
        };
        save(dir, &founded)?;
        tracing::info!(%cluster, "founded a cluster");
        return Ok(founded);
    }
    let incarnation = joining_incarnation(dir, incarnation)?;
    let hello = Identity::stranger(incarnation);
    let response = ask_to_join(join, hello, applicant).await?;
    let cluster = ClusterId::from_str(&response.cluster_id).map_err(|e| e.to_string())?;
    let broker = BrokerId(response.broker_id);
    let identity = Identity {
        cluster,
        broker,
        incarnation,
    };
    let metadata_replica = ReplicaId(response.metadata_replica);
    let joined = Membership {
        identity,
        metadata_replica,
        founder: false,
    };
    remember_addresses(dir, &response.members, LogIndex(0))?;
    save(dir, &joined)?;
    tracing::info!(%cluster, %broker, "joined the cluster");
    Ok(joined)
}

/// A broker that is told to join another cluster than its own was given the wrong directory.
async fn refuse_other_cluster(join: &[String], membership: &Membership) -> Result<(), String> {
    for address in join {
        let Ok(channel) = peer::connect(address) else {
            continue;
        };
        let hello = Some(membership.identity.hello());
        let ping = pb::PingRequest {
            hello,
            ..pb::PingRequest::default()
        };
        let mut calls = peer::client(channel);
        let answer = peer::call(PING_LIMIT, calls.ping(ping)).await;
        if let Err(peer::CallError::Refused(why)) = answer {
            return Err(format!(
                "{address} is no member of this broker's cluster: {why}"
            ));
        }
    }
    Ok(())
}

/// A copy of a data directory must not run beside the original: two replicas with one id would both
/// vote and acknowledge. Whoever answers as this broker where it was last reached is the original.
async fn refuse_copy(
    dir: &dyn Dir,
    membership: &Membership,
    applicant: &Applicant,
) -> Result<(), String> {
    let me = membership.identity;
    let address = remembered_addresses(dir)?
        .members
        .into_iter()
        .filter(|member| member.broker_id == me.broker.0)
        .find_map(|member| Some(member.endpoints?.peer))
        .filter(|address| *address != applicant.endpoints.peer);
    let Some(address) = address else {
        return Ok(());
    };
    let Ok(channel) = peer::connect(&address) else {
        return Ok(());
    };
    let ping = pb::PingRequest {
        hello: Some(me.hello()),
        ..pb::PingRequest::default()
    };
    let answer = peer::call(PING_LIMIT, peer::client(channel).ping(ping)).await;
    let hello = answer.ok().and_then(|answer| answer.hello);
    match hello.is_some_and(|hello| me.admit(Some(&hello)) == Ok(me.broker)) {
        true => Err(format!(
            "broker {} of this cluster is running at {address}, and this directory is a copy of its \
             data; stop that one, or let this one join under an id of its own with an empty directory",
            me.broker
        )),
        false => Ok(()),
    }
}

fn load(dir: &dyn Dir, incarnation: Incarnation) -> Result<Option<Membership>, String> {
    let read = read_file(dir, IDENTITY_FILE).map_err(|error| match error {
        SmallFileError::Damaged { file, reason } => format!(
            "the file {file} is damaged: {reason}; restore it from a copy of this directory: it \
             never changes, so any copy will do"
        ),
        other => other.to_string(),
    })?;
    let Some(bytes) = read else { return Ok(None) };
    let stored = pb::BrokerIdentity::decode(bytes.as_slice())
        .map_err(|error| format!("the file {IDENTITY_FILE} does not parse: {error}"))?;
    let cluster = ClusterId::from_str(&stored.cluster_id)
        .map_err(|error| format!("the file {IDENTITY_FILE} names no cluster: {error}"))?;
    let identity = Identity {
        cluster,
        broker: BrokerId(stored.broker_id),
        incarnation,
    };
    let metadata_replica = ReplicaId(stored.metadata_replica);
    Ok(Some(Membership {
        identity,
        metadata_replica,
        founder: stored.founder,
    }))
}

fn save(dir: &dyn Dir, membership: &Membership) -> Result<(), String> {
    let stored = pb::BrokerIdentity {
        cluster_id: membership.identity.cluster.to_string(),
        broker_id: membership.identity.broker.0,
        metadata_replica: membership.metadata_replica.0,
        founder: membership.founder,
    };
    write_file(dir, IDENTITY_FILE, &stored.encode_to_vec()).map_err(|error| error.to_string())
}

fn refuse_data_without_identity(dir: &dyn Dir) -> Result<(), String> {
    let files = dir.list().map_err(|error| error.to_string())?;
    let foreign = |name: &&String| !may_precede_identity(name);
    if let Some(name) = files.iter().find(foreign) {
        return Err(format!(
            "it holds {name:?}, which is no broker's, and no {IDENTITY_FILE:?} file: a broker begins \
             in an empty directory only; choose another one, or move what is there away"
        ));
    }
    let subdirs = dir.list_subdirs().map_err(|error| error.to_string())?;
    match subdirs.iter().find(foreign) {
        None => Ok(()),
        Some(name) => Err(format!(
            "it holds {name:?} and no {IDENTITY_FILE:?} file: it is not a new directory, and what \
             it belongs to cannot be told; choose an empty directory, or restore the file"
        )),
    }
}

/// A broker that began to join may be a member already, and just not have heard of it: with a cluster of
/// its own it would answer where the others look for that one.
fn refuse_begun_join(dir: &dyn Dir) -> Result<(), String> {
    let begun = read_file(dir, JOINING_FILE).map_err(|error| error.to_string())?;
    match begun {
        None => Ok(()),
        Some(_) => Err(format!(
            "this broker began to join a cluster here ({JOINING_FILE:?}) and did not end it; start it with \
             --join as before, or choose an empty directory to found another cluster"
        )),
    }
}

/// What a file system puts there, and what a start that was cut off leaves.
fn may_precede_identity(name: &str) -> bool {
    let own = [IDENTITY_FILE, JOINING_FILE, ADDRESSES_FILE];
    let written = name.strip_suffix(".tmp").unwrap_or(name);
    name.starts_with('.') || ["lost+found", "lock"].contains(&name) || own.contains(&written)
}

/// A join that is repeated after a crash must get the same ids, so its incarnation is kept.
fn joining_incarnation(dir: &dyn Dir, fresh: Incarnation) -> Result<Incarnation, String> {
    let read = read_file(dir, JOINING_FILE).map_err(|error| error.to_string())?;
    if let Some(kept) = read.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()) {
        return Ok(Incarnation::from_bytes(kept));
    }
    let written = write_file(dir, JOINING_FILE, &fresh.to_bytes());
    written.map_err(|error| error.to_string())?;
    Ok(fresh)
}

/// Asks each address in turn, again and again, until one lets the broker in or refuses it.
async fn ask_to_join(
    addresses: &[String],
    hello: pb::Hello,
    applicant: &Applicant,
) -> Result<JoinResponse, String> {
    let until = clock::monotonic() + JOIN_FOR;
    let mut next_log = clock::monotonic();
    loop {
        match ask_members(addresses, &hello, applicant, JOIN_ATTEMPT).await {
            Ok(response) => return Ok(response),
            Err(Asked::Refused(why)) => return Err(why),
            Err(Asked::NoAnswer(last)) if clock::monotonic() >= until => {
                return Err(format!("{last}; gave up after {} s", JOIN_FOR.as_secs()));
            }
            Err(Asked::NoAnswer(last)) => {
                let now = clock::monotonic();
                if now >= next_log {
                    tracing::info!(%last, "not let in yet; asking again");
                    next_log = now + JOIN_LOG;
                }
                tokio::time::sleep(JOIN_AGAIN).await;
            }
        }
    }
}

/// Why a broker was not let in.
#[derive(Debug)]
pub(super) enum Asked {
    /// A member refused it for good.
    Refused(String),
    /// Nobody could say.
    NoAnswer(String),
}

/// Asks each address once to let the broker in.
pub(super) async fn ask_members(
    addresses: &[String],
    hello: &pb::Hello,
    applicant: &Applicant,
    limit: Duration,
) -> Result<JoinResponse, Asked> {
    let mut last = String::from("no other broker is known");
    for address in addresses {
        match ask_one(address, hello, applicant, limit).await {
            Ok(response) => return Ok(response),
            Err(Asked::Refused(why)) => return Err(Asked::Refused(format!("{address}: {why}"))),
            Err(Asked::NoAnswer(why)) => last = format!("{address}: {why}"),
        }
    }
    Err(Asked::NoAnswer(last))
}

async fn ask_one(
    address: &str,
    hello: &pb::Hello,
    applicant: &Applicant,
    limit: Duration,
) -> Result<JoinResponse, Asked> {
    let channel = peer::connect(address).map_err(Asked::Refused)?;
    let request = JoinRequest {
        hello: Some(hello.clone()),
        endpoints: Some(applicant.endpoints.clone()),
        rack: applicant.rack.clone(),
    };
    let mut calls = peer::client(channel);
    peer::call(limit, calls.join(request))
        .await
        .map_err(|error| match error {
            peer::CallError::Refused(why) => Asked::Refused(why),
            other => Asked::NoAnswer(other.to_string()),
        })
}

/// Keeps the addresses of the others, as the metadata has them as of its entry `applied`, so that a
/// restart finds them before the metadata is there.
pub(super) fn remember_addresses(
    dir: &dyn Dir,
    members: &[pb::Member],
    applied: LogIndex,
) -> Result<(), String> {
    let book = pb::AddressBook {
        members: members.to_vec(),
        applied: applied.0,
    };
    write_file(dir, ADDRESSES_FILE, &book.encode_to_vec()).map_err(|error| error.to_string())
}

/// The addresses kept by [`remember_addresses`].
pub(super) fn remembered_addresses(dir: &dyn Dir) -> Result<pb::AddressBook, String> {
    let read = read_file(dir, ADDRESSES_FILE).map_err(|error| match error {
        SmallFileError::Damaged { file, reason } => format!(
            "the file {file} is damaged: {reason}; it only says where the other brokers are: remove \
             it if there are none, or put that of another broker of the cluster in its place"
        ),
        other => other.to_string(),
    })?;
    let Some(bytes) = read else {
        return Ok(pb::AddressBook::default());
    };
    pb::AddressBook::decode(bytes.as_slice())
        .map_err(|error| format!("the file {ADDRESSES_FILE} does not parse: {error}"))
}

#[cfg(test)]
mod tests;
