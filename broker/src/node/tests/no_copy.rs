//! What a fetch and a subscription hand to HTTP/2 is what the log gives its readers: slices of the maps
//! of its files (`log::tests::maps`), and no copy of them.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::Offset;
use highwater_proto::pb::v1;
use http::Request;
use http_body::Body;
use prost::Message;
use tokio::time::timeout;
use tower::ServiceExt;

use super::asking::{batch, config, create, send_batch, topic};
use super::*;
use crate::listener::grpc::log_service;

const COUNT: usize = 10;
/// Smaller ones are copied.
const LARGE: usize = 20 << 10;

/// Where each of the large parts begins in memory, and how long it is.
fn places<'a>(parts: impl Iterator<Item = &'a Bytes>) -> Vec<(*const u8, usize)> {
    let large = parts.filter(|part| part.len() >= LARGE);
    large.map(|part| (part.as_ptr(), part.len())).collect()
}

/// What the broker hands to HTTP/2 as the answer to a call, until all batches were there.
async fn handed(broker: &Broker, method: &str, request: impl Message) -> Vec<Bytes> {
    let request = request.encode_to_vec();
    let mut framed = vec![0, 0, 0, 0, request.len() as u8];
    framed.extend(request);
    // A body that is there as it is. These few bytes are ASCII.
    let body = String::from_utf8(framed).unwrap();
    let call = Request::post(format!("http://b/highwater.v1.LogService/{method}"));
    let call = call.body(body).unwrap();
    let service = log_service(Arc::clone(&broker.services));
    let mut answer = service.oneshot(call).await.unwrap().into_body();
    let mut parts = Vec::new();
    while places(parts.iter()).len() < COUNT {
        let frame = poll_fn(|context| Pin::new(&mut answer).poll_frame(context));
        let frame = timeout(LIMIT, frame).await.expect("it goes on");
        parts.push(frame.unwrap().unwrap().into_data().unwrap());
    }
    parts
}

#[tokio::test]
async fn batches_go_to_http2_from_where_the_log_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig {
        data_dir: dir.path().to_owned(),
        ..config()
    };
    let broker = Broker::start(config).await.unwrap();
    create(&broker, topic("t")).await;
    for value in 0..COUNT {
        let batch = batch(1, &vec![value as u8; LARGE], None);
        while !send_batch(&broker, "t", batch.clone()).await {
            tokio::task::yield_now().await;
        }
    }
    let partitions = broker.services.partitions.all();
    let reader = partitions.values().next().unwrap().replica().reader();
    let read = reader.read_committed(Offset(0), Offset(COUNT as u64), usize::MAX);
    let read = read.unwrap();
    let log = places(read.iter().map(|batch| &batch.bytes));
    assert_eq!(log.len(), COUNT);

    let request = v1::FetchRequest {
        topic: "t".to_owned(),
        batches: true,
        ..Default::default()
    };
    let fetched = handed(&broker, "Fetch", request).await;
    assert_eq!(places(fetched.iter()), log);

    let request = v1::SubscribeRequest {
        topic: "t".to_owned(),
        batches: true,
        ..Default::default()
    };
    let pushed = handed(&broker, "Subscribe", request).await;
    assert_eq!(places(pushed.iter()), log);
    drop((fetched, pushed, read));
    broker.shutdown().await;
}
