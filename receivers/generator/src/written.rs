//! Settings that can be written in more than one way.

use std::fmt;

use chrono::DateTime;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// `rate`: segments per second, or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// This many a second. Checked elsewhere to be a sensible number.
    PerSecond(f64),
    /// As fast as the pipeline takes them.
    Unlimited,
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Rate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of segments per second, or `unlimited`")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Rate, E> {
                Ok(Rate::PerSecond(number as f64))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Rate, E> {
                Ok(Rate::PerSecond(number as f64))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Rate, E> {
                Ok(Rate::PerSecond(number))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Rate, E> {
                if text == "unlimited" {
                    return Ok(Rate::Unlimited);
                }
                let wrong = || {
                    E::custom(format!(
                        "`{text}` is not a rate; write a number of segments per second, or `unlimited`"
                    ))
                };
                text.parse().map(Rate::PerSecond).map_err(|_| wrong())
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// `services` and `operations`: how many, or their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamesOrCount {
    /// This many, with names of the generator's choice.
    Count(u64),
    /// These.
    Names(Vec<String>),
}

impl NamesOrCount {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        match self {
            NamesOrCount::Count(count) => usize::try_from(*count).unwrap_or(usize::MAX),
            NamesOrCount::Names(names) => names.len(),
        }
    }
}

impl<'de> Deserialize<'de> for NamesOrCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NamesOrCount, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = NamesOrCount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a list of names")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<NamesOrCount, E> {
                Ok(NamesOrCount::Count(number))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<NamesOrCount, E> {
                let wrong = |_| {
                    E::custom(format!("`{number}` is negative; write a number from 1, or a list of names"))
                };
                u64::try_from(number).map(NamesOrCount::Count).map_err(wrong)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<NamesOrCount, E> {
                let wrong = |_| {
                    E::custom(format!(
                        "`{text}` is not a number; write a number from 1, or a list such as `[{text}]`"
                    ))
                };
                text.parse().map(NamesOrCount::Count).map_err(wrong)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<NamesOrCount, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(NamesOrCount::Names(names))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// `start_time`: milliseconds since 1970, or RFC 3339 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StartTime {
    /// Milliseconds since 1970, UTC.
    pub ms: i64,
}

impl<'de> Deserialize<'de> for StartTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StartTime, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = StartTime;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as `2026-01-01T00:00:00Z`, or milliseconds since 1970")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<StartTime, E> {
                Ok(StartTime { ms: i64::try_from(number).unwrap_or(i64::MAX) })
            }

            fn visit_i64<E: Error>(self, ms: i64) -> Result<StartTime, E> {
                Ok(StartTime { ms })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<StartTime, E> {
                let time = DateTime::parse_from_rfc3339(text).map_err(|error| {
                    E::custom(format!(
                        "`{text}` is not a time ({error}); write for example `2026-01-01T00:00:00Z`"
                    ))
                })?;
                Ok(StartTime { ms: time.timestamp_millis() })
            }
        }
        deserializer.deserialize_any(Written)
    }
}
