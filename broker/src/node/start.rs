//! The order in which a broker starts. Sockets are bound first, so that a taken port is found
//! before anything is written; HTTP is served at once, the others when there is something to serve.

use std::path::Path;
use std::sync::Arc;

use highwater_proto::pb::peer::Endpoints;
use highwater_proto::{Incarnation, LogIndex};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::audit::Audit;
use super::config::{Addresses, BrokerConfig, advertised};
use super::diverged::{end_of_metadata, why_ended};
use super::groups::Groups;
use super::identity::{Applicant, Membership, establish, remembered_addresses};
use super::probes::Probes;
use super::reconcile::Reconciler;
use super::register::register;
use super::scrub::Scrub;
use super::serve::{Sockets, serve};
use super::votes::open_hard_state;
use super::watching::{
    reaches_majority, watch_end, watch_leadership, watch_notes, watch_successors,
};
use super::{Bound, Broker, StartError, clock_file, compaction, controller, metrics_page, seek};
use crate::clock::{Clock, GuardedClock};
use crate::cluster::{Leaders, Liveness, Metadata, MetadataMachine, Takeover};
use crate::entropy;
use crate::listener::AllSlots;
use crate::listener::grpc::bind;
use crate::log::{Dir, DirLock, FsDir, MemDir, MeteredDir};
use crate::metrics::Metrics;
use crate::peer::Peers;
use crate::raft::suspicion::SuspicionConfig;
use crate::raft::{GroupId, Replicas, heartbeats};
use crate::service::{Bookmarks, Faults, Holding, Partitions, ProducerIds, Services};
use crate::tasks::Tasks;

/// Threads that sync files and do other blocking work.
const IO_THREADS: usize = 16;

/// What a broker keeps its data on.
pub(super) enum Storage {
    /// The data directory of the configuration.
    Disk,
    /// Memory, gone with the last handle of it. No thread is started for it, and none for pings: a
    /// test starts hundreds of brokers.
    Memory(MemDir),
}

impl Storage {
    /// The root of it, and the lock that keeps others off a data directory.
    fn open(self, path: &Path) -> Result<(Arc<dyn Dir>, Option<DirLock>), StartError> {
        let cannot = |error| StartError::no_access(path, &error);
        match self {
            Self::Disk => {
                let dir = FsDir::open(path, IO_THREADS).map_err(cannot)?;
                let lock = DirLock::acquire(path).map_err(cannot)?;
                Ok((Arc::new(dir), Some(lock)))
            }
            Self::Memory(dir) => Ok((Arc::new(dir), None)),
        }
    }
}

/// Starts on a machine with the clocks `wall`, in the run of its kernel named `boot`.
pub(super) async fn start(
    config: BrokerConfig,
    storage: Storage,
    wall: Arc<dyn Clock>,
    boot: Vec<u8>,
) -> Result<Broker, StartError> {
    config.check(matches!(storage, Storage::Memory(_)))?;
    let addresses = config.addresses()?;
    let (sockets, http, bound) = listen(&addresses).await?;
    let (tasks, listeners) = (Tasks::new(), Tasks::new());
    // Nothing of a start that fails or is given up runs on.
    let guards = [&tasks, &listeners].map(Tasks::guard);
    let slots = AllSlots::of_process();
    let probes = Probes::default();
    probes.serve((http, slots.http.clone()), &listeners);
    let metrics = Arc::new(Metrics::new(metrics_page::methods()));
    let (root, lock) = storage.open(&config.data_dir)?;
    let root: Arc<dyn Dir> = Arc::new(MeteredDir::new(root, Arc::clone(&metrics)));
    let applicant = applicant(&config, &addresses, bound);
    let (failed, failure) = watch::channel(None);
    let parts = parts(
        &config,
        (root, metrics),
        (wall, boot),
        &applicant,
        tasks.clone(),
        failed,
    )
    .await?;
    let membership = parts.membership;
    let (services, replicas) = parts.open_metadata().await?;
    let settled = parts.run(&services, &replicas);
    probes.follow(
        settled.clone(),
        metrics_page::page(&config, &services, &settled),
    );
    serve(
        sockets,
        slots.clone(),
        (&services, &replicas),
        &listeners,
        lock.is_some(),
    )
    .map_err(|error| StartError::Group(error.to_string()))?;
    let registered = register(&services, &membership, &applicant);
    let registered = seek::beside(registered, &services, &config.join);
    if let Err(error) = until_begun(Box::pin(registered), settled, failure.clone()).await {
        let ended = why_ended(services.metadata.replica(), failure).await;
        drop(guards);
        slots.cut();
        return Err(ended.map_or(error, StartError::Group));
    }
    for guard in guards {
        guard.disarm();
    }
    Ok(Broker {
        services,
        replicas,
        bound,
        tasks,
        listeners,
        slots,
        failed: failure,
        _lock: lock,
    })
}

