//! Where reading begins in a partition, and the metadata of its earlier owners. Sans-IO: see
//! [`questions`](crate::rebalance::questions).
//!
//! Reading begins at the committed offset. A partition without one begins at `initial_offset`, unless it
//! appeared after the group began to read the topic. Then it begins at its oldest record, so that no record
//! is missed between its creation and its discovery.
//!
//! A partition can have changed since its offset was committed:
//!
//! * Records were deleted before they were read. Then its first offset is above the committed one.
//! * The topic was created again. Then it has another id. (With brokers that have no topic ids, its end is
//!   below the committed offset.) Offsets begin at 0 again, so everything has new identities.
//! * The log was truncated, because a replica without its last records became the leader. The topic is the
//!   same, but the offsets from some position on were used again. Each leadership has a higher epoch than the
//!   one before, and Kafka keeps the epoch of each record. Records that an earlier owner has read are not
//!   above the epoch in its metadata, so the first record above that epoch shows the position.

use weir_component::delivery::{Metadata, Unreadable};

use crate::config::InitialOffset;
use crate::rebalance::known_topic::KnownTopic;
use crate::rebalance::questions::Facts;

/// Where reading begins in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The first offset that goes down the lane.
    pub(crate) offset: i64,
    /// The offset from which records are read before it, only to see whether they are still the same.
    pub(crate) check: Recheck,
    /// The metadata of an earlier owner.
    pub(crate) metadata: Metadata,
    /// The fault in the committed offset.
    pub(crate) trouble: Option<StartTrouble>,
}

/// The records that are read before a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recheck {
    /// Nothing.
    Nothing,
    /// The record before it.
    Last,
    /// Everything from this offset on, until the place is found where the log was truncated.
    From(i64),
}

/// Something happened to the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartTrouble {
    /// So many records were deleted before they were read.
    Deleted(i64),
    /// The topic was created again.
    CreatedAgain,
    /// The log was truncated somewhere below the committed offset.
    Truncated,
    /// The log was truncated here, and written again from here on.
    TruncatedAt(i64),
    /// The text beside the offset is another program's.
    Foreign(String),
}

/// The change in a partition that has to begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogChange {
    /// Its positions went back, or a record was written after what was read before.
    Unplaced,
    /// It was truncated here.
    TruncatedAt(i64),
}

/// Where the group goes on in a partition.
///
/// # Errors
/// When another version of this program has committed for the group.
pub(crate) fn decide(
    partition: i32,
    facts: &Facts,
    known: &KnownTopic,
    initial: InitialOffset,
    seen: Option<LogChange>,
) -> Result<Start, Unreadable> {
    let topic = facts.topic.id.clone();
    let lanes = facts.first_count.or(Some(facts.topic.count));
    let Some((offset, text)) = &facts.committed else {
        let appeared = facts.first_count.is_some_and(|count| partition >= count);
        let from_beginning = appeared || known.is_from_beginning(partition, initial);
        let offset = match initial {
            _ if from_beginning => facts.first,
            // When no record is so late, the next one will be.
            InitialOffset::Timestamp(_) => facts.at_time.unwrap_or(facts.end).clamp(facts.first, facts.end),
            InitialOffset::Latest | InitialOffset::Earliest => facts.end,
        };
        let incarnation = topic.as_deref().map_or(0, incarnation);
        let metadata = Metadata { incarnation, topic, lanes, ..Metadata::default() };
        return Ok(Start { offset, check: Recheck::Nothing, metadata, trouble: None });
    };
    let (mut metadata, foreign) = match Metadata::decode(text) {
        Ok(metadata) => (metadata.unwrap_or_default(), None),
        Err(Unreadable::Foreign(text)) => (Metadata::default(), Some(StartTrouble::Foreign(text))),
        Err(error @ Unreadable::Version(_)) => return Err(error),
    };
    metadata.share_marks(facts.others.iter());
    let same = match (&metadata.topic, &topic) {
        (Some(before), Some(now)) => Some(before == now),
        _ => None,
    };
    let metadata = Metadata { topic: topic.or(metadata.topic), lanes: metadata.lanes.or(lanes), ..metadata };
    let mut start = from_committed(*offset, metadata, same, facts, seen);
    start.trouble = start.trouble.or(foreign);
    Ok(start)
}

