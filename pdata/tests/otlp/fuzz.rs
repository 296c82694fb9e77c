//! What must hold for any bytes.

use weir_pdata::otlp::{count, encode};
use weir_pdata::{Demand, Encoded, Format, Projection, decode};

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

#[test]
fn a_field_of_the_wrong_type_is_counted_by_nobody() {
    // The resources of a request as a number.
    for format in [Format::OtlpTraces, Format::OtlpLogs, Format::OtlpMetrics] {
        assert!(count(format, &[0x08, 0x01]).is_err());
    }
    // Metrics: a gauge as a number, within a scope, within a resource.
    assert!(count(Format::OtlpMetrics, &[0x0a, 0x06, 0x12, 0x04, 0x12, 0x02, 0x28, 0x01]).is_err());
}
