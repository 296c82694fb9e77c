//! Wire bytes to columns.

pub(crate) mod result;

use crate::{Encoded, Format, Projection};
use crate::{otlp, skywalking};

pub use result::{DecodeError, Decoded, Escaped, Rejected, RejectedItems};

/// Decodes every record, building only what `projection` asks for.
///
/// Never fails as a whole: records that cannot be decoded are in [`Decoded::rejected`], the others in
/// [`Decoded::columns`]. The columns' schema depends on the projection, and on whether `encoded` has
/// positions and arrivals. Text columns are views into [`Encoded::arena`], which they keep alive; into a copy
/// of it when there are texts to be [escaped](Decoded::escaped).
#[must_use]
pub fn decode(encoded: &Encoded, projection: &Projection) -> Decoded {
    match encoded.format {
        Format::SkyWalkingSegment
        | Format::SkyWalkingJvm
        | Format::SkyWalkingMeters
        | Format::SkyWalkingLog
        | Format::SkyWalkingLogJson
        | Format::SkyWalkingInstance
        | Format::SkyWalkingPing
        | Format::SkyWalkingSnapshot
        | Format::SkyWalkingAttachedEvent
        | Format::SkyWalkingEvent => skywalking::decode(encoded, projection),
        Format::OtlpTraces | Format::OtlpLogs | Format::OtlpMetrics => otlp::decode(encoded, projection),
    }
}
