//! The listeners for clients and other brokers, and what runs on threads of its own beside them.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::listener::grpc::{Door, PeerApi, serve_bulk, serve_control, serve_public};
use crate::listener::{AllSlots, Slot, Slots};
use crate::raft::Replicas;
use crate::service::Services;
use crate::tasks::Tasks;

/// The sockets for clients and for other brokers, bound.
pub(super) struct Sockets {
    pub(super) listen: TcpListener,
    pub(super) peer: TcpListener,
}

/// Serves clients and other brokers until the broker stops.
pub(super) fn serve(
    sockets: Sockets,
    slots: AllSlots,
    (services, replicas): (&Arc<Services>, &Arc<Replicas>),
    listeners: &Tasks,
    own_thread: bool,
) -> std::io::Result<()> {
    let clients = (sockets.listen, slots.clients);
    let public = serve_public(clients, Arc::clone(services), stop(listeners));
    listeners.spawn(async move { report("clients", public.await) });
    let api = PeerApi::new(Arc::clone(services), Arc::clone(replicas));
    let (door, sorted) = Door::new();
    let bulk = serve_bulk(sorted.bulk, api.clone(), stop(listeners));
    listeners.spawn(async move { report("brokers", bulk.await) });
    let control = control(
        door,
        (sockets.peer, slots.peers),
        sorted.control,
        api,
        listeners,
    )?;
    match own_thread {
        true => listeners.dedicated("control", control),
        false => {
            listeners.spawn(control);
            Ok(())
        }
    }
}

/// What other brokers must see whatever this one is busy with runs on a thread of its own: pings,
/// their answers, votes, and the door that their connections come through.
fn control(
    door: Door,
    (listener, slots): (TcpListener, Slots),
    connections: mpsc::Receiver<(TcpStream, Slot)>,
    api: PeerApi,
    listeners: &Tasks,
) -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let listener = listener.into_std()?;
    let services = api.services();
    let (peers, leaders) = (Arc::clone(&services.peers), Arc::clone(&services.leaders));
    let pings = Arc::clone(&services.liveness).run(peers, leaders, services.tasks.clone());
    let opened = door.open(listener, slots, listeners.clone());
    let served = serve_control(connections, api, stop(listeners));
    Ok(async move {
        let opened = async { report("brokers", opened.await) };
        let served = async { report("brokers", served.await) };
        futures_util::future::join3(pings, opened, served).await;
    })
}

/// Resolves when the listeners are to stop.
fn stop(listeners: &Tasks) -> impl Future<Output = ()> + Send + use<> {
    let listeners = listeners.clone();
    async move { listeners.cancelled().await }
}

fn report<E: std::fmt::Display>(whom: &str, ended: Result<(), E>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the listener for {whom} ended");
    }
}
