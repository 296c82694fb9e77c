//! Whether the receiver can read, from the statistics of librdkafka. Sans-IO.
//!
//! It cannot read without a broker, without the topic, outside its group, and what it has cannot be read
//! while no broker leads it.

use crate::consumer::statistics::{ClusterState, PartitionState};
use crate::topics::{Place, TopicSet};

/// Whose reading it is.
pub(crate) struct Names<'a> {
    pub(crate) brokers: &'a str,
    pub(crate) topics: &'a TopicSet,
    pub(crate) group: &'a str,
}

/// Why nothing, or not everything, can be read. `owned`: the partitions of this gateway; `unplaced`: those of
/// which Kafka does not say where to begin.
pub(crate) fn trouble(
    cluster: &ClusterState,
    partitions: &[PartitionState],
    (owned, unplaced): (&[Place], &[Place]),
    names: &Names<'_>,
) -> Option<String> {
    let Names { brokers, topics, group } = names;
    if !cluster.is_connected {
        let why = cluster.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        return Some(format!("no broker of {brokers} answers{why}"));
    }
    let exists = |number: usize| partitions.iter().any(|state| state.partition.topic == number);
    if let Some((_, topic)) = topics.iter().enumerate().find(|(number, _)| !exists(*number)) {
        return Some(format!("the topic `{}` does not exist", topic.name));
    }
    if let Some(state) = &cluster.joining {
        return Some(format!("not a member of the consumer group `{group}` ({state})"));
    }
    let leads =
        |partition: &Place| partitions.iter().any(|state| state.partition == *partition && state.reachable);
    let led_by_none: Vec<Place> =
        owned.iter().chain(unplaced).filter(|partition| !leads(partition)).copied().collect();
    if !led_by_none.is_empty() {
        return Some(format!("no broker that leads these partitions answers: {}", topics.text(&led_by_none)));
    }
    if !unplaced.is_empty() {
        return Some(format!("Kafka does not say where these partitions begin: {}", topics.text(unplaced)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::{Content, Topic};

    fn at(partition: i32) -> Place {
        Place { topic: 0, partition }
    }

    fn state(partition: i32, reachable: bool) -> PartitionState {
        PartitionState { partition: at(partition), end: None, at_end: None, reachable }
    }

    fn member() -> ClusterState {
        ClusterState { is_connected: true, ..ClusterState::default() }
    }

    fn says(
        cluster: &ClusterState,
        partitions: &[PartitionState],
        owned: &[i32],
        unplaced: &[i32],
    ) -> String {
        let topics = TopicSet::new([Topic { name: "t".into(), content: Content::Segments }]);
        let names = Names { brokers: "a:9092", topics: &topics, group: "g" };
        let places = |numbers: &[i32]| numbers.iter().map(|number| at(*number)).collect::<Vec<_>>();
        trouble(cluster, partitions, (&places(owned), &places(unplaced)), &names).unwrap_or_default()
    }

    #[test]
    fn a_member_whose_partitions_are_led_reads() {
        let partitions = [state(0, true), state(1, false)];
        assert_eq!(says(&member(), &partitions, &[0], &[]), "");
        assert_eq!(says(&member(), &partitions, &[], &[]), "", "a gateway with no partition stands by");
    }

    #[test]
    fn each_reason_is_named() {
        let partitions = [state(0, true), state(1, false)];
        let away = ClusterState { last_error: Some("refused".to_owned()), ..ClusterState::default() };
        assert_eq!(says(&away, &partitions, &[0], &[]), "no broker of a:9092 answers: refused");
        assert!(says(&member(), &[], &[], &[]).contains("`t` does not exist"));
        let joining = ClusterState { joining: Some("up, wait-join".to_owned()), ..member() };
        assert!(says(&joining, &partitions, &[], &[]).contains("`g` (up, wait-join)"));
        assert!(says(&member(), &partitions, &[0, 1], &[]).contains("answers: t: [1]"));
        assert!(
            says(&member(), &partitions, &[0], &[1]).contains("that leads these partitions answers: t: [1]")
        );
        assert!(says(&member(), &partitions, &[], &[0]).contains("where these partitions begin: t: [0]"));
    }
}
