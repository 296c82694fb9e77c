//! The messages of OTLP as tables: what a field is called in JSON, and what it is in protobuf.

/// A message.
pub(super) struct Message {
    /// In the order of their numbers, which is that in which protobuf is written.
    pub(super) fields: &'static [Field],
}

/// A field of a message.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
    /// Whether a value of 0 is different from no value.
    pub(super) presence: bool,
}

/// The type of a field.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Bytes in hexadecimal: the ids of traces and spans.
    Id,
    /// Other bytes.
    Base64,
    Bool,
    /// The names of its numbers from 0.
    Enum(&'static [&'static str]),
    UInt32,
    SInt32,
    Int64,
    UInt64,
    Fixed64,
    SFixed64,
    Fixed32,
    Double,
    Message(&'static Message),
}

const fn one(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: false, presence: false }
}

const fn optional(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: false, presence: true }
}

const fn many(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: true, presence: true }
}

const fn attributes(number: u32) -> Field {
    many("attributes", number, Kind::Message(&KEY_VALUE))
}

pub(super) static TRACES: Message =
    Message { fields: &[many("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS))] };
pub(super) static LOGS: Message =
    Message { fields: &[many("resourceLogs", 1, Kind::Message(&RESOURCE_LOGS))] };
pub(super) static METRICS: Message =
    Message { fields: &[many("resourceMetrics", 1, Kind::Message(&RESOURCE_METRICS))] };

static RESOURCE_SPANS: Message = Message {
    fields: &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        many("scopeSpans", 2, Kind::Message(&SCOPE_SPANS)),
        one("schemaUrl", 3, Kind::Text),
    ],
};
static SCOPE_SPANS: Message = Message {
    fields: &[
        one("scope", 1, Kind::Message(&SCOPE)),
        many("spans", 2, Kind::Message(&SPAN)),
        one("schemaUrl", 3, Kind::Text),
    ],
};
static RESOURCE_LOGS: Message = Message {
    fields: &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        many("scopeLogs", 2, Kind::Message(&SCOPE_LOGS)),
        one("schemaUrl", 3, Kind::Text),
    ],
};
static SCOPE_LOGS: Message = Message {
    fields: &[
        one("scope", 1, Kind::Message(&SCOPE)),
        many("logRecords", 2, Kind::Message(&LOG_RECORD)),
        one("schemaUrl", 3, Kind::Text),
    ],
};
static RESOURCE_METRICS: Message = Message {
    fields: &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        many("scopeMetrics", 2, Kind::Message(&SCOPE_METRICS)),
        one("schemaUrl", 3, Kind::Text),
    ],
};
static SCOPE_METRICS: Message = Message {
    fields: &[
        one("scope", 1, Kind::Message(&SCOPE)),
        many("metrics", 2, Kind::Message(&METRIC)),
        one("schemaUrl", 3, Kind::Text),
    ],
};

static RESOURCE: Message = Message {
    fields: &[
        attributes(1),
        one("droppedAttributesCount", 2, Kind::UInt32),
        many("entityRefs", 3, Kind::Message(&ENTITY_REF)),
    ],
};
static ENTITY_REF: Message = Message {
    fields: &[
        one("schemaUrl", 1, Kind::Text),
        one("type", 2, Kind::Text),
        many("idKeys", 3, Kind::Text),
        many("descriptionKeys", 4, Kind::Text),
    ],
};
static SCOPE: Message = Message {
    fields: &[
        one("name", 1, Kind::Text),
        one("version", 2, Kind::Text),
        attributes(3),
        one("droppedAttributesCount", 4, Kind::UInt32),
    ],
};
static KEY_VALUE: Message =
    Message { fields: &[one("key", 1, Kind::Text), one("value", 2, Kind::Message(&ANY_VALUE))] };
