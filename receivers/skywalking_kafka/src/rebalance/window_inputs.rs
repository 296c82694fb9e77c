//! Which input the windows of a lane belong to. Sans-IO.
//!
//! It is part of the identity of each window, by which a table recognises one that it has. So it must be the
//! same after a restart. Windows over one topic belong to the topic. Windows over several belong to the
//! receiver and its list of topics, whichever of these there are at the moment. When one of them is created
//! again, its windows are others: its incarnation is part of the input from then on. So every lane carries
//! those of all topics in its metadata; Kafka forgets what was committed for a topic that is deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::partition::assignment::Sources;
use crate::rebalance::start_offsets::{Start, StartTrouble, incarnation};
use crate::topics::{Place, TopicSet};

/// The lower half of a number.
const LOWER: u64 = 0xffff_ffff;

/// The inputs of one receiver.
pub(crate) struct WindowInputs {
    receiver: String,
    group: String,
    topics: TopicSet,
    /// Of each topic that was read, as in [`Metadata`](weir_component::delivery::Metadata).
    incarnations: BTreeMap<String, u64>,
    /// That of windows over all topics of the open lanes.
    open: Option<Arc<str>>,
}

impl WindowInputs {
    pub(crate) fn new(receiver: &str, group: &str, topics: TopicSet) -> WindowInputs {
        let (receiver, group) = (receiver.to_owned(), group.to_owned());
        WindowInputs { receiver, group, topics, incarnations: BTreeMap::new(), open: None }
    }

    /// The inputs that lanes which begin like this belong to, when those that are open do not end meanwhile.
    /// Their metadata carry on which topics were created again.
    pub(crate) fn sources(&mut self, cluster: &str, starts: &mut BTreeMap<Place, Start>) -> Sources {
        let group = &self.group;
        let of_topic = |topic: &crate::topics::Topic| Arc::from(format!("{cluster}/{group}/{}", topic.name));
        let topics = self.topics.iter().map(of_topic).collect();
        if self.topics.len() < 2 {
            return Sources { topics, all: None };
        }
        for (topic, known) in starts.values().flat_map(|start| &start.metadata.incarnations) {
            let own = self.incarnations.entry(topic.clone()).or_insert(*known);
            *own = (*known).max(*own);
        }
        for (place, start) in &*starts {
            let Start { metadata, trouble, .. } = start;
            let now = metadata.topic.as_deref().map_or(metadata.incarnation, incarnation);
            let again = u64::from(*trouble == Some(StartTrouble::CreatedAgain));
            let name = self.topics.name(place.topic).to_string();
            let known = self.incarnations.entry(name).or_insert(again << 32 | u64::from(now));
            if *known & LOWER != u64::from(now) {
                *known = ((*known >> 32) + 1) << 32 | u64::from(now);
            }
        }
        for start in starts.values_mut() {
            start.metadata.incarnations.clone_from(&self.incarnations);
        }
        let again = self.incarnations.iter().filter(|(_, known)| **known > LOWER);
        let again = again.map(|(topic, known)| format!("+{topic}@{}", known & LOWER));
        // What the receiver is to read, and not what there is of it. No topic has a name with an asterisk.
        let mut names: Vec<&str> = self.topics.iter().map(|topic| &*topic.name).collect();
        names.sort_unstable();
        let list = incarnation(&names.join("/"));
        let all = format!("{cluster}/{group}/*{}-{list:08x}{}", self.receiver, again.collect::<String>());
        Sources { topics, all: Some(Arc::from(all)) }
    }

    /// That of windows over all topics of the lanes that were opened last.
    pub(crate) fn open(&self) -> Option<&Arc<str>> {
        self.open.as_ref()
    }

    /// Lanes with these have been opened.
    pub(crate) fn opened(&mut self, sources: &Sources) {
        self.open.clone_from(&sources.all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebalance::start_offsets::Recheck;
    use crate::topics::{Content, Topic};
    use weir_component::delivery::Metadata;

    fn topics(names: &[&str]) -> TopicSet {
        let topic = |name: &&str| Topic { name: (*name).into(), content: Content::Segments };
        TopicSet::new(names.iter().map(topic))
    }

    /// A start in a topic with this number: its incarnation, what its last owner knew of topics that were
    /// created again, and whether it was.
    fn start(topic: usize, incarnation: u32, known: &Metadata, again: bool) -> (Place, Start) {
        let metadata =
            Metadata { incarnation, incarnations: known.incarnations.clone(), ..Metadata::default() };
        let trouble = again.then_some(StartTrouble::CreatedAgain);
        (Place { topic, partition: 0 }, Start { offset: 0, check: Recheck::Nothing, metadata, trouble })
    }

    /// The input of a new process in which lanes begin like this, and what they write down.
    fn begun(starts: &[(Place, Start)]) -> (String, Metadata) {
        let mut inputs = WindowInputs::new("in", "g", topics(&["a", "b"]));
        let mut starts = starts.iter().cloned().collect();
        let all = inputs.sources("c", &mut starts).all.unwrap().to_string();
        (all, starts.into_values().next().unwrap().metadata)
    }

    #[test]
    fn windows_over_one_topic_belong_to_the_topic() {
        let mut inputs = WindowInputs::new("in", "g", topics(&["a"]));
        let sources = inputs.sources("c", &mut BTreeMap::new());
        assert_eq!((&*sources.topics[0], sources.all), ("c/g/a", None), "as in every version before");
    }

    #[test]
    fn windows_over_several_topics_are_the_same_whatever_topics_there_are() {
        let new = Metadata::default();
        let (one, written) = begun(&[start(0, 7, &new, false)]);
        assert_eq!(begun(&[start(0, 7, &written, false), start(1, 8, &new, false)]).0, one, "one appeared");
        assert_eq!(begun(&[start(1, 8, &written, false)]).0, one, "one has gone");
        assert_ne!(one, "c/g/a");
        // Another list of topics has other windows, though group and receiver are the same.
        let of = |names: &[&str]| {
            let mut inputs = WindowInputs::new("in", "g", topics(names));
            inputs.sources("c", &mut BTreeMap::new()).all.unwrap()
        };
        assert_ne!(of(&["eu-a", "eu-b"]), of(&["us-a", "us-b"]));
        assert_eq!(of(&["a", "b"]), of(&["b", "a"]));
    }

    #[test]
    fn windows_of_a_topic_that_was_created_again_are_others_also_when_it_has_gone() {
        let new = Metadata::default();
        let (before, written) = begun(&[start(0, 7, &new, false), start(1, 8, &new, false)]);
        let (after, written_after) = begun(&[start(0, 7, &written, false), start(1, 9, &new, true)]);
        assert_ne!(before, after);
        // A crash before anything was written down, after the first lane was, and after both were.
        assert_eq!(begun(&[start(0, 7, &written, false), start(1, 9, &new, true)]).0, after);
        assert_eq!(begun(&[start(0, 7, &written_after, false), start(1, 9, &new, true)]).0, after);
        assert_eq!(begun(&[start(0, 7, &written_after, false), start(1, 9, &written_after, false)]).0, after);
        assert_eq!(begun(&[start(0, 7, &written_after, false)]).0, after, "it has gone");
        let third = begun(&[start(0, 7, &written_after, false), start(1, 10, &written_after, true)]).0;
        assert!(third != after && third != before);
        // Kafka has forgotten what was committed for the topic: it looks like one that appeared.
        assert_eq!(begun(&[start(0, 7, &written, false), start(1, 9, &new, false)]).0, after);
    }
}
