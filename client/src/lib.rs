//! The Highwater client: produce, consume and administer.
//!
//! ```no_run
//! # async fn example() -> highwater_client::Result<()> {
//! use highwater_client::{Client, Record};
//!
//! let client = Client::connect("localhost:7654").await?;
//! let clicks = client.producer("clicks").build().await?;
//! let first = clicks.send(Record::new("v1").key("user-1")).await?; // waits for buffer space only
//! let second = clicks.send(Record::new("v2").key("user-2")).await?;
//! println!("{:?}", first.await?.offset); // durable
//! second.await?;
//! # Ok(())
//! # }
//! ```

mod admin;
mod channels;
mod client;
mod consumer;
mod entropy;
pub mod error;
mod metadata;
mod patience;
mod producer;
mod record;
mod request;
mod retry;
pub mod topic;
mod topology;

pub use admin::{Offsets, Position, TrimTo, Trimmed};
pub use client::{Client, ClientBuilder, DEFAULT_PORT};
pub use consumer::{
    CaughtUp, Consumer, ConsumerBatch, ConsumerBuilder, ConsumerRecord, ConsumerRecordViews,
    ConsumerRecords, Event, Freshness, Progress, ReadFrom, Start, Until,
};
pub use error::{Error, Result};
pub use highwater_proto::batch::{Codec, HeaderViews, RecordView};
pub use highwater_proto::reason::{Outcome, Reason};
pub use highwater_proto::{BrokerId, Offset, PartitionIndex, Timestamp};
pub use producer::{
    Ack, Deliveries, DeliveriesIntoIter, Delivery, Producer, ProducerBuilder, SendAllError,
    TrySendError,
};
pub use record::{Payload, Record};
pub use topic::{NewTopic, TopicChanges};