static ANY_VALUE: Message = Message {
    fields: &[
        optional("stringValue", 1, Kind::Text),
        optional("boolValue", 2, Kind::Bool),
        optional("intValue", 3, Kind::Int64),
        optional("doubleValue", 4, Kind::Double),
        optional("arrayValue", 5, Kind::Message(&ARRAY_VALUE)),
        optional("kvlistValue", 6, Kind::Message(&KEY_VALUE_LIST)),
        optional("bytesValue", 7, Kind::Base64),
    ],
};
static ARRAY_VALUE: Message = Message { fields: &[many("values", 1, Kind::Message(&ANY_VALUE))] };
static KEY_VALUE_LIST: Message = Message { fields: &[many("values", 1, Kind::Message(&KEY_VALUE))] };

static SPAN: Message = Message {
    fields: &[
        one("traceId", 1, Kind::Id),
        one("spanId", 2, Kind::Id),
        one("traceState", 3, Kind::Text),
        one("parentSpanId", 4, Kind::Id),
        one("name", 5, Kind::Text),
        one("kind", 6, Kind::Enum(&SPAN_KINDS)),
        one("startTimeUnixNano", 7, Kind::Fixed64),
        one("endTimeUnixNano", 8, Kind::Fixed64),
        attributes(9),
        one("droppedAttributesCount", 10, Kind::UInt32),
        many("events", 11, Kind::Message(&EVENT)),
        one("droppedEventsCount", 12, Kind::UInt32),
        many("links", 13, Kind::Message(&LINK)),
        one("droppedLinksCount", 14, Kind::UInt32),
        one("status", 15, Kind::Message(&STATUS)),
        one("flags", 16, Kind::Fixed32),
    ],
};
static EVENT: Message = Message {
    fields: &[
        one("timeUnixNano", 1, Kind::Fixed64),
        one("name", 2, Kind::Text),
        attributes(3),
        one("droppedAttributesCount", 4, Kind::UInt32),
    ],
};
static LINK: Message = Message {
    fields: &[
        one("traceId", 1, Kind::Id),
        one("spanId", 2, Kind::Id),
        one("traceState", 3, Kind::Text),
        attributes(4),
        one("droppedAttributesCount", 5, Kind::UInt32),
        one("flags", 6, Kind::Fixed32),
    ],
};
static STATUS: Message =
    Message { fields: &[one("message", 2, Kind::Text), one("code", 3, Kind::Enum(&STATUS_CODES))] };
static SPAN_KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
static STATUS_CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

static LOG_RECORD: Message = Message {
    fields: &[
        one("timeUnixNano", 1, Kind::Fixed64),
        one("severityNumber", 2, Kind::Enum(&SEVERITIES)),
        one("severityText", 3, Kind::Text),
        one("body", 5, Kind::Message(&ANY_VALUE)),
        attributes(6),
        one("droppedAttributesCount", 7, Kind::UInt32),
        one("flags", 8, Kind::Fixed32),
        one("traceId", 9, Kind::Id),
        one("spanId", 10, Kind::Id),
        one("observedTimeUnixNano", 11, Kind::Fixed64),
        one("eventName", 12, Kind::Text),
    ],
};
static SEVERITIES: [&str; 25] = [
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE",
    "SEVERITY_NUMBER_TRACE2",
    "SEVERITY_NUMBER_TRACE3",
    "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG",
    "SEVERITY_NUMBER_DEBUG2",
    "SEVERITY_NUMBER_DEBUG3",
    "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO",
    "SEVERITY_NUMBER_INFO2",
    "SEVERITY_NUMBER_INFO3",
    "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN",
    "SEVERITY_NUMBER_WARN2",
    "SEVERITY_NUMBER_WARN3",
    "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR",
    "SEVERITY_NUMBER_ERROR2",
    "SEVERITY_NUMBER_ERROR3",
    "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL",
    "SEVERITY_NUMBER_FATAL2",
    "SEVERITY_NUMBER_FATAL3",
    "SEVERITY_NUMBER_FATAL4",
];

