//! The components that the standard program is built with.

use weir_component::Registry;

/// Every component of this repository.
pub const STANDARD: Registry = Registry {
    receivers: &[
        #[cfg(all(feature = "ebpf", target_os = "linux"))]
        weir_receiver_ebpf::FACTORY,
        weir_receiver_file::FACTORY,
        weir_receiver_generator::FACTORY,
        weir_receiver_notifications::FACTORY,
        weir_receiver_otlp::FACTORY,
        weir_receiver_skywalking::FACTORY,
        weir_receiver_skywalking_kafka::FACTORY,
    ],
    processors: &[
        weir_processor_aggregate::FACTORY,
        weir_processor_enrich::FACTORY,
        weir_processor_filter::FACTORY,
        weir_processor_pattern::FACTORY,
        weir_processor_sample::FACTORY,
        weir_processor_threshold::FACTORY,
    ],
    exporters: &[
        weir_exporter_clickhouse::FACTORY,
        weir_exporter_debug::FACTORY,
        weir_exporter_file::FACTORY,
        weir_exporter_local::FACTORY,
        weir_exporter_nop::FACTORY,
        weir_exporter_otlp::FACTORY,
        weir_exporter_webhook::FACTORY,
    ],
    extensions: &[weir_extension_health_check::FACTORY, weir_extension_storage::FACTORY],
};
