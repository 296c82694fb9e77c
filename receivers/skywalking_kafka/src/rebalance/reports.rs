//! Log lines and errors about partitions that come and go.

use rdkafka::error::KafkaError;
use weir_component::delivery::Unreadable;
use weir_component::{LogLimit, ReceiverError, ReceiverHost};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::rebalance::start_offsets::{Start, StartTrouble};
use crate::topics::{Place, TopicSet};

/// Reports of one receiver about its partitions.
pub(crate) struct Reports<'a> {
    config: &'a Config,
    host: &'a ReceiverHost,
    topics: TopicSet,
    metrics: Metrics,
    log: LogLimit,
}

impl<'a> Reports<'a> {
    pub(crate) fn new(
        config: &'a Config,
        host: &'a ReceiverHost,
        topics: TopicSet,
        metrics: Metrics,
    ) -> Reports<'a> {
        Reports { config, host, topics, metrics, log: LogLimit::every_ms(10_000) }
    }

    pub(crate) fn assigned(&self, partitions: &[Place]) {
        let (receiver, partitions) = (&self.host.context.id, self.topics.text(partitions));
        tracing::info!(%receiver, partitions, "partitions assigned");
    }

    pub(crate) fn revoked(&self, partitions: &[Place], lost: bool) {
        let (receiver, partitions) = (&self.host.context.id, self.topics.text(partitions));
        tracing::info!(%receiver, partitions, lost, "partitions revoked");
    }

    /// `drained`: within the deadline.
    pub(crate) fn lanes_ended(&self, partitions: &[Place], drained: bool) {
        let (receiver, partitions) = (&self.host.context.id, self.topics.text(partitions));
        tracing::debug!(%receiver, partitions, drained, "lanes have ended: committing");
    }

    /// `committed`: within the deadline.
    pub(crate) fn given_up(&self, partitions: &[Place], committed: bool) {
        let (receiver, partitions) = (&self.host.context.id, self.topics.text(partitions));
        tracing::debug!(%receiver, partitions, committed, "partitions given up");
    }

    /// Kafka does not say where to begin in a partition.
    pub(crate) fn no_answer(&self, place: Place, error: &KafkaError) {
        if let Some(suppressed) = self.log.allow(self.host.context.clock.now_ms()) {
            let (receiver, topic) = (&self.host.context.id, self.topics.name(place.topic));
            let partition = place.partition;
            tracing::warn!(
                %receiver, %topic, partition, %error, suppressed,
                "Kafka does not say where to begin: retrying; windows wait for this partition"
            );
        }
    }

    /// The gateway has only part of this topic, against the settings.
    pub(crate) fn part_of_the_topic(&self, topic: usize, owned: usize, partitions: Option<i32>) {
        let (receiver, topic) = (&self.host.context.id, self.topics.name(topic));
        tracing::error!(
            %receiver, %topic, owned, partitions,
            "this gateway has only part of the topic, so each partition's windows are apart (column `shard`) and thresholds see \
             parts: let one gateway read the topic, or set `windows: partition` to say that this is wanted"
        );
    }

    /// The metadata of a partition are of another version of the program.
    pub(crate) fn unreadable(&self, place: Place, error: &Unreadable) -> ReceiverError {
        ReceiverError::new(format!(
            "receiver `{}`: group `{}` of topic `{}`: partition {}: {error}; run the version of Weir that wrote it, or \
             give this one another group_id",
            self.host.context.id,
            self.config.group_id,
            self.topics.name(place.topic),
            place.partition
        ))
    }

    /// The fault in the committed offset of a partition, if there is one. Counts lost records.
    pub(crate) fn start(&self, place: Place, start: &Start) {
        let (receiver, topic, offset) = (&self.host.context.id, self.topics.name(place.topic), start.offset);
        let partition = place.partition;
        match &start.trouble {
            None => {}
            Some(StartTrouble::Deleted(records)) => {
                self.metrics.lost.inc_by(records.unsigned_abs());
                tracing::error!(
                    %receiver, %topic, partition, offset, records,
                    "records were deleted before they were read: the topic's retention is too short for this outage"
                );
            }
            Some(StartTrouble::CreatedAgain) => tracing::error!(
                %receiver, %topic, partition, offset,
                "the topic was created again since its offset was committed: it is read from its beginning"
            ),
            Some(StartTrouble::Truncated) => tracing::error!(
                %receiver, %topic, partition,
                "the partition lost records that had been read (unclean leader election): reading it to find out from where on"
            ),
            Some(StartTrouble::TruncatedAt(place)) => tracing::error!(
                %receiver, %topic, partition, offset, place,
                "the partition lost records that had been read (unclean leader election): records from `place` on are new"
            ),
            Some(StartTrouble::Foreign(text)) => tracing::warn!(
                %receiver, %topic, partition, offset, text,
                "another program wrote something beside the committed offset: reading begins there, and nothing is known of what \
                 was exported before"
            ),
        }
    }
}
