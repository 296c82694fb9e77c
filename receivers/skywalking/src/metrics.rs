//! What the receiver counts.

use weir_component::records::{BYTES, EMPTY, ESCAPED, RECORDS, REJECTED};
use weir_component::telemetry::Metric;
use weir_server::metrics::{CONNECTIONS, REQUESTS, UNANSWERED, WAITING};

/// Every metric of the receiver.
pub(crate) const ALL: &[Metric] =
    &[RECORDS, BYTES, REJECTED, ESCAPED, EMPTY, REQUESTS, UNANSWERED, CONNECTIONS, WAITING];
