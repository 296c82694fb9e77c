//! Whether the receiver can read, from the statistics of librdkafka. Sans-IO.
//!
//! It cannot read without a broker, without the topic, outside its group, and what it has cannot be read
//! while no broker leads it.

use crate::consumer::statistics::{ClusterState, PartitionState};

/// Whose reading it is.
pub(crate) struct Names<'a> {
    pub(crate) brokers: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
}

/// Why nothing, or not everything, can be read. `owned`: the partitions of this gateway; `unplaced`: those of
/// which Kafka does not say where to begin.
pub(crate) fn trouble(
    cluster: &ClusterState,
    partitions: &[PartitionState],
    (owned, unplaced): (&[i32], &[i32]),
    names: &Names<'_>,
) -> Option<String> {
    let Names { brokers, topic, group } = names;
    if !cluster.is_connected {
        let why = cluster.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        return Some(format!("no broker of {brokers} answers{why}"));
    }
    if partitions.is_empty() {
        return Some(format!("the topic `{topic}` does not exist"));
    }
    if let Some(state) = &cluster.joining {
        return Some(format!("not a member of the consumer group `{group}` ({state})"));
    }
    let leads =
        |partition: &i32| partitions.iter().any(|state| state.partition == *partition && state.reachable);
    let mut led_by_none: Vec<i32> =
        owned.iter().chain(unplaced).filter(|partition| !leads(partition)).copied().collect();
    led_by_none.sort_unstable();
    led_by_none.dedup();
    if !led_by_none.is_empty() {
        return Some(format!("no broker that leads partitions {led_by_none:?} of topic `{topic}` answers"));
    }
    if !unplaced.is_empty() {
        return Some(format!("Kafka does not say where partitions {unplaced:?} of topic `{topic}` begin"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names { brokers: "a:9092", topic: "t", group: "g" };

    fn state(partition: i32, reachable: bool) -> PartitionState {
        PartitionState { partition, end: None, at_end: None, reachable }
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
        trouble(cluster, partitions, (owned, unplaced), &NAMES).unwrap_or_default()
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
        assert!(says(&member(), &partitions, &[0, 1], &[]).contains("partitions [1]"));
        assert!(says(&member(), &partitions, &[0], &[1]).contains("leads partitions [1]"));
        assert!(says(&member(), &partitions, &[], &[0]).contains("where partitions [0]"));
    }
}
