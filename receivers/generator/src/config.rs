//! The settings of a `generator` receiver.

use serde::Deserialize;
use weir_component::{Check, Settings};
use weir_config::{ByteSize, Diagnostics, Duration, nearest};

use crate::incident::Incident;
use crate::shape::{operation_name, service_name};
use crate::template::MAX_TIME;
use crate::written::{NamesOrCount, Rate, StartTime};

/// The settings of a `generator` receiver. Its README describes the keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Segments per second over all lanes.
    pub rate: Rate,
    /// The form of a segment.
    pub segment: SegmentConfig,
    /// The services: each segment is of one, and each calls the next.
    pub services: NamesOrCount,
    /// The operations of every service.
    pub operations: NamesOrCount,
    /// The share of segments that fail.
    pub error_rate: f64,
    /// Durations of entry spans.
    pub latency: Latency,
    /// How far event times are out of order, at most.
    pub disorder: Duration,
    /// Decides everything that looks random.
    pub seed: u64,
    /// Segments to send, over all lanes. 0 = endless.
    pub count: u64,
    /// Running time after which the generator ends. 0s = endless.
    pub duration: Duration,
    /// How many lanes send.
    pub lanes: u64,
    /// The most segments in a batch.
    pub batch: usize,
    /// The event time of the first segment; now when not given.
    pub start_time: Option<StartTime>,
    /// Slow phases.
    pub incidents: Vec<Incident>,
}

/// The form of a segment.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SegmentConfig {
    /// Spans of a segment.
    pub spans: usize,
    /// Tags of a segment, over all its spans.
    pub tags: usize,
    /// Encoded size of a segment, about.
    pub bytes: ByteSize,
}

/// A log-normal distribution.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Latency {
    /// Half of the segments are faster.
    pub median: Duration,
    /// One in a hundred is slower.
    pub p99: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            rate: Rate::PerSecond(200.0),
            segment: SegmentConfig::default(),
            services: NamesOrCount::Count(4),
            operations: NamesOrCount::Count(3),
            error_rate: 0.01,
            latency: Latency::default(),
            disorder: Duration::from_secs(2),
            seed: 1,
            count: 0,
            duration: Duration::ZERO,
            lanes: 1,
            batch: 256,
            start_time: None,
            incidents: Vec::new(),
        }
    }
}

impl Default for SegmentConfig {
    fn default() -> SegmentConfig {
        SegmentConfig { spans: 16, tags: 64, bytes: ByteSize::bytes(4307) }
    }
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { median: Duration::from_millis(20), p99: Duration::from_millis(400) }
    }
}

const MAX_RATE: f64 = 10_000_000.0;
const MAX_SPANS: usize = 1_000;
const MAX_TAGS: usize = 10_000;
const MAX_SEGMENT: u64 = 1 << 20;
const MAX_LANES: u64 = 256;
const MAX_NAMES: usize = 10_000;
/// Bytes of a batch, and of all prepared segments together.
const MAX_BYTES: u64 = 256 << 20;
const MIN_TIME: i64 = 1 << 35;

impl Config {
    /// The names of the services.
    pub(crate) fn service_names(&self) -> Vec<String> {
        match &self.services {
            NamesOrCount::Names(names) => names.clone(),
            NamesOrCount::Count(_) => (0..self.services.len()).map(service_name).collect(),
        }
    }

    /// The names of the operations of each service.
    pub(crate) fn operation_names(&self) -> Vec<Vec<String>> {
        let of = |service: &String| match &self.operations {
            NamesOrCount::Names(names) => names.clone(),
            NamesOrCount::Count(_) => {
                (0..self.operations.len()).map(|at| operation_name(service, at)).collect()
            }
        };
        self.service_names().iter().map(of).collect()
    }

    /// Service and operation of an incident, as indices.
    ///
    /// # Errors
    /// The key whose name does not exist, and a message.
    pub(crate) fn place(&self, incident: &Incident) -> Result<(usize, usize), (&'static str, String)> {
        let find = |names: &[String], name: &Option<String>, what: &str| {
            let Some(name) = name else { return Ok(0) };
            names.iter().position(|one| one == name).ok_or_else(|| {
                let known = names.iter().map(String::as_str);
                let meant =
                    nearest(name, known).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
                format!("`{name}` is not one of the {what}{meant}")
            })
        };
        let service =
            find(&self.service_names(), &incident.service, "services").map_err(|why| ("service", why))?;
        let of_service = self.operation_names().into_iter().nth(service).unwrap_or_default();
        let what = "operations of that service";
        let operation = find(&of_service, &incident.operation, what).map_err(|why| ("operation", why))?;
        Ok((service, operation))
    }

    /// How many variants of every operation are prepared: more make data more diverse, as far as memory
    /// allows.
    pub(crate) fn variants(&self) -> usize {
        let one = self.pairs().saturating_mul(self.largest()).saturating_mul(2).max(1);
        let many = (2048 / self.pairs().max(1)).min((32 << 20) / one).clamp(1, 8);
        usize::try_from(many).unwrap_or(1)
    }

