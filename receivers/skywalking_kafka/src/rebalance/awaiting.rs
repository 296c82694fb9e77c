//! Partitions that wait until Kafka has said where they begin. Sans-IO: time is an argument.
//!
//! Partitions begin together, as soon as each has an answer, or one second after the first answer without the
//! others. Those are asked for again and again, and begin by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;

use crate::rebalance::questions::{Answer, Facts};
use crate::topics::Place;

/// How long to wait before Kafka is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// How long partitions that are known wait for others, so that most begin together.
const GRACE: Duration = Duration::from_secs(1);
/// The most questions about single partitions at a time.
const ALONE: usize = 8;

/// The partitions that wait.
#[derive(Default)]
pub(crate) struct Awaiting {
    /// The partitions that are ours, whether they wait or not.
    ours: BTreeSet<Place>,
    partitions: BTreeMap<Place, Waiting>,
    /// Since when one of them is known.
    known: Option<Instant>,
}

struct Waiting {
    /// The question that is being asked.
    asked: Option<u64>,
    next_try: Instant,
    /// To be asked without others, because a question about all of them failed.
    alone: bool,
    /// Kafka has refused to say.
    refused: bool,
    facts: Option<Facts>,
}

impl Awaiting {
    /// These are ours from now on, and begin as soon as it is known where.
    pub(crate) fn assign(&mut self, partitions: &[Place], now: Instant) {
        self.ours.extend(partitions);
        self.restart(partitions, now);
    }

    /// These are not ours any more, and do not begin.
    pub(crate) fn revoke(&mut self, partitions: &[Place]) {
        self.ours.retain(|partition| !partitions.contains(partition));
        self.partitions.retain(|partition, _| !partitions.contains(partition));
    }