static METRIC: Message = Message {
    fields: &[
        one("name", 1, Kind::Text),
        one("description", 2, Kind::Text),
        one("unit", 3, Kind::Text),
        optional("gauge", 5, Kind::Message(&GAUGE)),
        optional("sum", 7, Kind::Message(&SUM)),
        optional("histogram", 9, Kind::Message(&HISTOGRAM)),
        optional("exponentialHistogram", 10, Kind::Message(&EXPONENTIAL_HISTOGRAM)),
        optional("summary", 11, Kind::Message(&SUMMARY)),
        many("metadata", 12, Kind::Message(&KEY_VALUE)),
    ],
};
static TEMPORALITIES: [&str; 3] = [
    "AGGREGATION_TEMPORALITY_UNSPECIFIED",
    "AGGREGATION_TEMPORALITY_DELTA",
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
];
const TEMPORALITY: Field = one("aggregationTemporality", 2, Kind::Enum(&TEMPORALITIES));
static GAUGE: Message = Message { fields: &[many("dataPoints", 1, Kind::Message(&NUMBER))] };
static SUM: Message = Message {
    fields: &[many("dataPoints", 1, Kind::Message(&NUMBER)), TEMPORALITY, one("isMonotonic", 3, Kind::Bool)],
};
static HISTOGRAM: Message =
    Message { fields: &[many("dataPoints", 1, Kind::Message(&HISTOGRAM_POINT)), TEMPORALITY] };
static EXPONENTIAL_HISTOGRAM: Message =
    Message { fields: &[many("dataPoints", 1, Kind::Message(&EXPONENTIAL_POINT)), TEMPORALITY] };
static SUMMARY: Message = Message { fields: &[many("dataPoints", 1, Kind::Message(&SUMMARY_POINT))] };

const START: Field = one("startTimeUnixNano", 2, Kind::Fixed64);
const TIME: Field = one("timeUnixNano", 3, Kind::Fixed64);
const COUNT: Field = one("count", 4, Kind::Fixed64);
const OPTIONAL_SUM: Field = optional("sum", 5, Kind::Double);

static NUMBER: Message = Message {
    fields: &[
        START,
        TIME,
        optional("asDouble", 4, Kind::Double),
        many("exemplars", 5, Kind::Message(&EXEMPLAR)),
        optional("asInt", 6, Kind::SFixed64),
        attributes(7),
        one("flags", 8, Kind::UInt32),
    ],
};
static HISTOGRAM_POINT: Message = Message {
    fields: &[
        START,
        TIME,
        COUNT,
        OPTIONAL_SUM,
        many("bucketCounts", 6, Kind::Fixed64),
        many("explicitBounds", 7, Kind::Double),
        many("exemplars", 8, Kind::Message(&EXEMPLAR)),
        attributes(9),
        one("flags", 10, Kind::UInt32),
        optional("min", 11, Kind::Double),
        optional("max", 12, Kind::Double),
    ],
};
static EXPONENTIAL_POINT: Message = Message {
    fields: &[
        attributes(1),
        START,
        TIME,
        COUNT,
        OPTIONAL_SUM,
        one("scale", 6, Kind::SInt32),
        one("zeroCount", 7, Kind::Fixed64),
        one("positive", 8, Kind::Message(&BUCKETS)),
        one("negative", 9, Kind::Message(&BUCKETS)),
        one("flags", 10, Kind::UInt32),
        many("exemplars", 11, Kind::Message(&EXEMPLAR)),
        optional("min", 12, Kind::Double),
        optional("max", 13, Kind::Double),
        one("zeroThreshold", 14, Kind::Double),
    ],
};
static BUCKETS: Message =
    Message { fields: &[one("offset", 1, Kind::SInt32), many("bucketCounts", 2, Kind::UInt64)] };
static SUMMARY_POINT: Message = Message {
    fields: &[
        START,
        TIME,
        COUNT,
        one("sum", 5, Kind::Double),
        many("quantileValues", 6, Kind::Message(&QUANTILE)),
        attributes(7),
        one("flags", 8, Kind::UInt32),
    ],
};
static QUANTILE: Message =
    Message { fields: &[one("quantile", 1, Kind::Double), one("value", 2, Kind::Double)] };
static EXEMPLAR: Message = Message {
    fields: &[
        one("timeUnixNano", 2, Kind::Fixed64),
        optional("asDouble", 3, Kind::Double),
        one("spanId", 4, Kind::Id),
        one("traceId", 5, Kind::Id),
        optional("asInt", 6, Kind::SFixed64),
        many("filteredAttributes", 7, Kind::Message(&KEY_VALUE)),
    ],
};
