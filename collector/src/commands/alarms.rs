//! `weir alarms`: the alarms that fire, from the files of the `local` exporter or from ClickHouse.

use std::io::{ErrorKind, Write};

use chrono::DateTime;
use clap::Args;
use serde_json::Value;
use weir_component::{Clock, SystemClock};
use weir_config::Duration;

use crate::commands::printable::printable;
use crate::commands::stored::{Stored, quoted};

/// The arguments of `weir alarms`.
#[derive(Args)]
pub(crate) struct AlarmsArgs {
    #[command(flatten)]
    stored: Stored,
    /// The server's table of alarms
    #[arg(long, value_name = "NAME", default_value = "alarms", requires = "clickhouse")]
    table: String,
    /// How long ago the last row of an alarm may have come: older ones have lost their end
    #[arg(long, value_name = "DURATION", default_value = "30d")]
    since: Duration,
    /// Only alarms of this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
}

/// Of rows of the same time that of the end is the last: a window that fires again may end what it began.
const LAST: &str = "CASE WHEN state = 'firing' AND ends_at IS NULL THEN 1 ELSE 0 END";

/// Reads the last row of each alarm, and shows those that fire. What happens once, such as a match of
/// `pattern`, does not fire.
///
/// # Errors
/// The alarms cannot be read.
pub(crate) async fn run(args: AlarmsArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let now_ms = SystemClock.now_ms();
    let from_ms = now_ms.saturating_sub(args.since.as_millis());
    let (millis, from, table) = if args.stored.is_clickhouse() {
        let from = format!("fromUnixTimestamp64Milli({from_ms})");
        ("toUnixTimestamp64Milli(starts_at)", from, quoted(&args.table))
    } else {
        let from = format!("to_timestamp_millis({from_ms})");
        ("CAST(starts_at AS BIGINT) / 1000000", from, "alarms".to_owned())
    };
    let sql = format!(
        "SELECT rule, severity, labels, message, {millis} AS since_ms FROM (SELECT rule, severity, state, \
         labels, message, starts_at, ends_at, row_number() OVER (PARTITION BY fingerprint ORDER BY time DESC, \
         {LAST}) AS place FROM {table} WHERE time >= {from}) AS last WHERE place = 1 AND state = 'firing' AND \
         ends_at IS NULL"
    );
    let rows: Vec<Value> = args.stored.rows(sql).await?;
    let firing = rows.iter().filter_map(Firing::of);
    let firing = firing.filter(|alarm| args.rule.as_ref().is_none_or(|rule| *rule == alarm.rule)).collect();
    match out.write_all(shown(firing, now_ms).as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// An alarm that fires.
#[derive(Debug)]
struct Firing {
    rule: String,
    severity: String,
    labels: Vec<(String, String)>,
    message: String,
    since_ms: i64,
}

impl Firing {
    fn of(row: &Value) -> Option<Firing> {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        // Servers write whole numbers of 64 bits as texts.
        let since = &row["since_ms"];
        let labels = row["labels"].as_object().into_iter().flatten();
        let labels = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        Some(Firing {
            rule: text("rule"),
            severity: text("severity"),
            labels: labels.filter(|(_, value)| !value.is_empty()).collect(),
            message: text("message"),
            since_ms: since.as_i64().or_else(|| since.as_str()?.parse().ok())?,
        })
    }

    fn rank(&self) -> usize {
        ["high", "mid", "low"].iter().position(|name| *name == self.severity).unwrap_or(3)
    }
}

/// The worst first, and of those the oldest.
fn shown(mut firing: Vec<Firing>, now_ms: i64) -> String {
    if firing.is_empty() {
        return "no alarm fires\n".to_owned();
    }
    firing.sort_by(|a, b| {
        (a.rank(), a.since_ms, &a.rule, &a.labels).cmp(&(b.rank(), b.since_ms, &b.rule, &b.labels))
    });
    let mut text = String::new();
    for alarm in &firing {
        let since = DateTime::from_timestamp_millis(alarm.since_ms).unwrap_or_default();
        let labels: Vec<String> = alarm
            .labels
            .iter()
            .map(|(name, value)| format!("{}={}", printable(name), printable(value)))
            .collect();
        text.push_str(&format!(
            "{:4}  {}  {}  {}  {}\n",
            printable(&alarm.severity),
            since.format("%Y-%m-%d %H:%M:%SZ"),
            age(now_ms.saturating_sub(alarm.since_ms)),
            printable(&alarm.rule),
            labels.join(" ")
        ));
        if !alarm.message.is_empty() {
            text.push_str(&format!("      {}\n", printable(&alarm.message)));
        }
    }
    let counts: Vec<String> = ["high", "mid", "low"]
        .into_iter()
        .map(|severity| (firing.iter().filter(|alarm| alarm.severity == severity).count(), severity))
        .filter(|(count, _)| *count > 0)
        .map(|(count, severity)| format!("{count} {severity}"))
        .collect();
    let alarms = if firing.len() == 1 { "alarm fires" } else { "alarms fire" };
    text.push_str(&format!("{} {alarms}: {}\n", firing.len(), counts.join(", ")));
    text
}

/// `2d03h`, `1h05m`, `12m`.
fn age(ms: i64) -> String {
    let minutes = ms.max(0) / 60_000;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h{minutes:02}m"),
        (days, hours, _) => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_worst_and_oldest_come_first_and_move_no_cursor() {
        let alarm = |rule: &str, severity: &str, minutes: i64| {
            let labels = json!({"service": "pay\u{1b}[1m", "empty": ""});
            let row = json!({"rule": rule, "severity": severity, "labels": labels, "message": "a\nb", "since_ms": (minutes * 60_000).to_string()});
            Firing::of(&row).unwrap()
        };
        let text = shown(
            vec![alarm("new", "high", 1500), alarm("mild", "low", 1499), alarm("old", "high", 0)],
            1500 * 60_000,
        );
        let expected = "high  1970-01-01 00:00:00Z  1d01h  old  service=pay\u{fffd}[1m\n      a\\nb\n\
                        high  1970-01-02 01:00:00Z  0m  new  service=pay\u{fffd}[1m\n      a\\nb\n\
                        low   1970-01-02 00:59:00Z  1m  mild  service=pay\u{fffd}[1m\n      a\\nb\n\
                        3 alarms fire: 2 high, 1 low\n";
        assert_eq!(text, expected);
        assert_eq!(shown(Vec::new(), 0), "no alarm fires\n");
        assert_eq!(age(65 * 60_000), "1h05m");
    }
}
