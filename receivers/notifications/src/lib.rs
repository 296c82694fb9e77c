//! The `notifications` receiver: what became of alarms at the targets that tell people, as logs.
//!
//! Guaranteed: each outcome that a webhook with `notify` tells is one log, in order, unless the program is
//! killed, or 20,000 wait, which is counted. Not guaranteed: those of the last moments of an orderly end.

mod receiver;
mod row;

use serde::Deserialize;
use weir_component::ReceiverFactory;
use weir_component::factory::Info;

/// Makes `notifications` receivers.
pub const FACTORY: ReceiverFactory = ReceiverFactory {
    info: Info {
        kind: "notifications",
        summary: "What became of alarms at webhooks with `notify`, as logs",
        metrics: receiver::METRICS,
    },
    create: |settings, context| {
        let Config {} = settings.read()?;
        context.notifications.listen();
        Ok(Box::new(receiver::NotificationsReceiver::new(context)))
    },
};

/// The section `notifications`, which has no keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}
