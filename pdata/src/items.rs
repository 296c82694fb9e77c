//! How many items a payload has, decoded or not.

use crate::{Format, Payload, otlp};

impl Payload {
    /// Spans, log records or data points, also of requests of OTLP that are not decoded. Of other records
    /// that are not decoded, these.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Payload::Encoded(encoded) if Format::otlp(encoded.format.signal()) == Some(encoded.format) => {
                let requests = (0..encoded.records.len()).filter_map(|index| encoded.record(index));
                requests.map(|request| otlp::count(encoded.format, request).unwrap_or(0)).sum()
            }
            Payload::Columns(_) | Payload::Encoded(_) => self.len(),
        }
    }
}
