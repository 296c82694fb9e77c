//! Requests in OTLP's JSON: protobuf's JSON form, but for ids in hexadecimal.

mod messages;
mod read;
mod write;

use weir_proto::wire::WireError;

use crate::Format;
use crate::json::parse::parse;
use crate::json::segment::same;
use crate::json::value::Json;
use messages::Message;
pub use read::JsonError;

/// The bytes of the request that `json` is: the same as the client would have sent in protobuf.
///
/// Names are in camel case or snake case. 64-bit integers are numbers or texts, enums are numbers or names,
/// ids hexadecimal, other bytes base64. Null is like absent, and fields that the protocol does not have are
/// ignored. `format` has to be one of OTLP.
///
/// # Errors
/// It is no JSON, or a field has a value that it cannot have.
pub fn from_json(format: Format, json: &[u8]) -> Result<Vec<u8>, JsonError> {
    from_tree(format, &parse(json).map_err(JsonError::Json)?)
}

/// Which request an object looks like: it has the field that one has.
pub(crate) fn format_of<'a>(fields: impl IntoIterator<Item = &'a str>) -> Option<Format> {
    fields.into_iter().find_map(|name| {
        [Format::OtlpTraces, Format::OtlpLogs, Format::OtlpMetrics]
            .into_iter()
            .find(|format| message(*format).fields.iter().any(|field| same(name, field.name)))
    })
}

/// The bytes of the request that `json` is. See [`from_json`].
pub(crate) fn from_tree(format: Format, json: &Json) -> Result<Vec<u8>, JsonError> {
    read::request(message(format), json)
}

/// Appends a request of protobuf bytes as JSON, without white space. `format` has to be one of OTLP.
///
/// # Errors
/// The bytes are no request. Nothing is appended then.
pub fn to_json(format: Format, request: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    let before = out.len();
    let written = write::message(message(format), request, out);
    if written.is_err() {
        out.truncate(before);
    }
    written
}

fn message(format: Format) -> &'static Message {
    match format {
        Format::OtlpLogs => &messages::LOGS,
        Format::OtlpMetrics => &messages::METRICS,
        _ => &messages::TRACES,
    }
}
