//! One rule as it is written in a configuration, and its way to a rule that has been checked.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer, StrDeserializer, U64Deserializer};
use serde::de::{self, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use weir_alarms::{Compared, Message, Severity};
use weir_component::Check;
use weir_config::Duration;

use crate::evaluation::alarm_state::{Lasting, Patience};
use crate::rule::active_times::ActiveTimes;
use crate::rule::comparison::Comparison;
use crate::rule::earlier::{LookBack, of_window, rewrite};
use crate::rule::glob::Glob;
use crate::rule::{Clause, Extras, InlineRule, Kind, NoData, PerSeverity, Rule};

const NANOS: i64 = 1_000_000;

/// The keys of a rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleKeys {
    name: String,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(rename = "match", default)]
    labels_match: BTreeMap<String, String>,
    #[serde(default)]
    operator: Option<String>,
    #[serde(default)]
    when: When,
    #[serde(default)]
    when_active: TimesText,
    #[serde(rename = "for", default)]
    fire_after: For,
    #[serde(default = "one")]
    resolve_after: NonZeroU32,
    #[serde(default)]
    keep_firing_for: Option<Duration>,
    #[serde(default)]
    silence: Option<Duration>,
    #[serde(default)]
    no_data: Option<NoDataKeys>,
    #[serde(default)]
    resolve_without_data: Option<Duration>,
    #[serde(default)]
    min_count: u64,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    runbook: Option<String>,
}

fn yes() -> bool {
    true
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// A condition for each severity.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    #[serde(default)]
    high: Option<String>,
    #[serde(default)]
    mid: Option<String>,
    #[serde(default)]
    low: Option<String>,
}

/// `for`: a number of windows, or a duration.
enum For {
    Windows(NonZeroU32),
    Time(Duration),
}

impl Default for For {
    fn default() -> For {
        For::Windows(one())
    }
}

/// `no_data`: a duration is short for `after`.
struct NoDataKeys {
    after: Duration,
    severity: Option<Severity>,
}

/// A text, or a list of texts.
#[derive(Default)]
struct TimesText(Vec<String>);

impl RuleKeys {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The rule at this key path, when its texts are templates; a wrong condition is left out.
    pub(crate) fn check(&self, check: &mut Check<'_>, path: &str) -> Option<Rule> {
        if self.name.is_empty() {
            check.wrong(&format!("{path}.name"), "a rule needs a name");
        }
        let when = &self.when;
        let has_condition = [&when.high, &when.mid, &when.low].iter().any(|condition| condition.is_some());
        if !has_condition && self.no_data.is_none() {
            let message = "no condition: write at least one of `high`, `mid` and `low`";
            check.wrong(&format!("{path}.when"), message);
        }
        let mut earlier = Vec::new();
        let mut clause = |severity: Severity, text: &Option<String>| {
            let key = format!("{path}.when.{}", severity.name());
            let rewritten = rewrite(text.as_deref()?).map_err(|why| check.wrong(&key, why));
            let (text, columns) = rewritten.ok()?;
            let condition = check.condition(&key, &text)?;
            earlier.extend(columns);
            let mut compared = Compared::of(&condition);
            let comparison = Comparison::of(&condition, &compared).filter(|_| earlier.is_empty());
            compared.measure = compared.measure.map(|measure| of_window(&measure).into());
            Some(Clause { compared, condition, comparison })
        };
        let when = PerSeverity {
            high: clause(Severity::High, &when.high),
            mid: clause(Severity::Mid, &when.mid),
            low: clause(Severity::Low, &when.low),
        };
        earlier.sort_unstable();
        earlier.dedup();
        let look_back = LookBack::of(&earlier);
        let mut time = |key: &str, duration: Option<Duration>| {
            duration.map(|duration| check.millis(&format!("{path}.{key}"), duration) * NANOS)
        };
        let fire_after = match self.fire_after {
            For::Windows(windows) => Lasting::Windows(windows.get()),
            For::Time(duration) => Lasting::Time(time("for", Some(duration)).unwrap_or(0)),
        };
        let keep_firing_for = time("keep_firing_for", self.keep_firing_for).unwrap_or(0);
        let silence = time("silence", self.silence).unwrap_or(0);
        let after = time("no_data", self.no_data.as_ref().map(|no_data| no_data.after));
        let resolve_without_data = time("resolve_without_data", self.resolve_without_data);
        if after == Some(0) {
            check.wrong(&format!("{path}.no_data"), "must be more than 0: it is the time without windows");
        }
        match resolve_without_data {
            Some(0) => {
                let why = "must be more than 0: it is the time without windows";
                check.wrong(&format!("{path}.resolve_without_data"), why);
            }
            Some(end) if after.is_some_and(|after| end <= after) => {
                let why = "must be longer than `no_data`: it ends that alarm too";
                check.wrong(&format!("{path}.resolve_without_data"), why);
            }
            _ => {}
        }
        let no_data = after.zip(self.no_data.as_ref()).map(|(after, keys)| {
            let worst = Severity::FROM_HIGH.into_iter().find(|severity| when.get(*severity).is_some());
            NoData { after, severity: keys.severity.or(worst).unwrap_or(Severity::High) }
        });
        let active = match self.when_active.0.as_slice() {
            [] => None,
            texts => ActiveTimes::parse(texts.iter().map(String::as_str))
                .map_err(|why| check.wrong(&format!("{path}.when_active"), why.to_string()))
                .ok(),
        };
        let extras = self.extras(check, path);
        let message = self.message.as_deref().map_or(Ok(Message::default()), Message::parse);
        let message =
            message.map_err(|error| check.wrong(&format!("{path}.message"), error.to_string())).ok()?;
        let labels = self.labels_match.iter().map(|(name, glob)| (name.clone(), Glob::new(glob))).collect();
        let operator = self.operator.as_ref().map(Glob::new);
        let resolve_after = self.resolve_after.get();
        Some(Rule {
            name: self.name.as_str().into(),
            kind: Kind::Inline(InlineRule { operator, labels, when, earlier, look_back }),
            patience: Patience { fire_after, resolve_after, keep_firing_for },
            min_count: self.min_count,
            message,
            silence,
            no_data,
            resolve_without_data,
            active,
            extras,
        })
    }

