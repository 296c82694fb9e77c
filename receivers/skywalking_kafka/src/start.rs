//! Where reading begins in partitions that were just assigned, and what earlier owners wrote down about them.
//!
//! At the committed offset. Where there is none: a partition that appeared while this receiver ran begins at its
//! beginning, so that nothing is missed between its creation and its discovery; any other begins at `initial_offset`.
//!
//! A committed offset that the partition does not have: below its first record, records were deleted before they were
//! read; beyond its end, the topic was created again, and its positions count anew.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use weir_component::delivery::{Metadata, Unreadable};

use crate::config::InitialOffset;

/// How long Kafka may take for each question.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where reading begins in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The offset.
    pub(crate) offset: i64,
    /// What an earlier owner wrote down.
    pub(crate) metadata: Metadata,
    /// What is wrong with the committed offset.
    pub(crate) trouble: Option<Trouble>,
}

/// The partition does not have its committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// So many records were deleted before they were read.
    Deleted(i64),
    /// The topic was created again.
    CreatedAgain,
}

/// Why reading cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Kafka did not answer. To be tried again: nothing may be read before.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Another program, or another version of this one, commits for the group.
    #[error("partition {0}: {1}")]
    Unreadable(i32, Unreadable),
}

/// The partitions that the topic had when the receiver first looked. Those with higher numbers are new.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known(Option<i32>);

impl Known {
    /// Whether a partition without committed offset begins at its beginning, and not at its end.
    fn is_from_beginning(self, partition: i32, initial: InitialOffset) -> bool {
        let new = self.0.is_some_and(|count| partition >= count);
        new || initial == InitialOffset::Earliest
    }
}

/// How many partitions the topic has now. `None`: nobody knows (its leader is being elected, it does not exist).
///
/// # Errors
/// Kafka did not answer.
pub(crate) fn partition_count<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
) -> KafkaResult<Option<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let count = found.map_or(0, |found| found.partitions().len());
    Ok(i32::try_from(count).ok().filter(|count| *count > 0))
}

/// Asks Kafka where to begin. Waits for the answers. `count`: the partitions that the topic has.
///
/// # Errors
/// See [`StartError`].
pub(crate) fn positions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    initial: InitialOffset,
    count: Option<i32>,
    known: &mut Known,
) -> Result<BTreeMap<i32, Start>, StartError> {
    let mut starts = BTreeMap::new();
    if partitions.is_empty() {
        return Ok(starts);
    }
    if known.0.is_none() {
        known.0 = count;
    }
    // A "time" of `Beginning` or `End` asks for the first and one past the last offset (ListOffsets).
    let ends = |which: Offset| -> KafkaResult<BTreeMap<i32, i64>> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition_offset(topic, *partition, which)?;
        }
        let mut found = BTreeMap::new();
        for element in consumer.offsets_for_times(asked, PATIENCE)?.elements() {
            element.error()?;
            let Offset::Offset(offset) = element.offset() else {
                return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset));
            };
            found.insert(element.partition(), offset);
        }
        Ok(found)
    };
    let (first, end) = (ends(Offset::Beginning)?, ends(Offset::End)?);
    let committed = consumer.committed_offsets(list(topic, partitions.iter().copied()), PATIENCE)?;
    for element in committed.elements() {
        element.error()?;
        let partition = element.partition();
        let (Some(first), Some(end)) = (first.get(&partition), end.get(&partition)) else {
            return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset).into());
        };
        let start = match element.offset() {
            Offset::Offset(offset) => {
                let metadata = Metadata::decode(element.metadata());
                let metadata = metadata.map_err(|error| StartError::Unreadable(partition, error))?;
                from_committed(offset, metadata.unwrap_or_default(), *first, *end)
            }
            _ => {
                let offset = if known.is_from_beginning(partition, initial) { *first } else { *end };
                Start { offset, metadata: Metadata::default(), trouble: None }
            }
        };
        starts.insert(partition, start);
    }
    Ok(starts)
}

/// Where a group with a committed offset goes on in a partition with offsets from `first` up to before `end`.
fn from_committed(offset: i64, metadata: Metadata, first: i64, end: i64) -> Start {
    if offset > end {
        let Metadata { generation, incarnation, .. } = metadata;
        let incarnation = incarnation.saturating_add(1);
        let metadata = Metadata { generation, incarnation, ..Metadata::default() };
        return Start { offset: first, metadata, trouble: Some(Trouble::CreatedAgain) };
    }
    let trouble = (offset < first).then(|| Trouble::Deleted(first - offset));
    Start { offset: offset.max(first), metadata, trouble }
}

/// These starts, as librdkafka takes them.
pub(crate) fn assignment(topic: &str, starts: &BTreeMap<i32, Start>) -> KafkaResult<TopicPartitionList> {
    let mut assignment = TopicPartitionList::with_capacity(starts.len());
    for (partition, start) in starts {
        assignment.add_partition_offset(topic, *partition, Offset::Offset(start.offset))?;
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

    #[test]
    fn a_partition_that_appears_later_begins_at_its_beginning() {
        let known = Known(Some(4));
        assert!(known.is_from_beginning(4, InitialOffset::Latest));
        assert!(!known.is_from_beginning(3, InitialOffset::Latest));
        assert!(known.is_from_beginning(3, InitialOffset::Earliest));
        assert!(!Known(None).is_from_beginning(9, InitialOffset::Latest), "nothing is known to be new");
    }

    #[test]
    fn a_group_goes_on_at_its_offset_with_what_was_written_down() {
        let metadata = Metadata { generation: 2, ..Metadata::default() };
        let start = from_committed(7, metadata.clone(), 0, 7);
        assert_eq!(start, Start { offset: 7, metadata, trouble: None });
    }

    #[test]
    fn deleted_records_are_told_and_passed() {
        let start = from_committed(7, Metadata::default(), 10, 20);
        assert_eq!((start.offset, start.trouble), (10, Some(Trouble::Deleted(3))));
    }

    #[test]
    fn a_topic_that_was_created_again_is_read_from_its_beginning_under_new_identities() {
        let windows = BTreeMap::from([("main/aggregate".to_owned(), 99)]);
        let metadata = Metadata { generation: 2, windows, ..Metadata::default() };
        let start = from_committed(50, metadata, 3, 10);
        assert_eq!((start.offset, start.trouble), (3, Some(Trouble::CreatedAgain)));
        assert_eq!((start.metadata.incarnation, start.metadata.windows.len()), (1, 0));
    }
}
