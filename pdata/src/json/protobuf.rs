//! Messages of SkyWalking in protobuf's JSON form, one or an array of them, as agents send them over HTTP and
//! log collectors to Kafka.
//!
//! What [`segment`](super::segment) says of field names, numbers and absent fields holds for all of them.

use weir_proto::skywalking::log_data_body::Content;
use weir_proto::skywalking::{
    InstancePingPkg, InstanceProperties, JsonLog, LogData, LogDataBody, LogTags, SegmentObject, TextLog,
    TraceContext, YamlLog,
};

use super::parse::parse;
use super::segment::{Read, Wrong, pair, segment};
use super::value::Json;

/// Logs. The error says what is wrong, and where.
///
/// # Errors
/// The text is not JSON, or a field has another type than it should.
pub fn log_data(json: &[u8]) -> Result<Vec<LogData>, String> {
    all(json, log)
}

/// Segments. See [`log_data`].
///
/// # Errors
/// As [`log_data`].
pub fn segments(json: &[u8]) -> Result<Vec<SegmentObject>, String> {
    each(json, segment)
}

/// Properties of instances. See [`log_data`].
///
/// # Errors
/// As [`log_data`].
pub fn instance_properties(json: &[u8]) -> Result<Vec<InstanceProperties>, String> {
    all(json, |read| {
        Ok(InstanceProperties {
            service: read.text("service")?,
            service_instance: read.text("serviceInstance")?,
            properties: read.list("properties", pair)?,
            layer: read.text("layer")?,
        })
    })
}

/// Signs of life of instances. See [`log_data`].
///
/// # Errors
/// As [`log_data`].
pub fn instance_pings(json: &[u8]) -> Result<Vec<InstancePingPkg>, String> {
    all(json, |read| {
        Ok(InstancePingPkg {
            service: read.text("service")?,
            service_instance: read.text("serviceInstance")?,
            layer: read.text("layer")?,
        })
    })
}

fn all<T>(json: &[u8], message: impl Fn(&Read<'_>) -> Result<T, Wrong>) -> Result<Vec<T>, String> {
    each(json, |fields| message(&Read::new(fields)))
}

fn each<T>(
    json: &[u8],
    message: impl Fn(&Vec<(String, Json)>) -> Result<T, Wrong>,
) -> Result<Vec<T>, String> {
    let read = |json: &Json| match json {
        Json::Object(fields) => message(fields).map_err(|(field, problem)| format!("`{field}`: {problem}")),
        other => Err(format!("expected an object, found {}", other.kind())),
    };
    match parse(json).map_err(|error| format!("not valid JSON: {error}"))? {
        Json::Array(messages) => messages.iter().map(read).collect(),
        one => read(&one).map(|message| vec![message]),
    }
}

fn log(read: &Read<'_>) -> Result<LogData, Wrong> {
    let tags = read.object("tags", |tags| tags.list("data", pair))?;
    Ok(LogData {
        timestamp: read.int64("timestamp")?,
        service: read.text("service")?,
        service_instance: read.text("serviceInstance")?,
        endpoint: read.text("endpoint")?,
        body: read.object("body", body)?,
        trace_context: read.object("traceContext", |context| {
            Ok(TraceContext {
                trace_id: context.text("traceId")?,
                trace_segment_id: context.text("traceSegmentId")?,
                span_id: context.int32("spanId")?,
            })
        })?,
        tags: tags.map(|data| LogTags { data }),
        layer: read.text("layer")?,
    })
}

fn body(read: &Read<'_>) -> Result<LogDataBody, Wrong> {
    let text = read.object("text", |text| text.text("text"))?.map(|text| Content::Text(TextLog { text }));
    let json = read.object("json", |json| json.text("json"))?.map(|json| Content::Json(JsonLog { json }));
    let yaml = read.object("yaml", |yaml| yaml.text("yaml"))?.map(|yaml| Content::Yaml(YamlLog { yaml }));
    Ok(LogDataBody { r#type: read.text("type")?, content: text.or(json).or(yaml) })
}
