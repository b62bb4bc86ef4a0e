//! Between a command and its broker: the broker's drains, except that one partition is always left to
//! hand over. So whoever waits for the end of a drain waits until it is cancelled.

use std::sync::Arc;

use highwater_proto::pb::v1::cluster_service_client::ClusterServiceClient;
use highwater_proto::pb::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use highwater_proto::pb::v1::{self, BrokerState};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use crate::api::soon;

/// Runs until it goes out of scope.
#[derive(Debug)]
pub struct Unfinished {
    address: String,
    asked: watch::Receiver<u64>,
    runtime: Runtime,
}

/// What is passed on, and how many calls about a drain were answered.
struct Between {
    address: String,
    broker: ClusterServiceClient<Channel>,
    asked: Arc<watch::Sender<u64>>,
}

impl Unfinished {
    /// Before the broker that listens at `broker`.
    #[track_caller]
    pub fn before(broker: &str) -> Self {
        let runtime = Runtime::new().expect("a runtime can be made");
        let endpoint = Channel::from_shared(format!("http://{broker}"));
        let endpoint = endpoint.expect("an address makes a URI");
        let (sender, asked) = watch::channel(0);
        let address = {
            let _inside = runtime.enter();
            let any = "127.0.0.1:0".parse().expect("an address");
            let listener = TcpIncoming::bind(any).expect("a port is free");
            let address = listener.local_addr().expect("it is bound").to_string();
            let between = Between {
                address: address.clone(),
                broker: ClusterServiceClient::new(endpoint.connect_lazy()),
                asked: Arc::new(sender),
            };
            let served = Server::builder().add_service(ClusterServiceServer::new(between));
            runtime.spawn(served.serve_with_incoming(listener));
            address
        };
        Self {
            address,
            asked,
            runtime,
        }
    }

    /// Where a command finds it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until a drain was begun and its caller has looked how far it is.
    #[track_caller]
    pub fn until_looked_at(&mut self) {
        let looked = self.asked.wait_for(|calls| *calls > 1);
        let looked = self.runtime.block_on(soon("a look at the drain", looked));
        looked.expect("it is served");
    }
}

fn left(state: BrokerState, leaderships: i32) -> i32 {
    leaderships.max(i32::from(state == BrokerState::Draining))
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ClusterService for Between {
    type WatchMetadataStream = tonic::Streaming<v1::WatchMetadataResponse>;

    async fn list_brokers(
        &self,
        request: Request<v1::ListBrokersRequest>,
    ) -> Answer<v1::ListBrokersResponse> {
        let mut answer = self.broker.clone().list_brokers(request).await?;
        for broker in &mut answer.get_mut().brokers {
            broker.listen.clone_from(&self.address);
        }
        Ok(answer)
    }

    async fn drain_broker(
        &self,
        request: Request<v1::DrainBrokerRequest>,
    ) -> Answer<v1::DrainBrokerResponse> {
        let mut answer = self.broker.clone().drain_broker(request).await?;
        let drain = answer.get_mut();
        drain.leaderships = left(drain.state(), drain.leaderships);
        self.asked.send_modify(|calls| *calls += 1);
        Ok(answer)
    }

    async fn get_drain(
        &self,
        request: Request<v1::GetDrainRequest>,
    ) -> Answer<v1::GetDrainResponse> {
        let mut answer = self.broker.clone().get_drain(request).await?;
        let drain = answer.get_mut();
        drain.leaderships = left(drain.state(), drain.leaderships);
        self.asked.send_modify(|calls| *calls += 1);
        Ok(answer)
    }

    async fn get_cluster(
        &self,
        request: Request<v1::GetClusterRequest>,
    ) -> Answer<v1::GetClusterResponse> {
        self.broker.clone().get_cluster(request).await
    }

    async fn get_metadata(
        &self,
        request: Request<v1::GetMetadataRequest>,
    ) -> Answer<v1::GetMetadataResponse> {
        self.broker.clone().get_metadata(request).await
    }

    async fn watch_metadata(
        &self,
        request: Request<v1::WatchMetadataRequest>,
    ) -> Answer<Self::WatchMetadataStream> {
        self.broker.clone().watch_metadata(request).await
    }
}
