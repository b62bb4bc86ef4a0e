//! Calls about topics: making, changing, trimming and deleting them.

use highwater_proto::pb::v1;

use super::{Answer, Api, Refusal, soon};

impl Api {
    /// Creates a topic, with settings, and gives its id once its leaders answer.
    pub async fn create(&self, name: &str, partitions: i32, config: &[(&str, &str)]) -> String {
        let request = v1::CreateTopicRequest {
            name: name.to_owned(),
            partition_count: Some(partitions),
            replication_factor: None,
            config: config
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let created = self.create_topic(request).await;
        let id = created.expect("a topic can be created").id;
        for partition in 0..partitions {
            self.high_watermark(name, partition).await;
        }
        id
    }

    /// Creates a topic.
    pub async fn create_topic(&self, request: v1::CreateTopicRequest) -> Answer<v1::Topic> {
        let mut topics = self.topics.clone();
        let created = soon("CreateTopic", topics.create_topic(request)).await?;
        Ok(created.into_inner().topic.expect("the topic is told"))
    }

    /// Describes a topic.
    pub async fn describe(&self, name: &str) -> Answer<v1::DescribeTopicResponse> {
        let name = name.to_owned();
        let mut topics = self.topics.clone();
        let request = v1::DescribeTopicRequest { name };
        let described = soon("DescribeTopic", topics.describe_topic(request)).await?;
        Ok(described.into_inner())
    }

    /// Changes settings of a topic.
    pub async fn alter(&self, request: v1::AlterTopicRequest) -> Answer<v1::AlterTopicResponse> {
        let mut topics = self.topics.clone();
        let altered = soon("AlterTopic", topics.alter_topic(request)).await?;
        Ok(altered.into_inner())
    }

    /// Deletes a topic.
    pub async fn delete(&self, name: &str, topic_id: &str) -> Answer<String> {
        let request = v1::DeleteTopicRequest {
            name: name.to_owned(),
            topic_id: topic_id.to_owned(),
        };
        let mut topics = self.topics.clone();
        let deleted = soon("DeleteTopic", topics.delete_topic(request)).await?;
        Ok(deleted.into_inner().topic_id)
    }

    /// Whether the broker tells of a topic: by name, and for routing.
    pub async fn tells(&self, name: &str) -> [Answer<()>; 2] {
        let topics = vec![name.to_owned()];
        let mut cluster = self.cluster.clone();
        let asked = cluster.get_metadata(v1::GetMetadataRequest { topics });
        let routed = soon("GetMetadata", asked).await;
        let routed = routed.map(drop).map_err(Refusal::from);
        [self.describe(name).await.map(drop), routed]
    }

    /// The names of all topics.
    pub async fn topic_names(&self) -> Vec<String> {
        let mut topics = self.topics.clone();
        let listed = soon("ListTopics", topics.list_topics(v1::ListTopicsRequest {})).await;
        let listed = listed.expect("topics can be listed").into_inner().topics;
        listed.into_iter().map(|topic| topic.name).collect()
    }

    /// Deletes the beginning of a partition; asks again while there is no leader that can answer.
    pub async fn trim(
        &self,
        topic: &str,
        partition: i32,
        to: Option<v1::trim_partition_request::To>,
        dry_run: bool,
    ) -> Answer<v1::TrimPartitionResponse> {
        let request = v1::TrimPartitionRequest {
            topic: topic.to_owned(),
            partition,
            to,
            dry_run,
            ..v1::TrimPartitionRequest::default()
        };
        let ask = || async {
            let mut topics = self.topics.clone();
            let trimmed = soon("TrimPartition", topics.trim_partition(request.clone())).await?;
            Ok(trimmed.into_inner())
        };
        self.led(ask).await
    }
}