/// Finds out who this broker is, and makes what all of it is built from.
async fn parts(
    config: &BrokerConfig,
    (root, metrics): (Arc<dyn Dir>, Arc<Metrics>),
    (wall, boot): (Arc<dyn Clock>, Vec<u8>),
    applicant: &Applicant,
    tasks: Tasks,
    failed: watch::Sender<Option<String>>,
) -> Result<Parts, StartError> {
    let in_dir = |why: String| StartError::DataDir {
        path: config.data_dir.clone(),
        why,
    };
    let membership = identify(root.as_ref(), config, applicant).await?;
    let hard_state = open_hard_state(root.as_ref()).map_err(in_dir)?;
    let clock = Arc::new(clock_file::open(root.as_ref(), wall, boot).map_err(in_dir)?);
    tasks.spawn(clock_file::keep(Arc::clone(&root), Arc::clone(&clock)));
    let peers = Peers::new(membership.identity, tasks.clone());
    let peers = remembered(root.as_ref(), peers, applicant).map_err(in_dir)?;
    let groups = Arc::new(Groups {
        root,
        hard_state: Arc::new(hard_state),
        peers: Arc::clone(&peers),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        metrics: Arc::clone(&metrics),
    });
    Ok(Parts {
        membership,
        groups,
        peers,
        clock,
        metrics,
        tasks,
        failed,
        suspicion: SuspicionConfig::after(config.suspect_after),
    })
}

/// Waits until the broker is registered and all its replicas are open, or cannot go on.
async fn until_begun(
    registered: impl Future<Output = Result<(), String>>,
    mut settled: watch::Receiver<bool>,
    mut failing: watch::Receiver<Option<String>>,
) -> Result<(), StartError> {
    let failed = async {
        let why = failing.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone())
    };
    let begun = async {
        registered.await?;
        drop(settled.wait_for(|settled| *settled).await);
        Ok(())
    };
    tokio::select! {
        begun = begun => begun.map_err(StartError::Join),
        // After a failed sync, or without its metadata, it would wait in vain.
        Some(why) = failed => Err(StartError::Group(why)),
    }
}

async fn identify(
    root: &dyn Dir,
    config: &BrokerConfig,
    applicant: &Applicant,
) -> Result<Membership, StartError> {
    let incarnation = Incarnation::from_bytes(entropy::random());
    let fresh = entropy::random;
    let established = establish(root, incarnation, &config.join, applicant, fresh);
    established
        .await
        .map_err(|why| match config.join.is_empty() {
            true => StartError::DataDir {
                path: config.data_dir.clone(),
                why,
            },
            false => StartError::Join(why),
        })
}

async fn listen(addresses: &Addresses) -> Result<(Sockets, TcpListener, Bound), StartError> {
    let take = async |name: &'static str, address: std::net::SocketAddr| {
        let listener = bind(&address.to_string()).await;
        let listener = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let address = address.to_string();
        listener.map_err(|source| StartError::Listen {
            name,
            address,
            source,
        })
    };
    let (listen_at, listen) = take("listen", addresses.listen).await?;
    let (peer_at, peer) = take("peer_listen", addresses.peer).await?;
    let (http_at, http) = take("http_listen", addresses.http).await?;
    let bound = Bound {
        listen: listen_at,
        peer: peer_at,
        http: http_at,
    };
    Ok((Sockets { listen, peer }, http, bound))
}

fn applicant(config: &BrokerConfig, addresses: &Addresses, bound: Bound) -> Applicant {
    let host = addresses.advertise.as_deref();
    let endpoints = Endpoints {
        listen: advertised(bound.listen, host),
        peer: advertised(bound.peer, host),
        http: advertised(bound.http, host),
    };
    Applicant {
        endpoints,
        rack: config.rack.clone(),
    }
}

/// Begins with the addresses that the others had when this broker last ran.
fn remembered(root: &dyn Dir, peers: Peers, me: &Applicant) -> Result<Arc<Peers>, String> {
    let peers = peers.reached_at(me.endpoints.peer.clone());
    let book = remembered_addresses(root)?;
    let address = |member: highwater_proto::pb::peer::Member| {
        let peer = member.endpoints?.peer;
        Some((highwater_proto::BrokerId(member.broker_id), peer))
    };
    let addresses = book.members.into_iter().filter_map(address).collect();
    peers.update(&addresses, LogIndex(book.applied));
    Ok(Arc::new(peers))
}

