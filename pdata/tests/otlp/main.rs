//! OTLP requests: what they decode to, and that they come back as they were.

#![allow(clippy::unwrap_used)]

mod canonical;
#[path = "../segments/damage.rs"]
mod damage;
mod examples;
mod fuzz;
mod generate;
mod json;
mod segments;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use proptest::prelude::*;
use prost::Message;
use weir_pdata::otlp::{count, encode};
use weir_pdata::{Decoded, Demand, Encoded, Format, Projection, decode};

use generate::Source;

fn decoded(format: Format, requests: &[&[u8]], projection: &Projection) -> Decoded {
    decode(&Encoded::concat(format, requests.iter().copied()).unwrap(), projection)
}

/// A request through columns.
fn through_columns(format: Format, request: &[u8], projection: &Projection) -> Vec<u8> {
    let decoded = decoded(format, &[request], projection);
    assert_eq!((decoded.rejected, decoded.rejected_items), (vec![], vec![]));
    assert_eq!(count(format, request), Ok(decoded.columns.num_rows()));
    let mut out = Vec::new();
    encode(format.signal(), &decoded.columns, &mut out).unwrap();
    out
}

/// Some attributes of each level have a column of their own.
fn with_columns() -> Projection {
    let names = ["a", "http.method", "resource.a", "resource.service.name", "scope.a", "attr.name"];
    Projection::of(&Demand::everything().and(Demand::names(names)))
}

fn sort(attributes: &mut [KeyValue]) {
    attributes.sort_by(|one, other| one.key.cmp(&other.key));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn traces_come_back_in_canonical_form(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        let request = Source(&bytes).traces().encode_to_vec();
        let expected = canonical::traces(ExportTraceServiceRequest::decode(&*request).unwrap());
        let back = through_columns(Format::OtlpTraces, &request, &Projection::everything());
        let back = ExportTraceServiceRequest::decode(&*back).unwrap();
        prop_assert_eq!(format!("{back:#?}"), format!("{expected:#?}"));
    }

    #[test]
    fn logs_come_back_in_canonical_form(bytes in prop::collection::vec(any::<u8>(), 0..1000)) {
        let request = Source(&bytes).logs().encode_to_vec();
        let expected = canonical::logs(ExportLogsServiceRequest::decode(&*request).unwrap());
        let back = through_columns(Format::OtlpLogs, &request, &Projection::everything());
        let back = ExportLogsServiceRequest::decode(&*back).unwrap();
        prop_assert_eq!(format!("{back:#?}"), format!("{expected:#?}"));
    }

    #[test]
    fn metrics_come_back_in_canonical_form(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        let request = Source(&bytes).metrics().encode_to_vec();
        let expected = canonical::metrics(ExportMetricsServiceRequest::decode(&*request).unwrap());
        let back = through_columns(Format::OtlpMetrics, &request, &Projection::everything());
        let back = ExportMetricsServiceRequest::decode(&*back).unwrap();
        prop_assert_eq!(format!("{back:#?}"), format!("{expected:#?}"));
    }

    /// A key that something reads comes first, and nothing is lost.
    #[test]
    fn keys_with_columns_change_nothing_but_the_order_of_keys(
        bytes in prop::collection::vec(any::<u8>(), 0..1500)
    ) {
        let request = Source(&bytes).traces().encode_to_vec();
        let expected = ExportTraceServiceRequest::decode(&*request).unwrap();
        let back = through_columns(Format::OtlpTraces, &request, &with_columns());
        let back = ExportTraceServiceRequest::decode(&*back).unwrap();
        let [back, expected] = [back, expected].map(|mut request| {
            for frame in &mut request.resource_spans {
                frame.resource.iter_mut().for_each(|resource| sort(&mut resource.attributes));
                for scope in &mut frame.scope_spans {
                    scope.scope.iter_mut().for_each(|scope| sort(&mut scope.attributes));
                    scope.spans.iter_mut().for_each(|span| sort(&mut span.attributes));
                }
            }
            canonical::traces(request)
        });
        prop_assert_eq!(format!("{back:#?}"), format!("{expected:#?}"));
    }

    #[test]
    fn damaged_requests_are_read_or_rejected(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        damages in prop::collection::vec(damage::damage(), 1..4),
    ) {
        let mut requests = [
            Source(&bytes).traces().encode_to_vec(),
            Source(&bytes).logs().encode_to_vec(),
            Source(&bytes).metrics().encode_to_vec(),
        ];
        for request in &mut requests {
            for damage in &damages {
                damage.apply(request);
            }
            fuzz::body(request);
        }
    }

    #[test]
    fn any_bytes_are_read_or_rejected(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz::body(&bytes);
    }
}
