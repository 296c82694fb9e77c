//! The fixed columns of each signal, by name and type. The names are those of the data model.
//!
//! A *text* column may be encoded as `Utf8View`, `Utf8`, or a dictionary (`Int32` keys) of either: the
//! builder of a batch chooses, and readers use [`text::TextColumn`](crate::text::TextColumn). The type listed
//! here is the one that Weir's own decoders build. A batch may lack fixed columns that nothing reads; a
//! missing column reads as NULL.
//!
//! Columns that are not fixed are attributes. Their field metadata has [`ATTRIBUTE_LEVEL`] and
//! [`ATTRIBUTE_KEY`].

mod types;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use crate::{Signal, span_ids};

pub use types::{
    attribute_entry, attribute_list, dictionary, exemplar, link, otlp_event, otlp_link, quantile,
    resource_dictionary, span_event, string_map, text, timestamp,
};
pub(crate) use types::{attribute_item, item, link_item, list_of, numbers, span_event_item};

/// Metadata key of an attribute column: `span`, `resource` or `scope`.
pub const ATTRIBUTE_LEVEL: &str = "weir.level";
/// Metadata key of an attribute column: the attribute's key as received.
pub const ATTRIBUTE_KEY: &str = "weir.key";
/// The column that holds every attribute that has no column of its own.
pub const ATTRIBUTES: &str = "attributes";
/// The column of resource attributes.
pub const RESOURCE: &str = "resource";
/// The column of the attributes of OTLP's instrumentation scope.
pub const SCOPE: &str = "scope";
/// The column of the metadata of an OTLP metric, which are attributes, too.
pub const METADATA: &str = "metadata";
/// The column of the bodies of logs that are no texts, as OTLP's `AnyValue`s. It is for encoders:
/// destinations store `body`, which has the same as text.
pub const BODY_VALUE: &str = "body_value";
/// Where a row came from: what its lane is, for every owner the same. No column of batches, it is the same
/// for all rows of one.
pub const SOURCE: &str = "_source";
/// The position in its lane of the record that a row came from: the Kafka offset. In batches whose readers
/// [ask for it](crate::Demand::positions), from receivers that know it. Neither fixed nor an attribute.
pub const OFFSET: &str = "_offset";

/// When the record that a row came from was appended to its lane, in milliseconds since 1970: the append time
/// of Kafka's broker. In batches whose readers [ask for it](crate::Demand::arrivals), of lanes that keep it.
/// Neither fixed nor an attribute. [`Arrivals`](crate::Arrivals) reads it.
pub const ARRIVAL: &str = "_arrival";

/// Whether a column is about the record of a row ([`SOURCE`], [`OFFSET`] and [`ARRIVAL`]), or computed from
/// other columns ([`DERIVED`]). Such columns are no part of the event, and no destination stores them as one
/// of its attributes.
#[must_use]
pub fn is_of_record(name: &str) -> bool {
    [SOURCE, OFFSET, ARRIVAL].contains(&name) || DERIVED.contains(&name)
}

/// The field of [`OFFSET`], as decoders build it: records have several rows.
#[must_use]
pub fn offset() -> FieldRef {
    static FIELD: LazyLock<FieldRef> = LazyLock::new(|| of_record(OFFSET));
    Arc::clone(&FIELD)
}

/// The field of [`ARRIVAL`], as decoders build it: records have several rows.
#[must_use]
pub fn arrival() -> FieldRef {
    static FIELD: LazyLock<FieldRef> = LazyLock::new(|| of_record(ARRIVAL));
    Arc::clone(&FIELD)
}

fn of_record(name: &str) -> FieldRef {
    let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Int64));
    Arc::new(Field::new(name, kind, false))
}

/// The metadata of the column of an attribute.
#[must_use]
pub fn attribute_metadata(level: &str, key: &str) -> HashMap<String, String> {
    HashMap::from([
        (ATTRIBUTE_LEVEL.to_owned(), level.to_owned()),
        (ATTRIBUTE_KEY.to_owned(), key.to_owned()),
    ])
}

/// The fixed columns of a signal, in the order in which they are shown and stored.
///
/// `Windows` lists the columns that every operator has; its group-by keys and measures come after.
#[must_use]
pub fn fixed(signal: Signal) -> &'static Fields {
    static FIXED: LazyLock<[Fields; 5]> = LazyLock::new(|| Signal::ALL.map(build));
    &FIXED[signal as usize]
}

/// Columns of Traces that are computed when something names them: whole nanoseconds. Who reads all fixed
/// columns does not get them.
pub const DERIVED: [&str; 2] = ["self_duration_ns", "transfer_ns"];

/// Whether `name` is a fixed column of this signal, one that is [computed](DERIVED), or one of the
/// [parts of span ids](span_ids): no attribute has a column of that name.
#[must_use]
pub fn is_fixed(signal: Signal, name: &str) -> bool {
    fixed(signal).find(name).is_some()
        || signal == Signal::Traces && (span_ids::PARTS.contains(&name) || DERIVED.contains(&name))
}

/// Whether `name` is a fixed column of Traces, Logs or Metrics: of what receivers give.
#[must_use]
pub fn is_fixed_anywhere(name: &str) -> bool {
    [Signal::Traces, Signal::Logs, Signal::Metrics].into_iter().any(|signal| is_fixed(signal, name))
}

