//! The fixed columns of each signal, by name and type. The names are those of the data model.
//!
//! A *text* column may be encoded as `Utf8View`, `Utf8`, or a dictionary (`Int32` keys) of either: the
//! builder of a batch chooses, and readers use [`text::TextColumn`](crate::text::TextColumn). The type listed
//! here is the one that Weir's own decoders build. A batch may lack fixed columns that nothing reads; a
//! missing column reads as NULL.
//!
//! Columns that are not fixed are attributes. Their field metadata has [`ATTRIBUTE_LEVEL`] and
//! [`ATTRIBUTE_KEY`].

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};

use crate::{Signal, span_ids};

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

/// Timestamps: nanoseconds since 1970, UTC.
#[must_use]
pub fn timestamp() -> DataType {
    static TYPE: LazyLock<DataType> =
        LazyLock::new(|| DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())));
    TYPE.clone()
}

/// Text that differs from row to row.
#[must_use]
pub const fn text() -> DataType {
    DataType::Utf8View
}

/// Text that repeats from row to row.
#[must_use]
pub fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8View))
}

/// One entry of an attribute list: `{key, type, value}`. See [`attributes`](crate::attributes).
#[must_use]
pub fn attribute_entry() -> Fields {
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
        Fields::from(vec![
            Field::new("key", dictionary(), false),
            Field::new("type", DataType::UInt8, false),
            Field::new("value", DataType::BinaryView, true),
        ])
    });
    FIELDS.clone()
}

/// A list of attributes, in wire order, repeated keys included.
#[must_use]
pub fn attribute_list() -> DataType {
    DataType::List(attribute_item())
}

/// Resource attributes: a dictionary of attribute lists, each resource once.
#[must_use]
pub fn resource_dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(attribute_list()))
}

/// An entry of `links` as the decoder of SkyWalking builds it: a reference to a span of another segment or
/// trace. That of OTLP has [more fields](otlp_link); a field that an entry lacks reads as null.
#[must_use]
pub fn link() -> Fields {
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
        Fields::from(vec![
            Field::new("trace_id", text(), true),
            Field::new("span_id", text(), true),
            Field::new("ref_type", text(), true),
            Field::new("parent_service", text(), true),
            Field::new("parent_service_instance", text(), true),
            Field::new("parent_endpoint", text(), true),
            Field::new("network_address", text(), true),
        ])
    });
    FIELDS.clone()
}

/// An entry of `links` with the fields of SkyWalking and of OTLP. Its `attributes` is an [`attribute_list`].
#[must_use]
pub fn otlp_link() -> Fields {
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
        let more = vec![
            Field::new("trace_state", text(), true),
            Field::new("attributes", attribute_list(), true),
            Field::new("dropped_attributes", DataType::UInt32, true),
            Field::new("flags", DataType::UInt32, true),
        ];
        link().iter().cloned().chain(more.into_iter().map(Arc::new)).collect()
    });
    FIELDS.clone()
}

/// An entry of `events` as the decoder of SkyWalking builds it: a log attached to a span. Its `attributes` is
/// an [`attribute_list`]. That of OTLP has [one field more](otlp_event).
#[must_use]
pub fn span_event() -> Fields {
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
        Fields::from(vec![
            Field::new("time", timestamp(), true),
            Field::new("name", text(), true),
            Field::new("attributes", attribute_list(), true),
        ])
    });
    FIELDS.clone()
}

/// An entry of `events` with the fields of OTLP.
#[must_use]
pub fn otlp_event() -> Fields {
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
        let dropped = Arc::new(Field::new("dropped_attributes", DataType::UInt32, true));
        span_event().iter().cloned().chain([dropped]).collect()
    });
    FIELDS.clone()
}

/// An entry of `quantiles` of a summary.
#[must_use]
pub fn quantile() -> Fields {
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
        Fields::from(vec![
            Field::new("quantile", DataType::Float64, true),
            Field::new("value", DataType::Float64, true),
        ])
    });
    FIELDS.clone()
}

/// An entry of `exemplars` of a data point. Its `attributes` is an [`attribute_list`].
#[must_use]
pub fn exemplar() -> Fields {
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
        Fields::from(vec![
            Field::new("time", timestamp(), true),
            Field::new("value", DataType::Float64, true),
            Field::new("value_int", DataType::Int64, true),
            Field::new("trace_id", text(), true),
            Field::new("span_id", text(), true),
            Field::new("attributes", attribute_list(), true),
        ])
    });
    FIELDS.clone()
}

/// An entry of a list of attributes, as an item of the list.
pub(crate) fn attribute_item() -> FieldRef {
    static ITEM: LazyLock<FieldRef> = LazyLock::new(|| item(attribute_entry()));
    ITEM.clone()
}

/// An entry of `links`, as an item of the list.
pub(crate) fn link_item() -> FieldRef {
    static ITEM: LazyLock<FieldRef> = LazyLock::new(|| item(link()));
    ITEM.clone()
}

/// An entry of `events`, as an item of the list.
pub(crate) fn span_event_item() -> FieldRef {
    static ITEM: LazyLock<FieldRef> = LazyLock::new(|| item(span_event()));
    ITEM.clone()
}

/// A list of structures.
pub(crate) fn list_of(entry: Fields) -> DataType {
    DataType::List(item(entry))
}

/// A list of numbers.
pub(crate) fn numbers(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

/// A structure, as an item of a list.
pub(crate) fn item(entry: Fields) -> FieldRef {
    Arc::new(Field::new("item", DataType::Struct(entry), true))
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

/// A map of text to text, as in the `labels` of an alarm.
#[must_use]
pub fn string_map() -> DataType {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}
