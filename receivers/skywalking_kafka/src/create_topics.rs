//! Makes the topics that agents look for.
//!
//! The Java agent sends nothing before every topic that it knows exists. What exists stays as it is.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use tokio_util::sync::CancellationToken;
use weir_component::Context;

use crate::config::{Config, NewTopics};

/// How long Kafka may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time between two attempts.
const RETRY: Duration = Duration::from_secs(10);

/// Tries until every topic exists, or until `stop`. A topic that Kafka refuses for good is a warning each
/// time.
pub(crate) async fn create(config: Config, context: Context, stop: CancellationToken) {
    let Some(how) = config.create_topics.wanted() else { return };
    let mut missing = config.topics_to_create();
    let mut client = ClientConfig::new();
    config.properties.apply(&mut client);
    client.set("bootstrap.servers", config.brokers.join(",")).set("client.id", &config.client_id);
    config.security().apply(&mut client);
    let receiver = &context.id;
    loop {
        let answers = match client.create::<AdminClient<DefaultClientContext>>() {
            Ok(admin) => {
                let topics: Vec<NewTopic<'_>> = missing.iter().map(|name| new_topic(name, how)).collect();
                let options = AdminOptions::new().request_timeout(Some(PATIENCE));
                admin.create_topics(&topics, &options).await
            }
            Err(error) => Err(error),
        };
        match answers {
            Ok(answers) => {
                for answer in answers {
                    match answer {
                        Ok(topic) => {
                            tracing::info!(%receiver, topic, partitions = how.partitions, "topic created");
                            missing.retain(|name| *name != topic);
                        }
                        Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => {
                            missing.retain(|name| *name != topic);
                        }
                        Err((topic, error)) => {
                            tracing::warn!(%receiver, topic, %error, "the topic could not be created: trying again");
                        }
                    }
                }
            }
            Err(error) => tracing::warn!(%receiver, %error, "topics could not be created: trying again"),
        }
        if missing.is_empty() {
            return;
        }
        if tokio::time::timeout(RETRY, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

fn new_topic(name: &str, how: NewTopics) -> NewTopic<'_> {
    // -1 is the brokers' default.
    NewTopic::new(name, how.partitions, TopicReplication::Fixed(how.replication.unwrap_or(-1)))
}
