//! The types of columns, and of the entries of their lists.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};

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

/// A map of text to text, as in the `labels` of an alarm.
#[must_use]
pub fn string_map() -> DataType {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}
