//! The partitions that librdkafka reads, and the answers to its rebalances.

use std::collections::BTreeSet;
use std::sync::Arc;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use weir_component::ReceiverError;
use weir_config::ComponentId;

use crate::consumer::context::KafkaContext;
use crate::topics::{Place, TopicSet};

/// A rebalance, which librdkafka waits to have answered.
#[derive(Clone)]
pub(crate) enum Rebalance {
    /// These partitions come.
    Assign(Vec<Place>),
    /// These partitions go. `lost`: they have gone already.
    Revoke {
        /// The partitions.
        partitions: Vec<Place>,
        /// Another member may have them already.
        lost: bool,
    },
}

/// The partitions that the client reads.
pub(crate) struct ClientAssignment<'a> {
    consumer: &'a Arc<BaseConsumer<KafkaContext>>,
    receiver: &'a ComponentId,
    topics: TopicSet,
    read: BTreeSet<Place>,
}

impl<'a> ClientAssignment<'a> {
    pub(crate) fn new(
        consumer: &'a Arc<BaseConsumer<KafkaContext>>,
        receiver: &'a ComponentId,
        topics: TopicSet,
    ) -> ClientAssignment<'a> {
        ClientAssignment { consumer, receiver, topics, read: BTreeSet::new() }
    }

    /// Reads these partitions from these offsets on.
    ///
    /// # Errors
    /// An offset that librdkafka does not know.
    pub(crate) fn assign(&mut self, starts: &[(Place, i64)]) -> Result<(), ReceiverError> {
        let list = with_offsets(&self.topics, starts).map_err(|error| {
            ReceiverError::new(format!("receiver `{}`: assigning partitions: {error}", self.receiver))
        })?;
        self.read.extend(starts.iter().map(|(partition, _)| *partition));
        self.log_error(self.consumer.incremental_assign(&list), "assigning partitions");
        Ok(())
    }

    /// Reads these partitions no more.
    pub(crate) fn unassign(&mut self, partitions: &[Place], why: &str) {
        let read = self.take(partitions);
        if !read.is_empty() {
            self.log_error(self.consumer.incremental_unassign(&self.list(&read)), why);
        }
    }

    /// Answers a rebalance. Assigned partitions are not read before they are [assigned](Self::assign) here.
    pub(crate) fn answer(&mut self, rebalance: &Rebalance) {
        let answer = match rebalance {
            Rebalance::Assign(_) => self.consumer.incremental_assign(&self.list(&[])),
            Rebalance::Revoke { partitions, .. } => {
                let read = self.take(partitions);
                self.consumer.incremental_unassign(&self.list(&read))
            }
        };
        self.log_error(answer, "answering a rebalance");
    }

    /// Those that librdkafka reads; it does not know the others.
    fn take(&mut self, partitions: &[Place]) -> Vec<Place> {
        partitions.iter().copied().filter(|partition| self.read.remove(partition)).collect()
    }

    fn list(&self, partitions: &[Place]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for Place { topic, partition } in partitions {
            list.add_partition(self.topics.name(*topic), *partition);
        }
        list
    }

    fn log_error(&self, answer: Result<(), KafkaError>, what: &str) {
        if let Err(error) = answer {
            let (receiver, topics) = (self.receiver, &self.topics);
            tracing::warn!(%receiver, %topics, %error, "the Kafka client reports an error when {what}");
        }
    }
}

fn with_offsets(topics: &TopicSet, starts: &[(Place, i64)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (Place { topic, partition }, offset) in starts {
        list.add_partition_offset(topics.name(*topic), *partition, Offset::Offset(*offset))?;
    }
    Ok(list)
}
