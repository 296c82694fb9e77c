//! What must hold for any bytes.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use weir_fuzz::change::Random;
use weir_fuzz::fuzz;
use weir_pdata::otlp::{count, encode, from_json, to_json};
use weir_pdata::{Demand, Encoded, Format, Projection, decode};

use super::generate::Source;

/// The bytes are rejected, or read; what is read is written so that it is read again, and then stays.
pub fn body(bytes: &[u8]) {
    let narrow = Demand::names(["service", "a", "resource.a", "body", "count", "peer"]);
    for format in [Format::OtlpTraces, Format::OtlpLogs, Format::OtlpMetrics] {
        let read = |bytes: &[u8], projection: &Projection| {
            decode(&Encoded::concat(format, [bytes]).unwrap(), projection)
        };
        let decoded = read(bytes, &Projection::everything());
        let few = read(bytes, &Projection::of(&narrow));
        assert_eq!(few.columns.num_rows(), decoded.columns.num_rows());
        assert_eq!(few.rejected, decoded.rejected);
        if !decoded.rejected.is_empty() {
            assert_eq!(decoded.columns.num_rows(), 0);
            continue;
        }
        assert!(count(format, bytes).is_ok());
        let mut once = Vec::new();
        encode(format.signal(), &decoded.columns, &mut once).unwrap();
        let again = read(&once, &Projection::everything());
        assert_eq!((again.rejected, again.rejected_items), (vec![], vec![]));
        assert_eq!(again.columns.num_rows(), decoded.columns.num_rows());
        let mut twice = Vec::new();
        encode(format.signal(), &again.columns, &mut twice).unwrap();
        assert_eq!(once, twice);
    }
}

/// JSON is refused, or is a request that is written as JSON that means the same.
fn body_of_json(json: &[u8]) {
    for format in FORMATS {
        let Ok(request) = from_json(format, json) else { continue };
        body(&request);
        let mut written = Vec::new();
        to_json(format, &request, &mut written).unwrap();
        assert_eq!(
            from_json(format, &written).as_ref(),
            Ok(&request),
            "{}",
            String::from_utf8_lossy(&written)
        );
    }
}

const FORMATS: [Format; 3] = [Format::OtlpTraces, Format::OtlpLogs, Format::OtlpMetrics];

/// The examples of the protocol, and requests that have everything.
fn seeds() -> Vec<Vec<u8>> {
    let mut random = Random(1);
    let mut seeds = Vec::new();
    for _ in 0..10 {
        let bytes: Vec<u8> = (0..200).flat_map(|_| random.number().to_le_bytes()).collect();
        seeds.push(Source(&bytes).traces().encode_to_vec());
        seeds.push(Source(&bytes).logs().encode_to_vec());
        seeds.push(Source(&bytes).metrics().encode_to_vec());
    }
    seeds.retain(|seed| seed.len() < 4096);
    seeds.push(ExportTraceServiceRequest::default().encode_to_vec());
    seeds
}

#[test]
fn fuzz_otlp_requests() {
    fuzz("otlp_requests", &seeds(), &[], body);
}

#[test]
fn fuzz_otlp_json() {
    let examples = [
        include_str!("testdata/trace.json"),
        include_str!("testdata/logs.json"),
        include_str!("testdata/events.json"),
        include_str!("testdata/metrics.json"),
    ];
    let seeds: Vec<Vec<u8>> = examples.map(|text| text.as_bytes().to_vec()).into();
    let tokens = [
        "null",
        "\"NaN\"",
        "1e400",
        "-0.0",
        "18446744073709551616",
        "{\"intValue\":",
        "{\"kvlistValue\":{\"values\":[",
        "\"\\ud800\"",
        "\"bytesValue\":\"_-\"",
        "[[[[",
        "}}}}",
        ",",
        "\"traceId\":\"\"",
        "\"kind\":\"SPAN_KIND_X\"",
    ];
    fuzz("otlp_json", &seeds, &tokens, body_of_json);
}

#[test]
fn a_field_of_the_wrong_type_is_counted_by_nobody() {
    // The resources of a request as a number.
    for format in [Format::OtlpTraces, Format::OtlpLogs, Format::OtlpMetrics] {
        assert!(count(format, &[0x08, 0x01]).is_err());
    }
    // Metrics: a gauge as a number, within a scope, within a resource.
    assert!(count(Format::OtlpMetrics, &[0x0a, 0x06, 0x12, 0x04, 0x12, 0x02, 0x28, 0x01]).is_err());
}
