//! `weir top`: the services by their requests, errors and latency, from the files of the `local` exporter or
//! from ClickHouse.
//!
//! Shown are the last seconds before the newest span, so that what comes late is seen as what it was. A
//! request is a span of the kind `server` or `consumer`.

mod screen;
mod service;

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::commands::stored::{Stored, quoted};
use screen::{Screen, draw};
use service::Order;

/// Services that are read, at most; those with the most spans.
const MOST: usize = 10_000;
/// Older spans are not looked for.
const LOOK_BACK: Duration = Duration::from_secs(3_600);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is a request.
const REQUEST: &str = "kind IN ('server', 'consumer')";

/// The arguments of `weir top`.
#[derive(Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    stored: Stored,
    /// The server's table of spans
    #[arg(long, value_name = "NAME", default_value = "events", requires = "clickhouse")]
    table: String,
    /// How many seconds before the newest span are shown
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = seconds())]
    window: u64,
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = seconds())]
    interval: u64,
    /// Which services come first
    #[arg(long, value_enum, default_value_t = Order::Rate)]
    sort: Order,
    /// How many services are shown
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    rows: usize,
    /// Look once, and end. So it is where the output is no terminal
    #[arg(long)]
    once: bool,
}

fn seconds() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..=3_600)
}

#[derive(Deserialize)]
struct Newest {
    newest: Option<i64>,
}

/// Looks and draws, until it is stopped.
///
/// # Errors
/// The first look fails: there is no such server or folder, or the table is another one. Later failures are
/// shown, and looking goes on.
pub(crate) async fn run(args: TopArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let is_live = !args.once && std::io::stdout().is_terminal();
    let mut last = look(&args, now_ns()).await?;
    loop {
        let text = draw(&last, args.sort, args.rows);
        let text = if is_live { format!("\x1b[H\x1b[2J{text}") } else { text };
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        if !is_live {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(args.interval)).await;
        match look(&args, now_ns()).await {
            Ok(screen) => last = screen,
            Err(error) => (last.now, last.failure) = (now_ns(), Some(format!("{error:#}"))),
        }
    }
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Asks for the newest span, and for the services before it.
async fn look(args: &TopArgs, now: i64) -> anyhow::Result<Screen> {
    let nanoseconds = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    let dialect = Dialect::of(args);
    let newest = dialect.newest(now.saturating_sub(nanoseconds(LOOK_BACK)), now);
    let newest = rows::<Newest>(args, newest).await?.into_iter().next().and_then(|row| row.newest);
    // ClickHouse's greatest of nothing is 1970.
    let newest = newest.filter(|newest| *newest > 0);
    let services = match newest {
        Some(newest) => {
            let from = newest.saturating_sub(nanoseconds(Duration::from_secs(args.window)));
            rows(args, dialect.services(from, newest)).await?
        }
        None => Vec::new(),
    };
    let source = args.stored.to_string();
    Ok(Screen { source, now, newest, window_seconds: args.window, services, failure: None })
}

async fn rows<T: DeserializeOwned>(args: &TopArgs, sql: String) -> anyhow::Result<Vec<T>> {
    let answer = tokio::time::timeout(PATIENCE, args.stored.rows(sql)).await;
    answer.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
}

/// The SQL of the two sources.
enum Dialect {
    ClickHouse { table: String },
    Files,
}

impl Dialect {
    fn of(args: &TopArgs) -> Dialect {
        if args.stored.is_clickhouse() {
            Dialect::ClickHouse { table: quoted(&args.table) }
        } else {
            Dialect::Files
        }
    }

    /// A point in time, in nanoseconds since 1970.
    fn time(&self, at: i64) -> String {
        match self {
            Dialect::ClickHouse { .. } => format!("fromUnixTimestamp64Nano(toInt64({at}), 'UTC')"),
            Dialect::Files => format!("to_timestamp_nanos({at})"),
        }
    }

    /// The time of the newest span. One from the future is none.
    fn newest(&self, from: i64, to: i64) -> String {
        let (newest, table) = match self {
            Dialect::ClickHouse { table } => ("toUnixTimestamp64Nano(max(time))", table.as_str()),
            Dialect::Files => ("CAST(max(time) AS BIGINT)", "traces"),
        };
        let (from, to) = (self.time(from), self.time(to));
        format!("SELECT {newest} AS newest FROM {table} WHERE time > {from} AND time <= {to}")
    }

    /// What each service did.
    fn services(&self, from: i64, to: i64) -> String {
        // Tables have no NULL: no name is the empty text, and no duration is 0.
        let (table, service, requests, errors, quantile): (_, _, _, _, fn(f64) -> String) = match self {
            Dialect::ClickHouse { table } => (
                table.as_str(),
                "service",
                format!("countIf({REQUEST})"),
                format!("countIf({REQUEST} AND status = 'error')"),
                |q| format!("quantileIf({q})(duration_ns, {REQUEST})"),
            ),
            Dialect::Files => (
                "traces",
                "coalesce(service, '')",
                format!("count(*) FILTER (WHERE {REQUEST})"),
                format!("count(*) FILTER (WHERE {REQUEST} AND status = 'error')"),
                |q| {
                    format!(
                        "approx_percentile_cont(CAST(coalesce(duration_ns, 0) AS DOUBLE), {q}) FILTER (WHERE {REQUEST})"
                    )
                },
            ),
        };
        let (p50, p99) = (quantile(0.5), quantile(0.99));
        let (from, to) = (self.time(from), self.time(to));
        format!(
            "SELECT {service} AS service, count(*) AS spans, {requests} AS requests, {errors} AS errors, {p50} AS p50, {p99} AS p99 \
             FROM {table} WHERE time > {from} AND time <= {to} GROUP BY {service} ORDER BY spans DESC LIMIT {MOST}"
        )
    }
}