    /// No segment has more bytes.
    fn largest(&self) -> u64 {
        let longest = |named: &NamesOrCount| match named {
            NamesOrCount::Names(names) => names.iter().map(String::len).max().unwrap_or_default(),
            NamesOrCount::Count(_) => 40,
        };
        let names = longest(&self.services) + longest(&self.operations);
        let built = self.segment.spans.min(MAX_SPANS) * (320 + 5 * names)
            + self.segment.tags.min(MAX_TAGS) * 48
            + 30 * names
            + 4_096;
        (built as u64).saturating_add(self.segment.bytes.get())
    }

    fn pairs(&self) -> u64 {
        (self.services.len() as u64).saturating_mul(self.operations.len() as u64)
    }

    /// The faults, by key.
    fn problems(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut check = |ok: bool, key: &str, message: &str| {
            if !ok {
                found.push((key.to_owned(), message.to_owned()));
            }
        };
        if let Rate::PerSecond(rate) = self.rate {
            let sensible = rate > 0.0 && rate <= MAX_RATE;
            check(
                sensible,
                "rate",
                "must be more than 0 and at most 10000000; write `unlimited` for no limit",
            );
        }
        let share = |rate: f64| (0.0..=1.0).contains(&rate);
        check((1..=MAX_SPANS).contains(&self.segment.spans), "segment.spans", "must be from 1 to 1000");
        check(self.segment.tags <= MAX_TAGS, "segment.tags", "must be at most 10000");
        check(self.segment.bytes.get() <= MAX_SEGMENT, "segment.bytes", "must be at most 1MiB");
        check(share(self.error_rate), "error_rate", "must be from 0 to 1");
        check(!self.latency.median.is_zero(), "latency.median", "must be more than 0");
        check(self.latency.p99 >= self.latency.median, "latency.p99", "must not be less than the median");
        check(self.disorder <= Duration::from_secs(86_400), "disorder", "must be at most 1d");
        check((1..=MAX_LANES).contains(&self.lanes), "lanes", "must be from 1 to 256");
        check(self.batch >= 1, "batch", "must be at least 1");
        let in_range = self.start_time.is_none_or(|time| (MIN_TIME..MAX_TIME / 2).contains(&time.ms));
        check(in_range, "start_time", "must be between 1972 and 2039");
        for (key, named) in [("services", &self.services), ("operations", &self.operations)] {
            check((1..=MAX_NAMES).contains(&named.len()), key, "must be at least 1 and at most 10000");
            if let NamesOrCount::Names(names) = named {
                let mut sorted = names.clone();
                sorted.sort_unstable();
                sorted.dedup();
                check(sorted.len() == names.len(), key, "must not have a name twice");
                check(!names.iter().any(String::is_empty), key, "must not have an empty name");
                check(names.iter().all(|name| name.len() <= 256), key, "must not have names above 256 bytes");
            }
        }
        // What follows from wrong values is not shown.
        if found.is_empty() {
            self.problems_of_memory(&mut found);
        }
        if found.is_empty() {
            self.incidents.iter().enumerate().for_each(|(at, one)| self.problems_of(at, one, &mut found));
        }
        found
    }

    fn problems_of_memory(&self, found: &mut Vec<(String, String)>) {
        let mut check = |bytes: u64, key: &str, message: &str| {
            if bytes > MAX_BYTES {
                found.push((key.to_owned(), message.to_owned()));
            }
        };
        let batch = (self.batch as u64).saturating_mul(self.largest());
        check(batch, "batch", "must be smaller: a batch of such segments can have more than 256MiB");
        let prepared = self.pairs().saturating_mul(2).saturating_mul(self.largest());
        let message =
            "must be fewer: segments of all services and operations are prepared in memory, at most 256MiB";
        check(prepared, "operations", message);
    }

    fn problems_of(&self, at: usize, incident: &Incident, found: &mut Vec<(String, String)>) {
        let mut push = |key: &str, message: String| found.push((format!("incidents[{at}].{key}"), message));
        if incident.every.as_millis() < 1 {
            push("every", "must be at least 1ms".to_owned());
        } else if incident.lasting >= incident.every {
            push("lasting", "must be less than `every`, or the incident never ends".to_owned());
        }
        if !(incident.latency_factor > 0.0 && incident.latency_factor <= 1e6) {
            push("latency_factor", "must be more than 0 and at most 1000000".to_owned());
        }
        if !(0.0..=1.0).contains(&incident.error_rate) {
            push("error_rate", "must be from 0 to 1".to_owned());
        }
        if let Err((key, message)) = self.place(incident) {
            push(key, message);
        }
    }
}

/// Reads and checks the settings.
///
/// # Errors
/// Every wrong key and value, with its place.
pub(crate) fn read(settings: Settings<'_>) -> Result<Config, Diagnostics> {
    let config: Config = settings.read()?;
    let mut check = Check::new(settings);
    check.all(config.problems());
    check.finish(config)
}
