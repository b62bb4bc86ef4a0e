//! Answers that carry batches, as the body of their call. A batch goes to the socket from where it
//! lies, a slice of a mapped file: gRPC's own encoder would copy each into a buffer that grows.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use highwater_proto::pb::v1;
use http::HeaderMap;
use http_body::{Body, Frame};
use prost::Message;
use tonic::Status;

/// The key of field 1000, bytes with a length: the batches of an answer, and the bytes of a batch.
const KEY: [u8; 2] = [0xc2, 0x3e];
/// gRPC's prefix of a message: not compressed, and the length.
const PREFIX: usize = 1 + 4;
/// A smaller batch is copied: that costs less than a frame of its own.
const COPIED: usize = 16 << 10;

/// A message whose last field is `repeated AppendedBatch batches = 1000`.
pub(super) trait Batches: Message {
    /// Its batches, which it is then without.
    fn take(&mut self) -> Vec<v1::AppendedBatch>;
}

impl Batches for v1::SubscribeResponse {
    fn take(&mut self) -> Vec<v1::AppendedBatch> {
        std::mem::take(&mut self.batches)
    }
}

impl Batches for v1::FetchResponse {
    fn take(&mut self) -> Vec<v1::AppendedBatch> {
        std::mem::take(&mut self.batches)
    }
}

/// The messages of an answer and the status behind them. The next message is asked for when all of the
/// one before was taken.
#[derive(Debug)]
pub(super) struct Answer<S> {
    messages: S,
    /// What is left of the message that was begun.
    parts: std::vec::IntoIter<Bytes>,
    ended: bool,
}

impl<S> Answer<S> {
    pub(super) fn new(messages: S) -> Self {
        Self {
            messages,
            parts: Vec::new().into_iter(),
            ended: false,
        }
    }
}