/// What the parts of a broker are built from.
struct Parts {
    membership: Membership,
    groups: Arc<Groups>,
    peers: Arc<Peers>,
    clock: Arc<GuardedClock>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    failed: watch::Sender<Option<String>>,
    suspicion: SuspicionConfig,
}

impl Parts {
    /// Opens the replica of the metadata group, and the services around it.
    async fn open_metadata(&self) -> Result<(Arc<Services>, Arc<Replicas>), StartError> {
        watch_notes(&self.groups.hard_state, self.failed.clone());
        let me = self.membership.identity;
        let first_version = u64::try_from(self.clock.now().0).unwrap_or(1);
        let leaders = Arc::new(Leaders::new(me.broker, first_version));
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let counts = self.membership.founder || !self.clock.is_new();
        let liveness = Liveness::new(
            me,
            self.suspicion,
            (Arc::clone(&self.clock), counts),
            Arc::clone(&self.metrics),
        );
        let (machine, published) = MetadataMachine::new();
        let id = self.membership.metadata_replica;
        self.groups
            .repair_metadata(id)
            .await
            .map_err(StartError::Group)?;
        let replica = self
            .groups
            .open(GroupId::Metadata, id, None, Box::new(machine), &self.tasks)
            .await
            .map_err(|error| StartError::Group(error.to_string()))?;
        if self.membership.founder {
            let begun = replica.initialize([(id, me.broker)]).await;
            begun.map_err(|error| StartError::Group(error.to_string()))?;
        }
        let metadata = Metadata::new(
            replica.clone(),
            published,
            Arc::clone(&leaders),
            Arc::clone(&self.peers),
            Arc::clone(&clock),
        );
        let services = Arc::new(Services {
            me,
            metadata,
            leaders,
            liveness: Arc::new(liveness),
            peers: Arc::clone(&self.peers),
            partitions: Arc::new(Partitions::default()),
            holding: Holding::default(),
            producer_ids: ProducerIds::default(),
            faults: Faults::default(),
            bookmarks: Bookmarks::default(),
            tasks: self.tasks.clone(),
            metrics: Arc::clone(&self.metrics),
            clock,
            random: entropy::random,
        });
        let replicas = Arc::new(Replicas::default());
        replicas.insert(replica.clone());
        watch_leadership(&replica, &services, &self.tasks);
        Ok((services, replicas))
    }

    /// Starts what runs beside the listeners; the result tells when all replicas are open.
    fn run(&self, services: &Arc<Services>, replicas: &Arc<Replicas>) -> watch::Receiver<bool> {
        let takeover = Takeover {
            replicas: Arc::clone(replicas),
            peers: Arc::clone(&self.peers),
            liveness: Arc::clone(&services.liveness),
            leaders: Arc::clone(&services.leaders),
        };
        self.tasks.spawn(takeover.run());
        let reaches = reaches_majority(Arc::clone(&services.liveness));
        self.tasks
            .spawn(heartbeats::run(Arc::clone(replicas), reaches));
        watch_successors(services, &self.tasks);
        self.tasks.spawn(controller::run(Arc::clone(services)));
        self.tasks.spawn(compaction::run(Arc::clone(services)));
        let (settled, is_settled) = watch::channel(false);
        let reconciler = Reconciler::new(
            Arc::clone(services),
            Arc::clone(replicas),
            Arc::clone(&self.groups),
            self.tasks.clone(),
            self.failed.clone(),
            settled,
        );
        let scrub = Scrub {
            replicas: Arc::clone(replicas),
            root: Arc::clone(&self.groups.root),
            ending: reconciler.ending(),
            failed: self.failed.clone(),
        };
        self.tasks.spawn(scrub.run());
        let metadata = services.metadata.replica();
        let diverged = end_of_metadata(&self.groups, metadata, &self.failed, &self.tasks);
        let audit = Audit {
            replicas: Arc::clone(replicas),
            peers: Arc::clone(&self.peers),
            ending: reconciler.ending(),
            metadata: diverged.clone(),
        };
        watch_end(metadata, diverged, self.failed.clone(), &self.tasks);
        self.tasks.spawn(audit.run());
        self.tasks.spawn(reconciler.run());
        is_settled
    }
}
