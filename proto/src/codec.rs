//! How gRPC encodes and decodes messages: by prost, and what clients send is weighed before.

use std::marker::PhantomData;

use bytes::Buf;
use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

use crate::weight::{MAX_WEIGHT, heavy_fields, weight};

/// The codec of all calls.
#[derive(Debug)]
pub struct Weighing<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Weighing<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Weighing<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = WeighingDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        WeighingDecoder(ProstDecoder::default())
    }
}

/// Decodes what takes no more than 32 MiB of memory; anything else is OUT_OF_RANGE, as a message is
/// that has too many bytes.
#[derive(Debug)]
pub struct WeighingDecoder<U>(ProstDecoder<U>);

impl<U: Message + Name + Default> Decoder for WeighingDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let Some(fields) = heavy_fields(U::PACKAGE, U::NAME) else {
            return self.0.decode(buffer);
        };
        let message = buffer.copy_to_bytes(buffer.remaining());
        let found = weight(fields, &message);
        if found > MAX_WEIGHT {
            return Err(Status::out_of_range(format!(
                "its {} bytes hold so many values that they take {found} bytes of memory, the limit \
                 is {MAX_WEIGHT}",
                message.len()
            )));
        }
        let decoded = U::decode(message).map(Some);
        decoded.map_err(|error| Status::internal(error.to_string()))
    }
}
