//! The topics of a receiver, and how their partitions are named.

use std::fmt;
use std::sync::Arc;

use weir_pdata::{Format, Signal};

/// The topics that a receiver reads. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct TopicSet(Arc<[Topic]>);

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    /// Its name in Kafka.
    pub(crate) name: Arc<str>,
    /// What agents write to it.
    pub(crate) content: Content,
}

/// What agents write to a topic: one message a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// `SegmentObject`.
    Segments,
    /// `JVMMetricCollection`.
    Metrics,
    /// `MeterDataCollection`, or a bare `MeterData`.
    Meters,
    /// `LogData`.
    Logs,
    /// `LogData` in protobuf's JSON form.
    LogsJson,
    /// `InstanceProperties` under keys that begin with `register-`, else `InstancePingPkg`.
    Managements,
    /// `ThreadSnapshot`.
    Profilings,
}

/// A partition of one of the topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// The number of the topic in its [`TopicSet`].
    pub(crate) topic: usize,
    /// The partition.
    pub(crate) partition: i32,
}

/// Keys of managements that are properties of an instance begin with it.
const REGISTER: &[u8] = b"register-";

impl Content {
    /// How a record under this key is encoded.
    pub(crate) fn format(self, key: Option<&[u8]>) -> Format {
        match self {
            Content::Segments => Format::SkyWalkingSegment,
            Content::Metrics => Format::SkyWalkingJvm,
            Content::Meters => Format::SkyWalkingMeters,
            Content::Logs => Format::SkyWalkingLog,
            Content::LogsJson => Format::SkyWalkingLogJson,
            Content::Managements if key.is_some_and(|key| key.starts_with(REGISTER)) => {
                Format::SkyWalkingInstance
            }
            Content::Managements => Format::SkyWalkingPing,
            Content::Profilings => Format::SkyWalkingSnapshot,
        }
    }

    /// The signal of its events.
    pub(crate) fn signal(self) -> Signal {
        match self {
            Content::Segments => Signal::Traces,
            Content::Metrics | Content::Meters => Signal::Metrics,
            Content::Logs | Content::LogsJson | Content::Managements | Content::Profilings => Signal::Logs,
        }
    }
}

impl TopicSet {
    /// These topics.
    pub(crate) fn new(topics: impl IntoIterator<Item = Topic>) -> TopicSet {
        TopicSet(topics.into_iter().collect())
    }

    /// Every topic, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.0.iter()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The name of a topic.
    pub(crate) fn name(&self, topic: usize) -> &Arc<str> {
        static NONE: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| Arc::from(""));
        self.0.get(topic).map_or(&NONE, |topic| &topic.name)
    }

    /// What a topic has.
    pub(crate) fn content(&self, topic: usize) -> Content {
        self.0.get(topic).map_or(Content::Segments, |topic| topic.content)
    }

    /// The place of a partition.
    pub(crate) fn place(&self, topic: &str, partition: i32) -> Option<Place> {
        let topic = self.0.iter().position(|known| *known.name == *topic)?;
        Some(Place { topic, partition })
    }

    /// Partitions as a text for people: `skywalking-segments: [0, 1]; skywalking-logs: [0]`.
    pub(crate) fn text(&self, places: &[Place]) -> String {
        let mut text = String::new();
        for (number, topic) in self.0.iter().enumerate() {
            let of = places.iter().filter(|place| place.topic == number).map(|place| place.partition);
            let mut partitions: Vec<i32> = of.collect();
            if !partitions.is_empty() {
                partitions.sort_unstable();
                partitions.dedup();
                let separator = if text.is_empty() { "" } else { "; " };
                text.push_str(&format!("{separator}{}: {partitions:?}", topic.name));
            }
        }
        text
    }
}

impl fmt::Display for TopicSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, topic) in self.0.iter().enumerate() {
            write!(f, "{}{}", if number == 0 { "" } else { ", " }, topic.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> TopicSet {
        let topic = |name: &str, content| Topic { name: name.into(), content };
        TopicSet::new([topic("s", Content::Segments), topic("m", Content::Managements)])
    }

    #[test]
    fn partitions_are_named_by_their_topics() {
        let topics = topics();
        assert_eq!(topics.to_string(), "s, m");
        assert_eq!(topics.place("m", 3), Some(Place { topic: 1, partition: 3 }));
        assert_eq!(topics.place("x", 3), None);
        let places = [topics.place("m", 0), topics.place("s", 2), topics.place("s", 1)].map(Option::unwrap);
        assert_eq!(topics.text(&places), "s: [1, 2]; m: [0]");
    }

    #[test]
    fn the_key_tells_properties_from_pings() {
        let format = |key| Content::Managements.format(key);
        assert_eq!(format(Some(b"register-a@b")), Format::SkyWalkingInstance);
        assert_eq!(format(Some(b"a@b")), Format::SkyWalkingPing);
        assert_eq!(format(None), Format::SkyWalkingPing);
        assert_eq!(Content::Logs.format(Some(b"register-x")), Format::SkyWalkingLog);
    }
}
