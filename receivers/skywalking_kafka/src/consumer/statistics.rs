//! The statistics of librdkafka about brokers, the group and partitions.

use rdkafka::Statistics;

use crate::topics::{Place, TopicSet};

/// The statistics about brokers and group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterState {
    /// Some broker answers.
    pub(crate) is_connected: bool,
    /// The client's states of the group and of joining it, while it is not a member.
    pub(crate) joining: Option<String>,
    /// The last error of the client, if there was one.
    pub(crate) last_error: Option<String>,
}

impl ClusterState {
    /// From the statistics, and the last error of the client.
    pub(crate) fn of(statistics: &Statistics, last_error: Option<String>) -> ClusterState {
        let is_up = |state: &str| matches!(state, "UP" | "UPDATE");
        let joining = match &statistics.cgrp {
            Some(group) if group.state == "up" && group.join_state == "steady" => None,
            Some(group) => Some(format!("{}, {}", group.state, group.join_state)),
            None => Some("not begun".to_owned()),
        };
        ClusterState {
            is_connected: statistics.brokers.values().any(|broker| is_up(&broker.state)),
            joining,
            last_error,
        }
    }
}

/// The statistics about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionState {
    pub(crate) partition: Place,
    /// One past its last record, when known.
    pub(crate) end: Option<i64>,
    /// One past the last offset that can be read, when everything was read and nothing waits in librdkafka.
    pub(crate) at_end: Option<i64>,
    /// The broker that has it answers.
    pub(crate) reachable: bool,
}

/// The states of the topics' partitions.
pub(crate) fn partition_states(statistics: &Statistics, topics: &TopicSet) -> Vec<PartitionState> {
    // A broker that is known by its address only has the number -1, and so has no leader at all.
    let up = |id: i32| {
        id >= 0
            && statistics
                .brokers
                .values()
                .any(|broker| broker.nodeid == id && matches!(&*broker.state, "UP" | "UPDATE"))
    };
    let known = topics.iter().enumerate().flat_map(|(number, topic)| {
        let found =
            statistics.topics.get(&*topic.name).into_iter().flat_map(|found| found.partitions.values());
        found.filter(|partition| partition.partition >= 0).map(move |partition| (number, partition))
    });
    known
        .map(|(topic, partition)| PartitionState {
            partition: Place { topic, partition: partition.partition },
            end: Some(partition.hi_offset).filter(|end| *end >= 0),
            at_end: Some(partition.eof_offset)
                .filter(|end| *end >= 0 && *end == partition.next_offset && partition.fetchq_cnt == 0),
            reachable: up(if partition.broker >= 0 { partition.broker } else { partition.leader }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::{Broker, Partition, Topic as TopicStatistics};

    use crate::topics::{Content, Topic};

    use super::*;

    #[test]
    fn a_partition_without_a_leader_is_not_reachable_by_a_broker_without_a_number() {
        let broker = |nodeid| Broker { nodeid, state: "UP".to_owned(), ..Broker::default() };
        let led_by = |partition, leader| Partition { partition, leader, broker: -1, ..Partition::default() };
        let partitions = [(0, led_by(0, 1)), (1, led_by(1, -1)), (2, led_by(2, 7))].into();
        let statistics = Statistics {
            brokers: [("bootstrap".to_owned(), broker(-1)), ("one".to_owned(), broker(1))].into(),
            topics: [("t".to_owned(), TopicStatistics { partitions, ..TopicStatistics::default() })].into(),
            ..Statistics::default()
        };
        let segments = Topic { name: "t".into(), content: Content::Segments };
        let mut states = partition_states(&statistics, &TopicSet::new([segments]));
        states.sort_by_key(|state| state.partition);
        assert_eq!(states.iter().map(|state| state.reachable).collect::<Vec<_>>(), [true, false, false]);
    }
}