fn from_committed(
    offset: i64,
    metadata: Metadata,
    same: Option<bool>,
    facts: &Facts,
    seen: Option<LogChange>,
) -> Start {
    let (first, end) = (facts.first, facts.end);
    if same == Some(false) || (same.is_none() && (offset > end || seen.is_some())) {
        let Metadata { generation, incarnation: before, topic, .. } = metadata;
        let incarnation = topic.as_deref().map_or(before.saturating_add(1), incarnation);
        let lanes = Some(facts.topic.count);
        let metadata = Metadata { generation, incarnation, topic, lanes, ..Metadata::default() };
        let trouble = Some(StartTrouble::CreatedAgain);
        return Start { offset: first, check: Recheck::Nothing, metadata, trouble };
    }
    match seen {
        Some(LogChange::TruncatedAt(place)) => return truncated(offset, metadata, place, first),
        Some(LogChange::Unplaced) | None => {}
    }
    if offset > end || seen.is_some() {
        // Without an epoch it is not known where the log differs: its records count as read before.
        if metadata.epoch.is_none() {
            return truncated(offset, metadata, end, first);
        }
        let check = Recheck::From(first);
        return Start { offset: i64::MAX, check, metadata, trouble: Some(StartTrouble::Truncated) };
    }
    let trouble = (offset < first).then(|| StartTrouble::Deleted(first - offset));
    let check = if offset > first && metadata.epoch.is_some() { Recheck::Last } else { Recheck::Nothing };
    Start { offset: offset.max(first), check, metadata, trouble }
}

/// A number that distinguishes a topic from others of its name. It is made of the topic's id, since Kafka
/// forgets the commits for a topic that is deleted.
pub(crate) fn incarnation(id: &str) -> u32 {
    // FNV-1a.
    id.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)).max(1)
}

/// The log was written again from `place` on. Exports before that place stand; records after it are new.
fn truncated(offset: i64, mut metadata: Metadata, place: i64, first: i64) -> Start {
    let reached = metadata.exported.values().chain(metadata.pending.values()).copied().max();
    if reached.is_some_and(|reached| reached > place) {
        metadata.rewritten.add(place);
        metadata.exported.values_mut().for_each(|exported| *exported = place.min(*exported));
        metadata.pending.retain(|_, end| *end <= place);
        let Metadata { splits, pending, .. } = &mut metadata;
        splits.retain(|sink, _| pending.contains_key(sink));
    }
    let offset = offset.min(place).max(first);
    let trouble = Some(StartTrouble::TruncatedAt(place));
    Start { offset, check: Recheck::Nothing, metadata, trouble }
}