fn build(signal: Signal) -> Fields {
    let column = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let counts = || numbers(DataType::UInt64);
    let columns = match signal {
        Signal::Traces => vec![
            column("time", timestamp()),
            column("end_time", timestamp()),
            column("duration_ns", DataType::Int64),
            column("trace_id", dictionary()),
            column("span_id", text()),
            column("parent_span_id", text()),
            column("segment_id", dictionary()),
            column("segment_span_id", DataType::Int32),
            column("service", dictionary()),
            column("service_instance", dictionary()),
            column("operation", text()),
            column("kind", dictionary()),
            column("status", dictionary()),
            column("status_message", text()),
            column("peer", text()),
            column("component", dictionary()),
            column("component_id", DataType::Int32),
            column("layer", dictionary()),
            column("skip_analysis", DataType::Boolean),
            column("size_limited", DataType::Boolean),
            column("trace_state", text()),
            column("flags", DataType::UInt32),
            column("dropped_attributes", DataType::UInt32),
            column("dropped_events", DataType::UInt32),
            column("dropped_links", DataType::UInt32),
            column("scope_name", dictionary()),
            column("scope_version", dictionary()),
            column(SCOPE, resource_dictionary()),
            column("scope_schema_url", dictionary()),
            column("scope_dropped_attributes", DataType::UInt32),
            column("resource_schema_url", dictionary()),
            column("resource_dropped_attributes", DataType::UInt32),
            column("entity_refs", dictionary()),
            column("links", list_of(otlp_link())),
            column("events", list_of(otlp_event())),
            column(RESOURCE, resource_dictionary()),
            column(ATTRIBUTES, attribute_list()),
        ],
        Signal::Logs => vec![
            column("time", timestamp()),
            column("observed_time", timestamp()),
            column("severity_number", DataType::Int32),
            column("severity_text", dictionary()),
            column("body", text()),
            column("body_type", dictionary()),
            column(BODY_VALUE, DataType::BinaryView),
            column("time_missing", DataType::Boolean),
            column("event_name", text()),
            column("trace_id", text()),
            column("span_id", text()),
            column("segment_id", text()),
            column("service", dictionary()),
            column("service_instance", dictionary()),
            column("endpoint", text()),
            column("flags", DataType::UInt32),
            column("dropped_attributes", DataType::UInt32),
            column("scope_name", dictionary()),
            column("scope_version", dictionary()),
            column(SCOPE, resource_dictionary()),
            column("scope_schema_url", dictionary()),
            column("scope_dropped_attributes", DataType::UInt32),
            column("resource_schema_url", dictionary()),
            column("resource_dropped_attributes", DataType::UInt32),
            column("entity_refs", dictionary()),
            column(RESOURCE, resource_dictionary()),
            column(ATTRIBUTES, attribute_list()),
        ],
        Signal::Metrics => vec![
            column("time", timestamp()),
            column("start_time", timestamp()),
            column("metric", dictionary()),
            column("metric_type", dictionary()),
            column("unit", dictionary()),
            column("description", dictionary()),
            column(METADATA, resource_dictionary()),
            column("temporality", dictionary()),
            column("monotonic", DataType::Boolean),
            column("value", DataType::Float64),
            column("value_int", DataType::Int64),
            column("count", DataType::UInt64),
            column("sum", DataType::Float64),
            column("min", DataType::Float64),
            column("max", DataType::Float64),
            column("bounds", numbers(DataType::Float64)),
            column("bucket_counts", counts()),
            column("scale", DataType::Int32),
            column("zero_count", DataType::UInt64),
            column("zero_threshold", DataType::Float64),
            column("positive_offset", DataType::Int32),
            column("positive_bucket_counts", counts()),
            column("negative_offset", DataType::Int32),
            column("negative_bucket_counts", counts()),
            column("quantiles", list_of(quantile())),
            column("exemplars", list_of(exemplar())),
            column("flags", DataType::UInt32),
            column("service", dictionary()),
            column("service_instance", dictionary()),
            column("scope_name", dictionary()),
            column("scope_version", dictionary()),
            column(SCOPE, resource_dictionary()),
            column("scope_schema_url", dictionary()),
            column("scope_dropped_attributes", DataType::UInt32),
            column("resource_schema_url", dictionary()),
            column("resource_dropped_attributes", DataType::UInt32),
            column("entity_refs", dictionary()),
            column(RESOURCE, resource_dictionary()),
            column(ATTRIBUTES, attribute_list()),
        ],
        Signal::Windows => vec![
            column("operator", dictionary()),
            column("window_start", timestamp()),
            column("window_end", timestamp()),
            column("window_size_ms", DataType::Int64),
            column("firing", DataType::Int32),
        ],
        Signal::Alarms => vec![
            column("time", timestamp()),
            column("rule", dictionary()),
            column("severity", dictionary()),
            column("state", dictionary()),
            column("service", dictionary()),
            column("operation", dictionary()),
            column("labels", string_map()),
            column("measure", dictionary()),
            column("value", DataType::Float64),
            column("threshold", DataType::Float64),
            column("window_start", timestamp()),
            column("window_end", timestamp()),
            column("message", text()),
            column("fingerprint", text()),
            column("starts_at", timestamp()),
            column("ends_at", timestamp()),
            column("rule_epoch", DataType::Int64),
            column("annotations", string_map()),
            column("runbook", text()),
        ],
    };
    Fields::from(columns)
}
