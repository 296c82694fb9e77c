//! The `webhook` exporter: alarms to an HTTP address, in the form that the tool behind it takes.
//!
//! Guaranteed:
//! * At least once, in order (with `queue.concurrency: 1`, the default), and a repeated request has the same
//!   `webhook-id`.
//! * An alarm that the target rejects for ever is in the dead letters; it does not take others with it.
//! * Redirects are not followed, and neither the URL nor the headers appear in the log.
//!
//! Not guaranteed: that a target which answers 2xx has understood. Robots that say in the body that they have
//! not are believed.

mod alarm;
mod answer;
mod config;
mod email;
mod exporter;
mod metrics;
mod notify;
mod pace;
mod payload;
mod request_id;
mod sender;
mod signature;
mod silences;

use weir_component::factory::{BuiltExporter, ExporterFactory, Info};
use weir_component::{Check, Context, Settings};
use weir_config::Diagnostics;

use crate::config::Config;

pub use silences::{Shown, SilenceError, Silences};

/// The factory of the `webhook` exporter.
pub const FACTORY: ExporterFactory = ExporterFactory {
    info: Info {
        kind: "webhook",
        summary: "Alarms to an HTTP address, Alertmanager, chat robots, PagerDuty or people's mail",
        metrics: metrics::METRICS,
    },
    create,
};

fn create(settings: Settings<'_>, context: Context) -> Result<BuiltExporter, Diagnostics> {
    let config: Config = settings.read()?;
    let mut check = Check::new(settings);
    let helper = config.helper();
    check.helper(&helper);
    check.all(config.notify_problems());
    let target = config.target(&context.id).map_err(|problems| check.all(problems)).ok();
    let target = check.finish_some(target)?;
    let (notify, helper) = config.notified(helper);
    let sender = sender::Sender::new(target, context.clone())
        .map_err(|error| settings.error_at("", format!("cannot set up a client: {error}")))?;
    let webhook = exporter::Webhook::new(sender, notify, helper.clone(), context);
    Ok(BuiltExporter { exporter: Box::new(webhook), helper })
}