impl Start {
    /// The first offset that is asked for.
    pub(crate) fn read_from(&self) -> i64 {
        match self.check {
            Recheck::Nothing => self.offset,
            Recheck::Last => self.offset - 1,
            Recheck::From(first) => first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebalance::questions::Topic;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn topic(id: Option<&str>, count: i32) -> Topic {
        Topic { cluster: "c".to_owned(), id: id.map(str::to_owned), count, counts: Vec::new() }
    }

    fn facts(id: Option<&str>, first: i64, end: i64, committed: Option<(i64, &Metadata)>) -> Facts {
        let committed = committed.map(|(offset, metadata)| (offset, metadata.encode()));
        let (topic, others) = (Arc::new(topic(id, 4)), Arc::default());
        Facts { topic, first, end, at_time: None, committed, first_count: None, others }
    }

    fn decided(facts: &Facts, seen: Option<LogChange>) -> Start {
        decide(0, facts, &KnownTopic::default(), InitialOffset::Latest, seen).unwrap()
    }

    /// Exported up to 60, and a range up to 70 on its way, when the offset 50 of topic `T` was committed.
    fn written(epoch: Option<i32>) -> Metadata {
        let sink = "main/db".to_owned();
        Metadata {
            version: 1,
            generation: 2,
            topic: Some("T".to_owned()),
            epoch,
            exported: BTreeMap::from([(sink.clone(), 60)]),
            pending: BTreeMap::from([(sink, 70)]),
            windows: BTreeMap::from([("main/aggregate".to_owned(), 99)]),
            ..Metadata::default()
        }
    }

    #[test]
    fn a_partition_that_appeared_while_no_gateway_read_begins_at_its_beginning() {
        let start = |partition, first_count| {
            let facts = Facts { first_count, ..facts(Some("T"), 10, 90, None) };
            let start =
                decide(partition, &facts, &KnownTopic::default(), InitialOffset::Latest, None).unwrap();
            (start.offset, start.metadata.lanes)
        };
        assert_eq!(start(3, None), (90, Some(4)), "the first start of the group");
        assert_eq!(start(3, Some(4)), (90, Some(4)), "it was there, though it had no leader then");
        assert_eq!(start(3, Some(3)), (10, Some(3)));
    }

    #[test]
    fn a_group_may_begin_at_a_time() {
        let start = |at_time| {
            let facts = Facts { at_time, ..facts(Some("T"), 10, 90, None) };
            decide(0, &facts, &KnownTopic::default(), InitialOffset::Timestamp(7), None).unwrap().offset
        };
        assert_eq!(start(Some(40)), 40);
        assert_eq!(start(None), 90, "no record is so late");
    }

    #[test]
    fn a_group_goes_on_at_its_offset_with_what_was_written_down() {
        let metadata = Metadata { generation: 2, version: 1, lanes: Some(3), ..Metadata::default() };
        let start = decided(&facts(None, 0, 7, Some((7, &metadata))), None);
        assert_eq!(start, Start { offset: 7, check: Recheck::Nothing, metadata, trouble: None });
        let start = decided(&facts(Some("T"), 0, 100, Some((50, &written(Some(3))))), None);
        assert_eq!((start.offset, start.read_from(), start.trouble), (50, 49, None));
    }

    #[test]
    fn a_partition_whose_commit_was_refused_knows_the_marks_of_those_that_began_with_it() {
        let of = |mark: &str| Metadata {
            version: 1,
            set: Some("k1".to_owned()),
            windows: BTreeMap::from([(format!("main/aggregate#ff+{mark}"), mark.len() as i64)]),
            ..Metadata::default()
        };
        let own = of("k");
        let facts = Facts { others: [own.clone(), of("k1")].into(), ..facts(None, 0, 9, Some((7, &own))) };
        assert_eq!(decided(&facts, None).metadata.windows, of("k1").windows);
    }

    #[test]
    fn deleted_records_are_told_and_passed() {
        let start = decided(&facts(None, 10, 20, Some((7, &Metadata::default()))), None);
        assert_eq!((start.offset, start.trouble), (10, Some(StartTrouble::Deleted(3))));
    }

    #[test]
    fn a_topic_that_was_created_again_is_read_from_its_beginning_under_new_identities() {
        let before = Metadata { topic: None, ..written(None) };
        let by_its_end = decided(&facts(None, 3, 10, Some((50, &before))), None);
        let by_its_id = decided(&facts(Some("U"), 3, 1_000, Some((50, &written(Some(3))))), None);
        assert_eq!(by_its_end.metadata.incarnation, 1);
        for start in [by_its_end, by_its_id] {
            assert_eq!((start.offset, start.trouble), (3, Some(StartTrouble::CreatedAgain)));
            assert_eq!((start.metadata.windows.len(), start.metadata.exported.len()), (0, 0));
        }
        let of = |id| decided(&facts(Some(id), 0, 9, None), None).metadata.incarnation;
        assert!(of("T") == of("T") && of("T") != of("U"), "also when Kafka has forgotten what was committed");
    }

    #[test]
    fn a_truncated_partition_is_looked_through_for_the_place() {
        let start = decided(&facts(Some("T"), 3, 10, Some((50, &written(Some(3))))), None);
        assert_eq!((start.check, start.trouble), (Recheck::From(3), Some(StartTrouble::Truncated)));
        assert_eq!(start.metadata.incarnation, 0);
    }

    #[test]
    fn what_was_written_after_a_truncation_is_new_and_what_was_before_is_not() {
        let committed = written(Some(3));
        let found = |place| {
            let facts = facts(Some("T"), 3, 90, Some((50, &committed)));
            decided(&facts, Some(LogChange::TruncatedAt(place)))
        };
        let times = |start: &Start| [20, 21, 65, 66].map(|end| start.metadata.rewritten.times(end));
        let below = found(20);
        assert_eq!((below.offset, below.metadata.exported["main/db"]), (20, 20));
        assert_eq!(times(&below), [0, 1, 1, 1]);
        assert!(below.metadata.pending.is_empty(), "the range is not what it was");
        let between = found(65);
        assert_eq!((between.offset, between.metadata.exported["main/db"]), (50, 60));
        assert_eq!(times(&between), [0, 0, 0, 1]);
        let above = found(80);
        assert_eq!((above.offset, &above.metadata.pending), (50, &committed.pending));
        assert!(above.metadata.rewritten.is_empty(), "nothing of it had been exported");
        assert_eq!(above.metadata.windows, committed.windows);
    }

    #[test]
    fn a_foreign_text_is_told_and_the_offset_counts() {
        let mut facts = facts(Some("T"), 0, 100, None);
        facts.committed = Some((50, "consumer-1".to_owned()));
        let start = decided(&facts, None);
        assert_eq!((start.offset, start.trouble), (50, Some(StartTrouble::Foreign("consumer-1".to_owned()))));
        facts.committed = Some((50, r#"{"v":9}"#.to_owned()));
        assert!(decide(0, &facts, &KnownTopic::default(), InitialOffset::Latest, None).is_err());
    }
}
