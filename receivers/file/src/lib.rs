//! The `file` receiver: JSON lines from files, once or as they grow.
//!
//! Guaranteed: every line is delivered in the file's order, or is counted, logged and kept in the dead
//! letters; memory is bounded whatever the file holds. Not guaranteed: that a position survives a restart.
//! Nothing is committed, so each start reads from the beginning.

mod batches;
mod config;
mod input_file;
mod lines;
mod receiver;
mod rejects;

use weir_component::ReceiverFactory;
use weir_component::factory::Info;

/// Makes `file` receivers.
pub const FACTORY: ReceiverFactory = ReceiverFactory {
    info: Info {
        kind: "file",
        summary: "JSON lines from files, once or as they grow",
        metrics: rejects::METRICS,
    },
    create: |settings, context| {
        let config = config::read(settings)?;
        Ok(Box::new(receiver::FileReceiver::new(config, context)))
    },
};
