//! Looks for the others where the settings say that they are, while a broker is not registered. Those
//! whose addresses it knows from before may have others now; whoever answers says who it is and
//! where it is reached, and learns the same of this broker.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::join_all;
use highwater_proto::pb::peer::PingRequest;

use crate::peer;
use crate::service::Services;

const ROUND: Duration = Duration::from_millis(250);
const LIMIT: Duration = Duration::from_secs(1);

/// Does `work`, and meanwhile asks at all `addresses`, again and again.
pub(super) async fn beside<T>(
    work: impl Future<Output = T>,
    services: &Services,
    addresses: &[String],
) -> T {
    tokio::select! {
        done = work => done,
        never = seek(services, addresses) => match never {},
    }
}

async fn seek(services: &Services, addresses: &[String]) -> Infallible {
    loop {
        join_all(addresses.iter().map(|address| ask(services, address))).await;
        tokio::time::sleep(ROUND).await;
    }
}

/// A new connection each time: behind one name there may be several brokers.
async fn ask(services: &Services, address: &str) {
    let Ok(channel) = peer::connect(address) else {
        return;
    };
    let ping = PingRequest {
        hello: Some(services.me.hello()),
        peer: services.peers.address().to_owned(),
        ..PingRequest::default()
    };
    let Ok(answer) = peer::call(LIMIT, peer::client(channel).ping(ping)).await else {
        return;
    };
    if let Ok(broker) = services.me.admit(answer.hello.as_ref()) {
        services.hear_address(broker, &answer.peer);
    }
}
