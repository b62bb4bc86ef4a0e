//! What a produce session sends, as the body of its call. A batch goes to the socket from where it was
//! built: gRPC's own encoder would copy each into a new buffer first.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use highwater_proto::pb::v1;
use http_body::{Body, Frame};
use prost::Message;
use tokio::sync::mpsc;

/// The key of field 1000 of `ProduceSessionRequest`, the batch, which is its last: bytes with a length.
const BATCH_KEY: [u8; 2] = [0xc2, 0x3e];
/// gRPC's prefix of a message: not compressed, and the length.
const PREFIX: usize = 1 + 4;
/// The most bytes of a length.
const LEN: usize = 10;
/// A smaller batch is copied: that costs less than a frame of its own.
const COPIED: usize = 16 << 10;

/// The messages of a session, in the order in which they are given; the body ends when nobody can
/// give more.
#[derive(Debug)]
pub(crate) struct Batches {
    requests: mpsc::UnboundedReceiver<v1::ProduceSessionRequest>,
    /// The batch of the message that was begun.
    batch: Bytes,
}

impl Batches {
    pub(crate) fn new(requests: mpsc::UnboundedReceiver<v1::ProduceSessionRequest>) -> Self {
        Self {
            requests,
            batch: Bytes::new(),
        }
    }
}

impl Body for Batches {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            return Poll::Ready(Some(Ok(Frame::data(batch))));
        }
        let Some(request) = ready!(self.requests.poll_recv(cx)) else {
            return Poll::Ready(None);
        };
        let (head, batch) = framed(request);
        self.batch = batch;
        Poll::Ready(Some(Ok(Frame::data(head))))
    }
}

/// The message as gRPC sends it: its beginning, and the batch, unless that is part of the beginning.
fn framed(mut request: v1::ProduceSessionRequest) -> (Bytes, Bytes) {
    let mut batch = std::mem::take(&mut request.batch);
    let copied = if batch.len() < COPIED { batch.len() } else { 0 };
    let fields = request.encode_to_vec();
    let mut head = BytesMut::with_capacity(PREFIX + fields.len() + BATCH_KEY.len() + LEN + copied);
    head.put_bytes(0, PREFIX);
    head.put_slice(&fields);
    if !batch.is_empty() {
        head.put_slice(&BATCH_KEY);
        // There is room: a buffer of this kind grows.
        let _ = prost::encode_length_delimiter(batch.len(), &mut head);
    }
    let len = head.len() - PREFIX + batch.len();
    // A batch has at most some MiB.
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    head[1..PREFIX].copy_from_slice(&len.to_be_bytes());
    head.put_slice(&batch.split_to(copied));
    (head.freeze(), batch)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn request(batch: usize) -> v1::ProduceSessionRequest {
        v1::ProduceSessionRequest {
            number: 300,
            topic: "t".to_owned(),
            topic_id: "id".to_owned(),
            partition: 7,
            cumulative_acks: false,
            batch: Bytes::from(vec![9; batch]),
        }
    }

    async fn frames(mut body: Batches) -> Vec<Bytes> {
        let mut frames = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let Ok(frame) = frame;
            frames.extend(frame.into_data());
        }
        frames
    }

    #[tokio::test]
    async fn each_message_is_what_protobuf_and_grpc_say() {
        for len in [0, 1, COPIED - 1, COPIED, 3 << 20] {
            let (requests, outgoing) = mpsc::unbounded_channel();
            requests.send(request(len)).unwrap();
            requests.send(request(0)).unwrap();
            drop(requests);
            let sent = frames(Batches::new(outgoing)).await.concat();
            let mut rest = &sent[..];
            for expected in [request(len), request(0)] {
                let (prefix, after) = rest.split_at(PREFIX);
                assert_eq!(prefix[0], 0, "not compressed");
                let len = u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize;
                let (message, after) = after.split_at(len);
                assert_eq!(message, expected.encode_to_vec());
                rest = after;
            }
            assert!(rest.is_empty());
        }
    }

    #[tokio::test]
    async fn a_large_batch_is_not_copied() {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let request = request(COPIED);
        let batch = request.batch.clone();
        requests.send(request).unwrap();
        drop(requests);
        let frames = frames(Batches::new(outgoing)).await;
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[1].as_ptr(), batch.as_ptr());
    }
}