    /// Those of these that are still ours begin again.
    pub(crate) fn restart(&mut self, partitions: &[Place], now: Instant) {
        let waiting = || Waiting { asked: None, next_try: now, alone: false, refused: false, facts: None };
        let ours = partitions.iter().filter(|partition| self.ours.contains(partition));
        self.partitions.extend(ours.map(|partition| (*partition, waiting())));
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Those that wait.
    pub(crate) fn partitions(&self) -> Vec<Place> {
        self.partitions.keys().copied().collect()
    }

    /// Whether Kafka has refused to say it for each of those that wait.
    pub(crate) fn are_refused(&self) -> bool {
        !self.partitions.is_empty() && self.partitions.values().all(|waiting| waiting.refused)
    }

    /// The partitions to ask about now, those of one topic with one question.
    pub(crate) fn due(&self, now: Instant) -> Vec<Vec<Place>> {
        let due = self.partitions.iter().filter(|(_, waiting)| {
            waiting.facts.is_none() && waiting.asked.is_none() && waiting.next_try <= now
        });
        let (alone, together): (Vec<_>, Vec<_>) = due.partition(|(_, waiting)| waiting.alone);
        let asked =
            self.partitions.values().filter(|waiting| waiting.alone && waiting.asked.is_some()).count();
        let mut of_topics: BTreeMap<usize, Vec<Place>> = BTreeMap::new();
        for (place, _) in together {
            of_topics.entry(place.topic).or_default().push(*place);
        }
        let alone =
            alone.into_iter().take(ALONE.saturating_sub(asked)).map(|(partition, _)| vec![*partition]);
        alone.chain(of_topics.into_values()).collect()
    }

    /// These are asked for with this question.
    pub(crate) fn asked(&mut self, partitions: &[Place], number: u64) {
        for partition in partitions {
            if let Some(waiting) = self.partitions.get_mut(partition) {
                waiting.asked = Some(number);
            }
        }
    }

    /// An answer came. Why Kafka does not say it, if it does not.
    pub(crate) fn answer(&mut self, answer: Answer, now: Instant) -> Option<KafkaError> {
        let waiting = self.partitions.get_mut(&answer.partition);
        let waiting = waiting.filter(|waiting| waiting.asked == Some(answer.number))?;
        waiting.asked = None;
        match answer.facts {
            Ok(facts) => {
                waiting.facts = Some(facts);
                self.known.get_or_insert(now);
                None
            }
            Err(refused) => {
                waiting.refused = true;
                waiting.alone = refused.alone;
                waiting.next_try = now + RETRY;
                Some(refused.error)
            }
        }
    }

    /// Those that begin now; they do not wait any more.
    pub(crate) fn ready(&mut self, now: Instant) -> BTreeMap<Place, Facts> {
        if self.is_of_two_topics() {
            self.known = None;
            for waiting in self.partitions.values_mut().filter(|waiting| waiting.facts.is_some()) {
                (waiting.facts, waiting.next_try) = (None, now + RETRY);
            }
        }
        let waits = |waiting: &Waiting| waiting.facts.is_none() && !waiting.refused;
        let late = self.known.is_some_and(|known| now >= known + GRACE);
        if !late && self.partitions.values().any(waits) {
            return BTreeMap::new();
        }
        self.known = None;
        let known = |(partition, waiting): (&Place, &mut Waiting)| Some((*partition, waiting.facts.take()?));
        let ready: BTreeMap<Place, Facts> = self.partitions.iter_mut().filter_map(known).collect();
        self.partitions.retain(|partition, _| !ready.contains_key(partition));
        ready
    }

    /// Whether a topic was created again between two of the answers.
    fn is_of_two_topics(&self) -> bool {
        let mut ids = BTreeMap::new();
        let mut known = self.partitions.iter().filter_map(|(place, waiting)| {
            let facts = waiting.facts.as_ref()?;
            Some((place.topic, &facts.topic.id))
        });
        known.any(|(topic, id)| *ids.entry(topic).or_insert(id) != id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebalance::questions::{Refused, Topic};
    use rdkafka::error::RDKafkaErrorCode;
    use std::sync::Arc;

    fn at(partitions: impl IntoIterator<Item = i32>) -> Vec<Place> {
        partitions.into_iter().map(|partition| Place { topic: 0, partition }).collect()
    }

    fn good(number: u64, partition: i32) -> Answer {
        of_topic(number, partition, None)
    }

    fn of_topic(number: u64, partition: i32, id: Option<&str>) -> Answer {
        let topic = Arc::new(Topic {
            cluster: "c".to_owned(),
            id: id.map(str::to_owned),
            count: 3,
            counts: Vec::new(),
        });
        Answer {
            number,
            partition: Place { topic: 0, partition },
            facts: Ok(Facts {
                topic,
                first: 0,
                end: 9,
                at_time: None,
                committed: None,
                first_count: None,
                others: Arc::default(),
            }),
        }
    }

    fn bad(number: u64, partition: i32, alone: bool) -> Answer {
        let error = KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable);
        Answer { number, partition: Place { topic: 0, partition }, facts: Err(Refused { error, alone }) }
    }

    #[test]
    fn those_that_are_known_begin_together_without_one_that_is_refused() {
        let (mut awaiting, now) = (Awaiting::default(), Instant::now());
        awaiting.assign(&at([0, 1, 2]), now);
        assert_eq!(awaiting.due(now), [at([0, 1, 2])]);
        awaiting.asked(&at([0, 1, 2]), 1);
        assert!(awaiting.due(now).is_empty(), "they are being asked for");
        assert!(awaiting.answer(good(1, 0), now).is_none());
        assert!(awaiting.ready(now).is_empty(), "the others may be there at once, too");
        assert!(awaiting.answer(bad(1, 1, true), now).is_some());
        assert!(awaiting.answer(good(1, 2), now).is_none());
        assert_eq!(awaiting.ready(now).into_keys().collect::<Vec<_>>(), at([0, 2]));
        assert_eq!(awaiting.partitions(), at([1]));
        assert!(awaiting.due(now).is_empty());
        assert_eq!(awaiting.due(now + RETRY), [at([1])]);
    }

    #[test]
    fn one_that_takes_long_does_not_keep_the_others() {
        let (mut awaiting, now) = (Awaiting::default(), Instant::now());
        awaiting.assign(&at([0, 1]), now);
        awaiting.asked(&at([0, 1]), 1);
        awaiting.answer(good(1, 1), now);
        assert!(awaiting.ready(now).is_empty());
        assert_eq!(awaiting.ready(now + GRACE).into_keys().collect::<Vec<_>>(), at([1]));
        awaiting.answer(good(1, 0), now + 9 * GRACE);
        assert_eq!(awaiting.ready(now + 9 * GRACE).into_keys().collect::<Vec<_>>(), at([0]));
    }

    #[test]
    fn a_partition_that_went_to_another_member_does_not_begin_again() {
        let (mut awaiting, now) = (Awaiting::default(), Instant::now());
        awaiting.assign(&at([0, 1]), now);
        awaiting.asked(&at([0, 1]), 1);
        [0, 1].into_iter().for_each(|partition| drop(awaiting.answer(good(1, partition), now)));
        assert_eq!(awaiting.ready(now).len(), 2);
        awaiting.revoke(&at([1]));
        awaiting.restart(&at([0, 1]), now);
        assert_eq!(awaiting.due(now), [at([0])]);
        awaiting.assign(&at([1]), now);
        assert_eq!(awaiting.partitions(), at([0, 1]));
    }

    #[test]
    fn when_the_topic_was_created_again_between_two_questions_all_are_asked_again() {
        let (mut awaiting, now) = (Awaiting::default(), Instant::now());
        awaiting.assign(&at([0, 1]), now);
        awaiting.asked(&at([0]), 1);
        awaiting.asked(&at([1]), 2);
        awaiting.answer(of_topic(1, 0, Some("T")), now);
        awaiting.answer(of_topic(2, 1, Some("U")), now);
        assert!(awaiting.ready(now).is_empty(), "one of them is of a topic that is gone");
        assert_eq!(awaiting.due(now + RETRY), [at([0, 1])]);
        awaiting.asked(&at([0, 1]), 3);
        [0, 1]
            .into_iter()
            .for_each(|partition| drop(awaiting.answer(of_topic(3, partition, Some("U")), now)));
        assert_eq!(awaiting.ready(now).len(), 2);
    }

    #[test]
    fn an_answer_to_an_earlier_question_is_ignored() {
        let (mut awaiting, now) = (Awaiting::default(), Instant::now());
        awaiting.assign(&at([0]), now);
        awaiting.asked(&at([0]), 1);
        awaiting.revoke(&at([0]));
        awaiting.assign(&at([0]), now);
        awaiting.asked(&at([0]), 2);
        awaiting.answer(good(1, 0), now);
        assert!(awaiting.ready(now + GRACE).is_empty());
    }

    #[test]
    fn partitions_that_failed_together_are_asked_for_alone_a_few_at_a_time() {
        let (mut awaiting, now) = (Awaiting::default(), Instant::now());
        awaiting.assign(&at(0..20), now);
        awaiting.asked(&at(0..20), 1);
        (0..20).for_each(|partition| drop(awaiting.answer(bad(1, partition, true), now)));
        let due = awaiting.due(now + RETRY);
        assert_eq!(due, (0..8).map(|partition| at([partition])).collect::<Vec<_>>());
        awaiting.asked(&due[0], 2);
        assert_eq!(awaiting.due(now + RETRY).len(), 7);
    }

    #[test]
    fn each_topic_is_asked_for_with_a_question_of_its_own_and_has_its_own_id() {
        let (mut awaiting, now) = (Awaiting::default(), Instant::now());
        let places = [0, 1].map(|topic| Place { topic, partition: 0 });
        awaiting.assign(&places, now);
        assert_eq!(awaiting.due(now), [vec![places[0]], vec![places[1]]]);
        for (number, place) in (1..).zip(places) {
            awaiting.asked(&[place], number);
            let answer = of_topic(number, 0, Some(if number == 1 { "T" } else { "U" }));
            assert!(awaiting.answer(Answer { partition: place, ..answer }, now).is_none());
        }
        assert_eq!(awaiting.ready(now).into_keys().collect::<Vec<_>>(), places);
    }
}
