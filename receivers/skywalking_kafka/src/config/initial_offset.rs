//! `initial_offset`: where a group without committed offsets begins.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

/// Where a group without committed offsets begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum InitialOffset {
    /// At what is produced from now on.
    #[default]
    Latest,
    /// At the oldest record that Kafka still has.
    Earliest,
    /// At the first record of this time or later, in milliseconds since 1970.
    Timestamp(i64),
}

impl<'de> Deserialize<'de> for InitialOffset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<InitialOffset, D::Error> {
        deserializer.deserialize_any(Choice)
    }
}

struct Choice;

impl<'de> Visitor<'de> for Choice {
    type Value = InitialOffset;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`latest`, `earliest` or `{timestamp: 2026-11-01T00:00:00Z}`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<InitialOffset, E> {
        match text {
            "latest" => Ok(InitialOffset::Latest),
            "earliest" => Ok(InitialOffset::Earliest),
            other => Err(E::unknown_variant(other, &["latest", "earliest", "{timestamp: …}"])),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InitialOffset, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "timestamp" {
                return Err(de::Error::unknown_field(&key, &["timestamp"]));
            }
            let text: String = map.next_value()?;
            let time = chrono::DateTime::parse_from_rfc3339(&text).map_err(|error| {
                let example = "write a time such as 2026-11-01T00:00:00Z";
                de::Error::custom(format!("`{text}` is not an RFC 3339 time ({error}): {example}"))
            })?;
            let millis = time.timestamp_millis();
            if millis < 0 {
                return Err(de::Error::custom(format!("`{text}` is before 1970")));
            }
            found = Some(InitialOffset::Timestamp(millis));
        }
        found.ok_or_else(|| de::Error::missing_field("timestamp"))
    }
}
