//! `weir webhook test`: sends a sample alarm, and says what the answer means.

use std::io::Write;
use std::time::Instant;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use weir_component::ExportError;
use weir_component::factory::BuiltExporter;
use weir_config::{ComponentId, nearest};
use weir_pdata::json::JsonLines;
use weir_pdata::{Ack, EventBatch, Origin, Projection};

use crate::commands::config_args::ConfigArgs;
use crate::graph::Graph;

/// `weir webhook`.
#[derive(Subcommand)]
pub(crate) enum WebhookCommand {
    /// Send a sample alarm, then that it is over, and explain the answers
    #[command(after_help = "Example:\n  weir webhook test webhook/duty --config gateway.yaml")]
    Test(TestArgs),
}

/// The arguments of `weir webhook test`.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// The exporter: its id below `exporters`
    name: ComponentId,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The severity of the sample
    #[arg(long, default_value = "low", value_parser = ["high", "mid", "low"])]
    severity: String,
    /// Send the firing alarm only
    #[arg(long)]
    firing_only: bool,
}

/// Sends the sample; tells on `out` what became of it.
///
/// # Errors
/// When there is no such webhook, or it did not take the sample.
pub(crate) async fn test(args: &TestArgs, graph: &Graph, out: &mut impl Write) -> anyhow::Result<()> {
    let built = find(&args.name, graph)?;
    let now_ms = weir_component::Clock::now_ms(&weir_component::SystemClock);
    let states: &[&str] = if args.firing_only { &["firing"] } else { &["firing", "resolved"] };
    for state in states {
        let began = Instant::now();
        let batches = JsonLines::read(
            [sample(&args.severity, state, now_ms).to_string().as_bytes()],
            &Projection::everything(),
        );
        let batches: Vec<EventBatch> = batches
            .batches
            .into_iter()
            .map(|(signal, columns)| EventBatch::columns(signal, columns, Origin::default(), Ack::none()))
            .collect();
        let answered = built.exporter.export(&batches).await;
        let millis = began.elapsed().as_millis();
        match answered {
            Ok(()) => writeln!(out, "{state}: delivered in {millis} ms")?,
            Err(error) => bail!("{state}: not delivered: {error}\n{}", meaning(&error, built)),
        }
    }
    Ok(())
}

fn find<'a>(name: &ComponentId, graph: &'a Graph) -> anyhow::Result<&'a BuiltExporter> {
    let webhooks = || graph.exporters.iter().filter(|(context, _)| context.id.kind() == "webhook");
    if let Some((_, built)) = webhooks().find(|(context, _)| context.id == *name) {
        return Ok(built);
    }
    let ids: Vec<String> = webhooks().map(|(context, _)| context.id.to_string()).collect();
    match nearest(&name.to_string(), ids.iter().map(String::as_str)) {
        Some(near) => bail!("no pipeline uses a webhook `{name}`; did you mean `{near}`?"),
        None if ids.is_empty() => bail!("no pipeline of the configuration uses a webhook"),
        None => bail!("no pipeline uses a webhook `{name}`; there are: {}", ids.join(", ")),
    }
}

/// An alarm as a rule would raise it, which says that it is none.
fn sample(severity: &str, state: &str, now_ms: i64) -> Value {
    let window = 60_000;
    let end = now_ms - now_ms.rem_euclid(window);
    let mut alarm = json!({
        "signal": "alarms", "time": end, "rule": "weir_test", "severity": severity, "state": state,
        "service": "weir", "operation": "test", "labels": {"service": "weir", "operation": "test"},
        "measure": "max_duration_ns", "value": 2.5e9, "threshold": 2e9,
        "window_start": end - window, "window_end": end,
        "message": "This is a test of Weir's alarms. Nothing is wrong.",
        "fingerprint": format!("test-{now_ms:x}"), "starts_at": end - window, "rule_epoch": 1
    });
    if state == "resolved" {
        alarm["ends_at"] = end.into();
    }
    alarm
}

/// What would happen to an alarm now, and what to do.
fn meaning(error: &ExportError, built: &BuiltExporter) -> String {
    match error {
        ExportError::Retryable { after, .. } => {
            let wait = after.map_or_else(String::new, |after| {
                format!(", not before {} s as the target asks", after.as_secs())
            });
            let most = built.helper.retry.max_elapsed_time;
            format!(
                "An alarm would be tried again for {most}{wait}, and then be in the dead letters. Either the \
                 target is away, or the address, the credentials or the way to it are wrong."
            )
        }
        ExportError::Permanent { .. } => {
            "An alarm would be in the dead letters at once: the target was reached, \
             and refuses the content of the request. Check `kind` and `template`."
                .to_owned()
        }
        ExportError::Partial { items, .. } => {
            format!("The target has taken the alarm but for {items} items of it, which are not sent again.")
        }
        ExportError::TooLarge { .. } => {
            "A request would be halved until it fits: the target was reached, and takes less at once. Lower \
             `batch.max_rows`."
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_an_alarm() {
        for state in ["firing", "resolved"] {
            let line = sample("low", state, 1_700_000_012_345).to_string();
            let read = JsonLines::read([line.as_bytes()], &Projection::everything());
            assert!(read.rejected.is_empty(), "{:?}", read.rejected);
            let (signal, columns) = &read.batches[0];
            assert_eq!((signal.name(), columns.num_rows()), ("alarms", 1));
            for attribute in columns.schema().fields() {
                assert!(weir_pdata::schema::is_fixed(*signal, attribute.name()), "{}", attribute.name());
            }
        }
    }
}
