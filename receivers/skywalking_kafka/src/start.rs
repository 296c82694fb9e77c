//! Where reading begins in partitions that were just assigned.
//!
//! At the committed offset. Where there is none: a partition that appeared while this receiver ran begins at its
//! beginning, so that nothing is missed between its creation and its discovery; any other begins at `initial_offset`,
//! and with `latest` that place is committed at once, so that a restart before the first record does not skip what
//! came in between.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::config::InitialOffset;

/// How long Kafka may take for each question.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where reading begins in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the group's offset.
    Committed(i64),
    /// At its oldest record.
    Beginning,
    /// At what is produced from now on: this offset.
    End(i64),
}

impl Start {
    /// The offset, when it is known before reading.
    pub(crate) fn offset(self) -> Option<i64> {
        match self {
            Start::Committed(offset) | Start::End(offset) => Some(offset),
            Start::Beginning => None,
        }
    }

    fn to_kafka(self) -> Offset {
        self.offset().map_or(Offset::Beginning, Offset::Offset)
    }
}

/// The partitions that the topic had when the receiver first looked. Those with higher numbers are new.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known(Option<i32>);

impl Known {
    /// Where a partition without committed offset begins; `Err`: at its end, which has to be asked for.
    fn uncommitted(self, partition: i32, initial: InitialOffset) -> Result<Start, ()> {
        let new = self.0.is_some_and(|count| partition >= count);
        match initial {
            InitialOffset::Earliest => Ok(Start::Beginning),
            InitialOffset::Latest if new => Ok(Start::Beginning),
            InitialOffset::Latest => Err(()),
        }
    }
}

/// Asks Kafka where to begin. Waits for the answers.
///
/// # Errors
/// Kafka did not answer. To be tried again: nothing may be read before.
pub(crate) fn positions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    initial: InitialOffset,
    known: &mut Known,
) -> KafkaResult<BTreeMap<i32, Start>> {
    let mut starts = BTreeMap::new();
    if partitions.is_empty() {
        return Ok(starts);
    }
    if known.0.is_none() {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let count = found.map_or(0, |found| found.partitions().len());
        // An empty answer (the leader is being elected) says nothing about which partitions are old.
        known.0 = i32::try_from(count).ok().filter(|count| *count > 0);
    }
    let mut ends = TopicPartitionList::new();
    for element in consumer.committed_offsets(list(topic, partitions.iter().copied()), PATIENCE)?.elements() {
        element.error()?;
        let partition = element.partition();
        match element.offset() {
            Offset::Offset(offset) => {
                starts.insert(partition, Start::Committed(offset));
            }
            _ => match known.uncommitted(partition, initial) {
                Ok(start) => {
                    starts.insert(partition, start);
                }
                Err(()) => ends.add_partition_offset(topic, partition, Offset::End)?,
            },
        }
    }
    if ends.count() > 0 {
        // A "time" of `End` asks for the end (ListOffsets).
        for element in consumer.offsets_for_times(ends, PATIENCE)?.elements() {
            element.error()?;
            let Offset::Offset(end) = element.offset() else {
                return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset));
            };
            starts.insert(element.partition(), Start::End(end));
        }
    }
    Ok(starts)
}

/// These starts, as librdkafka takes them.
pub(crate) fn assignment(topic: &str, starts: &BTreeMap<i32, Start>) -> KafkaResult<TopicPartitionList> {
    let mut assignment = TopicPartitionList::with_capacity(starts.len());
    for (partition, start) in starts {
        assignment.add_partition_offset(topic, *partition, start.to_kafka())?;
    }
    Ok(assignment)
}

/// These partitions, as librdkafka takes them.
pub(crate) fn list(topic: &str, partitions: impl IntoIterator<Item = i32>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(topic, partition);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::topic_partition_list::TopicPartitionListElem;

    #[test]
    fn a_partition_that_appears_later_begins_at_its_beginning() {
        let known = Known(Some(4));
        assert_eq!(known.uncommitted(4, InitialOffset::Latest), Ok(Start::Beginning));
        assert_eq!(known.uncommitted(3, InitialOffset::Latest), Err(()));
        assert_eq!(known.uncommitted(3, InitialOffset::Earliest), Ok(Start::Beginning));
        assert_eq!(Known(None).uncommitted(9, InitialOffset::Latest), Err(()), "nothing is known to be new");
    }

    #[test]
    fn starts_become_offsets() {
        let starts = BTreeMap::from([(0, Start::Committed(7)), (1, Start::Beginning), (2, Start::End(9))]);
        let list = assignment("t", &starts).unwrap();
        let offsets: Vec<_> = list.elements().iter().map(TopicPartitionListElem::offset).collect();
        assert_eq!(offsets, [Offset::Offset(7), Offset::Beginning, Offset::Offset(9)]);
    }
}