impl<S, M> Body for Answer<S>
where
    S: Stream<Item = Result<M, Status>> + Unpin,
    M: Batches,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(part) = self.parts.next() {
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let next = Pin::new(&mut self.messages).poll_next(context);
            let status = match ready!(next) {
                Some(Ok(message)) => {
                    self.parts = framed(message).into_iter();
                    continue;
                }
                Some(Err(status)) => status,
                None => Status::ok(""),
            };
            self.ended = true;
            let mut trailers = HeaderMap::new();
            let said = status.add_header(&mut trailers);
            return Poll::Ready(Some(said.map(|()| Frame::trailers(trailers))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// The message as gRPC sends it: in one part, or two more for each batch that is not copied.
fn framed(mut message: impl Batches) -> Vec<Bytes> {
    let len = message.encoded_len();
    let batches = message.take();
    let sliced = batches.iter().map(|batch| batch.batch.len());
    let sliced: usize = sliced.filter(|len| *len >= COPIED).sum();
    // All but the slices fits, so that it never has to grow.
    let mut head = BytesMut::with_capacity(PREFIX + len - sliced);
    head.put_u8(0);
    // Some MiB at most.
    head.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    put(&message, &mut head);
    let mut parts = Vec::new();
    for mut batch in batches {
        head.put_slice(&KEY);
        put_len(batch.encoded_len(), &mut head);
        if batch.batch.len() < COPIED {
            put(&batch, &mut head);
            continue;
        }
        let bytes = std::mem::take(&mut batch.batch);
        put(&batch, &mut head);
        head.put_slice(&KEY);
        put_len(bytes.len(), &mut head);
        parts.extend([head.split().freeze(), bytes]);
    }
    if !head.is_empty() {
        parts.push(head.freeze());
    }
    parts
}

fn put(message: &impl Message, into: &mut BytesMut) {
    // There is room: a buffer of this kind grows.
    let _ = message.encode(into);
}

fn put_len(len: usize, into: &mut BytesMut) {
    // As above.
    let _ = prost::encode_length_delimiter(len, into);
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::{FutureExt, stream};
    use highwater_proto::Reason;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::super::status::status;
    use super::*;
    use crate::service::Error;

    /// Batches of these sizes.
    fn batches(sizes: &[usize]) -> Vec<v1::AppendedBatch> {
        let batch = |(number, size): (usize, &usize)| v1::AppendedBatch {
            append_time: number as i64 * 1_000_000,
            batch: Bytes::from(vec![number as u8; *size]),
        };
        sizes.iter().enumerate().map(batch).collect()
    }

    fn pushed(sizes: &[usize]) -> v1::SubscribeResponse {
        v1::SubscribeResponse {
            topic_id: "id".to_owned(),
            next_offset: 1 << 40,
            follower: true,
            batches: batches(sizes),
            ..v1::SubscribeResponse::default()
        }
    }

    fn fetched(sizes: &[usize]) -> v1::FetchResponse {
        v1::FetchResponse {
            cluster_id: "c".to_owned(),
            records: vec![v1::Record::default(); 2],
            batches: batches(sizes),
            ..v1::FetchResponse::default()
        }
    }

    async fn next<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Option<Frame<Bytes>> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        frame.map(|frame| frame.ok().unwrap())
    }

    /// All data of the messages, in frames, and the trailers behind them.
    async fn sent<M: Batches>(messages: Vec<Result<M, Status>>) -> (Vec<Bytes>, HeaderMap) {
        let mut body = Answer::new(stream::iter(messages));
        let mut data = Vec::new();
        while let Some(frame) = next(&mut body).await {
            match frame.into_data() {
                Ok(part) => data.push(part),
                Err(frame) => {
                    assert!(body.is_end_stream() && next(&mut body).await.is_none());
                    return (data, frame.into_trailers().unwrap());
                }
            }
            assert!(!body.is_end_stream());
        }
        panic!("there were no trailers");
    }

    /// What is sent is what gRPC's own encoder makes of the same messages.
    async fn is_what_grpc_sends<M: Batches + Default + Clone + PartialEq>(messages: [M; 2]) {
        let (sent, trailers) = sent(messages.iter().cloned().map(Ok).collect()).await;
        assert_eq!(trailers["grpc-status"], "0");
        let sent = sent.concat();
        let mut rest = &sent[..];
        for expected in messages {
            let (prefix, after) = rest.split_at(PREFIX);
            assert_eq!(prefix[0], 0, "not compressed");
            let len = u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize;
            let (message, after) = after.split_at(len);
            assert_eq!(message, expected.encode_to_vec());
            assert!(M::decode(message).unwrap() == expected);
            rest = after;
        }
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn each_message_is_what_protobuf_and_grpc_say() {
        let many: Vec<usize> = (0..300).map(|number| number * 100).collect();
        for sizes in [
            &[][..],
            &[0],
            &[1],
            &[COPIED - 1],
            &[COPIED],
            &[3 << 20],
            &[0, COPIED, 0],
            &[COPIED, COPIED + 1, 5, 6, COPIED],
            &many,
        ] {
            is_what_grpc_sends([pushed(sizes), pushed(&[7])]).await;
            is_what_grpc_sends([fetched(&[]), fetched(sizes)]).await;
        }
        is_what_grpc_sends([v1::FetchResponse::default(), fetched(&[])]).await;
    }

    #[tokio::test]
    async fn large_batches_are_not_copied_and_small_ones_share_a_frame() {
        let message = pushed(&[10, COPIED, 20, 30, COPIED + 1, 40]);
        let large = [&message.batches[1].batch, &message.batches[4].batch].map(Bytes::clone);
        let (frames, _) = sent(vec![Ok(message)]).await;
        assert_eq!(frames.len(), 5);
        for (frame, batch) in [&frames[1], &frames[3]].into_iter().zip(&large) {
            assert_eq!((frame.as_ptr(), frame.len()), (batch.as_ptr(), batch.len()));
        }
        let (frames, _) = sent(vec![Ok(pushed(&[1000; 250]))]).await;
        assert_eq!(frames.len(), 1);
    }

    #[tokio::test]
    async fn a_status_behind_messages_arrives_with_its_details() {
        let refused = status(&Error::new(Reason::Stale, "not fresh: 5 > 3 %"));
        let messages = vec![Ok(pushed(&[COPIED])), Err(refused.clone())];
        let (frames, trailers) = sent(messages).await;
        assert_eq!(frames.len(), 2);
        let found = Status::from_header_map(&trailers).unwrap();
        assert_eq!(found.code(), refused.code());
        assert_eq!(found.message(), refused.message());
        assert_eq!(found.details(), refused.details());
    }

    #[tokio::test]
    async fn a_message_is_asked_for_when_the_one_before_was_taken() {
        let (messages, outgoing) = mpsc::channel(1);
        let mut body = Answer::new(ReceiverStream::new(outgoing));
        assert!(next(&mut body).now_or_never().is_none());
        messages.try_send(Ok(pushed(&[COPIED, COPIED]))).unwrap();
        next(&mut body).await.unwrap().into_data().unwrap();
        messages.try_send(Ok(pushed(&[]))).unwrap();
        for _ in 1..4 {
            next(&mut body).await.unwrap().into_data().unwrap();
            assert_eq!(messages.capacity(), 0, "the second message waits");
        }
        next(&mut body).await.unwrap().into_data().unwrap();
        assert_eq!(messages.capacity(), 1);
        drop(body);
        assert!(messages.is_closed());
    }
}
