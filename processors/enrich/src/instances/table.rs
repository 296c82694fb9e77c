//! The table: the columns of each service instance.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use weir_component::Context;
use weir_component::telemetry::{Metric, MetricKind};

use crate::config::Instances;

pub(crate) const KNOWN: Metric = Metric {
    name: "weir_enrich_instances",
    help: "Service instances whose properties are known.",
    kind: MetricKind::Gauge,
    labels: &["processor"],
};
pub(crate) const FORGOTTEN: Metric = Metric {
    name: "weir_enrich_forgotten_instances",
    help: "Service instances that were forgotten to make room for others: those that reported least recently.",
    kind: MetricKind::Counter,
    labels: &["processor"],
};

/// When the table is full, this part of it is forgotten at once.
const FORGOTTEN_PART: usize = 16;

/// A value for each column, where there is one.
pub(crate) type Values = Arc<[Option<Box<str>>]>;

/// The columns of service instances. Shared by the lanes of a pipeline.
pub(crate) struct InstanceTable {
    /// Each column, and the properties that it is taken from, the first that is there.
    pub(crate) columns: Vec<(String, Vec<String>)>,
    max: usize,
    known: RwLock<Known>,
    /// Told of every change.
    pub(crate) changed: Notify,
    count: Gauge,
    forgotten: Counter,
}

/// By service and instance.
#[derive(Debug, Default)]
pub(crate) struct Known {
    by_service: HashMap<Box<str>, HashMap<Box<str>, Entry>>,
    count: usize,
}

#[derive(Debug)]
struct Entry {
    /// When it reported last, in milliseconds.
    seen_ms: i64,
    values: Values,
}

/// An instance, as it is kept on disk.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptInstance {
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) seen_ms: i64,
    /// Column and value.
    pub(crate) columns: Vec<(String, String)>,
}

impl InstanceTable {
    pub(crate) fn new(config: &Instances, context: &Context) -> InstanceTable {
        let id = context.id.to_string();
        InstanceTable {
            columns: config.columns.clone().into_iter().collect(),
            max: config.max,
            known: RwLock::default(),
            changed: Notify::new(),
            count: context.telemetry.gauge(&KNOWN, &[&id]),
            forgotten: context.telemetry.counter(&FORGOTTEN, &[&id]),
        }
    }

    /// What is known.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the values of an instance.
    pub(crate) fn put(&self, service: &str, instance: &str, seen_ms: i64, values: Values) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) =
            known.by_service.get_mut(service).and_then(|instances| instances.get_mut(instance))
        {
            entry.seen_ms = entry.seen_ms.max(seen_ms);
            if entry.values != values {
                entry.values = values;
                self.changed.notify_one();
            }
            return;
        }
        if known.count >= self.max {
            let forgotten = known.forget((self.max / FORGOTTEN_PART).max(1));
            self.forgotten.inc_by(forgotten as u64);
        }
        let instances = known.by_service.entry(service.into()).or_default();
        instances.insert(instance.into(), Entry { seen_ms, values });
        known.count += 1;
        self.count.set(i64::try_from(known.count).unwrap_or(i64::MAX));
        self.changed.notify_one();
    }

    /// Everything, to be kept.
    pub(crate) fn kept(&self) -> Vec<KeptInstance> {
        let known = self.read();
        let mut kept = Vec::with_capacity(known.count);
        for (service, instances) in &known.by_service {
            for (instance, entry) in instances {
                let columns = self.columns.iter().zip(entry.values.iter());
                let columns = columns.filter_map(|((name, _), value)| {
                    value.as_ref().map(|value| (name.clone(), value.to_string()))
                });
                kept.push(KeptInstance {
                    service: service.to_string(),
                    instance: instance.to_string(),
                    seen_ms: entry.seen_ms,
                    columns: columns.collect(),
                });
            }
        }
        kept
    }

    /// Takes what was kept. Columns that are not configured any more are left out.
    pub(crate) fn restore(&self, kept: Vec<KeptInstance>) {
        for KeptInstance { service, instance, seen_ms, columns } in kept {
            let value = |name: &str| {
                let found = columns.iter().find(|(column, _)| column == name);
                found.map(|(_, value)| value.as_str().into())
            };
            let values: Values = self.columns.iter().map(|(name, _)| value(name)).collect();
            if values.iter().any(Option::is_some) {
                self.put(&service, &instance, seen_ms, values);
            }
        }
    }
}

impl Known {
    /// The values of an instance.
    pub(crate) fn get(&self, service: &str, instance: &str) -> Option<&Values> {
        Some(&self.by_service.get(service)?.get(instance)?.values)
    }

    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Forgets this many instances, those that reported least recently. Says how many it were.
    fn forget(&mut self, some: usize) -> usize {
        let mut seen: Vec<i64> =
            self.by_service.values().flat_map(HashMap::values).map(|entry| entry.seen_ms).collect();
        let at = some.min(seen.len()).saturating_sub(1);
        if seen.is_empty() {
            return 0;
        }
        let limit = *seen.select_nth_unstable(at).1;
        let mut left = some;
        self.by_service.retain(|_, instances| {
            instances.retain(|_, entry| {
                let goes = left > 0 && entry.seen_ms <= limit;
                left -= usize::from(goes);
                !goes
            });
            !instances.is_empty()
        });
        self.count -= some - left;
        some - left
    }
}
