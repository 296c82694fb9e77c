//! Which partitions are new since the receiver first saw the topic. Sans-IO.

use crate::config::InitialOffset;
use crate::rebalance::questions::Topic;

/// The topic as it was at first. What has appeared since is new, and is read from its beginning.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownTopic(Option<(Option<String>, i32)>);

impl KnownTopic {
    /// The topic does not exist now.
    pub(crate) fn missing(&mut self) {
        self.0 = Some((None, 0));
    }

    /// The topic as it is now.
    pub(crate) fn update(&mut self, topic: &Topic) {
        match &mut self.0 {
            None => self.0 = Some((topic.id.clone(), topic.count)),
            Some((id, count)) => {
                if id.is_some() && topic.id.is_some() && *id != topic.id {
                    *count = 0;
                }
                *id = topic.id.clone().or(id.take());
            }
        }
    }

    /// Whether a partition without committed offset begins at its beginning, and not at its end.
    pub(crate) fn is_from_beginning(&self, partition: i32, initial: InitialOffset) -> bool {
        let new = self.0.as_ref().is_some_and(|(_, count)| partition >= *count);
        new || initial == InitialOffset::Earliest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: Option<&str>, count: i32) -> Topic {
        Topic { cluster: "c".to_owned(), id: id.map(str::to_owned), count, counts: Vec::new() }
    }

    #[test]
    fn a_partition_that_appears_later_begins_at_its_beginning() {
        let mut known = KnownTopic::default();
        assert!(!known.is_from_beginning(9, InitialOffset::Latest), "nothing is known to be new");
        known.update(&topic(Some("T"), 4));
        known.update(&topic(Some("T"), 6));
        assert!(known.is_from_beginning(4, InitialOffset::Latest));
        assert!(!known.is_from_beginning(3, InitialOffset::Latest));
        assert!(known.is_from_beginning(3, InitialOffset::Earliest));
        known.update(&topic(Some("U"), 4));
        assert!(known.is_from_beginning(0, InitialOffset::Latest), "another topic of this name");
    }

    #[test]
    fn a_topic_that_appears_later_begins_at_its_beginning() {
        let mut known = KnownTopic::default();
        known.missing();
        known.update(&topic(Some("T"), 4));
        assert!(known.is_from_beginning(0, InitialOffset::Latest));
    }
}
