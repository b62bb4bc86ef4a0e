//! The record batch: Kafka's RecordBatch v2, the unit of everything.
