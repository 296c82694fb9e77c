//! What agents call, and what their messages are.
//!
//! Each service has two names: `skywalking.v3.TraceSegmentReportService`, and without the package for agents
//! before 8.4.

use weir_pdata::Format;

/// What a method takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Messages of this format, one or a stream of them.
    Records(Format),
    /// One `SegmentCollection`: its field 1 has the segments.
    SegmentCollection,
    /// A stream of `MeterData`, which together are one collection.
    Meters,
    /// A stream of `MeterDataCollection`s.
    MeterBatches,
    /// A question of the agent. Nothing is to be done.
    Question,
}

/// The method at this path. `None`: there is none.
pub(crate) fn method(path: &str) -> Option<Method> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let service = service.rsplit_once('.').map_or(service, |(_, service)| service);
    Some(match (service, method) {
        ("TraceSegmentReportService", "collect") => Method::Records(Format::SkyWalkingSegment),
        ("TraceSegmentReportService", "collectInSync") => Method::SegmentCollection,
        ("JVMMetricReportService", "collect") => Method::Records(Format::SkyWalkingJvm),
        ("MeterReportService", "collect") => Method::Meters,
        ("MeterReportService", "collectBatch") => Method::MeterBatches,
        ("LogReportService", "collect") => Method::Records(Format::SkyWalkingLog),
        ("ManagementService", "reportInstanceProperties") => Method::Records(Format::SkyWalkingInstance),
        ("ManagementService", "keepAlive") => Method::Records(Format::SkyWalkingPing),
        ("SpanAttachedEventReportService", "collect") => Method::Records(Format::SkyWalkingAttachedEvent),
        ("EventService", "collect") => Method::Records(Format::SkyWalkingEvent),
        ("ProfileTask", "collectSnapshot") => Method::Records(Format::SkyWalkingSnapshot),
        ("ProfileTask", "reportTaskFinish") | ("ConfigurationDiscoveryService", "fetchConfigurations") => {
            Method::Question
        }
        // Tasks for profilers, of which later agents have several.
        (_, method) if method.starts_with("get") && method.ends_with("Commands") => Method::Question,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_a_name_with_and_one_without_the_package() {
        let segments = Some(Method::Records(Format::SkyWalkingSegment));
        assert_eq!(method("/skywalking.v3.TraceSegmentReportService/collect"), segments);
        assert_eq!(method("/TraceSegmentReportService/collect"), segments);
        assert_eq!(method("/skywalking.v3.ProfileTask/getProfileTaskCommands"), Some(Method::Question));
        assert_eq!(
            method("/skywalking.v10.AsyncProfilerTask/getAsyncProfilerTaskCommands"),
            Some(Method::Question)
        );
        for unknown in ["/", "", "/skywalking.v3.TraceSegmentReportService/", "/skywalking.v3.Other/collect"]
        {
            assert_eq!(method(unknown), None, "{unknown}");
        }
    }
}