    fn extras(&self, check: &mut Check<'_>, path: &str) -> Extras {
        let labels = self.labels.iter().map(|(name, value)| (Arc::from(name.as_str()), value.clone()));
        let mut template = |(name, text): (&String, &String)| {
            let template = Message::parse(text);
            let wrong = |error: weir_alarms::MessageError| {
                check.wrong(&format!("{path}.annotations.{name}"), error.to_string());
            };
            Some((Arc::from(name.as_str()), template.map_err(wrong).ok()?))
        };
        Extras {
            labels: labels.collect(),
            annotations: self.annotations.iter().filter_map(&mut template).collect(),
            runbook: self.runbook.as_deref().map(Arc::from),
        }
    }
}

impl<'de> Deserialize<'de> for For {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<For, D::Error> {
        struct WindowsOrTime;
        impl Visitor<'_> for WindowsOrTime {
            type Value = For;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of windows from 1, or a duration such as `5m`")
            }

            fn visit_u64<E: de::Error>(self, windows: u64) -> Result<For, E> {
                let deserializer: U64Deserializer<E> = windows.into_deserializer();
                NonZeroU32::deserialize(deserializer).map(For::Windows)
            }

            fn visit_i64<E: de::Error>(self, windows: i64) -> Result<For, E> {
                match u64::try_from(windows) {
                    Ok(windows) => self.visit_u64(windows),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(windows), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<For, E> {
                let deserializer: StrDeserializer<'_, E> = text.into_deserializer();
                Duration::deserialize(deserializer).map(For::Time)
            }
        }
        deserializer.deserialize_any(WindowsOrTime)
    }
}

impl<'de> Deserialize<'de> for NoDataKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NoDataKeys, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Keys {
            after: Duration,
            #[serde(default)]
            severity: Option<Severity>,
        }
        struct TimeOrMap;
        impl<'de> Visitor<'de> for TimeOrMap {
            type Value = NoDataKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `5m`, or a map with `after` and `severity`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<NoDataKeys, E> {
                let deserializer: StrDeserializer<'_, E> = text.into_deserializer();
                let after = Duration::deserialize(deserializer)?;
                Ok(NoDataKeys { after, severity: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NoDataKeys, A::Error> {
                let Keys { after, severity } = Keys::deserialize(MapAccessDeserializer::new(map))?;
                Ok(NoDataKeys { after, severity })
            }
        }
        deserializer.deserialize_any(TimeOrMap)
    }
}

impl<'de> Deserialize<'de> for TimesText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TimesText, D::Error> {
        struct TextOrList;
        impl<'de> Visitor<'de> for TextOrList {
            type Value = TimesText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("times such as `workdays 08:00-20:00 Asia/Shanghai`, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TimesText, E> {
                Ok(TimesText(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<TimesText, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(TimesText)
            }
        }
        deserializer.deserialize_any(TextOrList)
    }
}
