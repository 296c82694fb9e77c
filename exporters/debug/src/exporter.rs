//! Writing to standard output.
//!
//! An export is one write of whole lines, off the threads that move data: a paused terminal (Ctrl-S, a pager)
//! holds the queue and then the pipeline, nothing else. When standard output has no reader any more (a closed
//! pipe, a terminal that is gone) the exporter says so once in the log and from then on takes everything in
//! silence.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Mutex;
use weir_component::telemetry::{Metric, MetricKind};
use weir_component::{Clock, Context, ExportError, Exporter};
use weir_pdata::json::write_rows;
use weir_pdata::{Demand, EventBatch, Signal, SignalSet};

use crate::budget::Budget;
use crate::config::{DebugConfig, Verbosity};
use crate::lines;
use crate::summary::Summary;
use crate::value::count;

const HIDDEN: Metric = Metric {
    name: "weir_debug_hidden_lines",
    help: "Lines not shown because of max_rows_per_second.",
    kind: MetricKind::Counter,
    labels: &["exporter"],
};

/// The declarations, for the reference.
pub(crate) const METRICS: &[Metric] = &[HIDDEN];

/// `EIO`: the terminal behind standard output is gone. It has no name in [`ErrorKind`].
const EIO: i32 = 5;

/// Shows batches on a terminal.
pub(crate) struct Console {
    signals: SignalSet,
    verbosity: Verbosity,
    screen: Arc<Mutex<Screen>>,
}

/// The data that one export at a time has to itself.
struct Screen {
    id: String,
    verbosity: Verbosity,
    writer: Box<dyn Write + Send>,
    clock: Arc<dyn Clock>,
    /// Standard output has no reader any more.
    closed: bool,
    rows: Budget,
    /// Alarms of the summary have an allowance of their own: a flood of windows must not hide them.
    alarms: Budget,
    hidden: Counter,
    summary: Summary,
}

impl Console {
    /// Writes to the standard output of the process; in colours when it is a terminal and `NO_COLOR` is not
    /// set.
    pub(crate) fn stdout(config: &DebugConfig, context: &Context) -> Console {
        let colours =
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Console::new(config, context, Box::new(Stdout), colours)
    }

    /// Writes to `writer`.
    pub(crate) fn new(
        config: &DebugConfig,
        context: &Context,
        writer: Box<dyn Write + Send>,
        colours: bool,
    ) -> Console {
        let id = context.id.to_string();
        let screen = Screen {
            hidden: context.telemetry.counter(&HIDDEN, &[&id]),
            id,
            verbosity: config.verbosity,
            writer,
            clock: Arc::clone(&context.clock),
            closed: false,
            rows: Budget::new(config.max_rows_per_second),
            alarms: Budget::new(config.max_rows_per_second),
            summary: Summary::new(colours),
        };
        Console { signals: config.signals, verbosity: config.verbosity, screen: Arc::new(Mutex::new(screen)) }
    }
}

#[async_trait]
impl Exporter for Console {
    fn signals(&self) -> SignalSet {
        self.signals
    }

    fn demand(&self) -> Demand {
        lines::demand(self.verbosity, self.signals)
    }

    async fn export(&self, batches: &[EventBatch]) -> Result<(), ExportError> {
        // Waiting here, not in a blocking thread, keeps a stuck terminal from collecting threads.
        let mut screen = Arc::clone(&self.screen).lock_owned().await;
        if screen.closed {
            return Ok(());
        }
        if screen.only_counts(batches) {
            return Ok(());
        }
        let batches = batches.to_vec();
        let written = tokio::task::spawn_blocking(move || screen.show(&batches));
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                Err(ExportError::retryable(format!("cannot write to standard output: {error}")))
            }
            Err(error) => Err(ExportError::retryable(format!("the write was interrupted: {error}"))),
        }
    }

    async fn stop(&self) {
        // A terminal that is stuck now keeps its last note.
        let Ok(mut screen) = Arc::clone(&self.screen).try_lock_owned() else { return };
        let told = tokio::task::spawn_blocking(move || screen.tell_the_rest());
        // Nothing depends on this note.
        let _ = told.await;
    }
}

impl Screen {
    /// Counts events of the summary, which shows their totals later. False when there is more to do.
    fn only_counts(&mut self, batches: &[EventBatch]) -> bool {
        let counted =
            |batch: &EventBatch| matches!(batch.signal, Signal::Traces | Signal::Logs | Signal::Metrics);
        if self.verbosity != Verbosity::Summary || !batches.iter().all(counted) {
            return false;
        }
        batches.iter().for_each(|batch| self.summary.add(batch.signal, batch.len()));
        true
    }

    fn show(&mut self, batches: &[EventBatch]) -> io::Result<()> {
        let now = self.clock.now_ms();
        let mut text = String::new();
        note(self.rows.untold_now(now), "line", &mut text);
        note(self.alarms.untold_now(now), "alarm", &mut text);
        match self.verbosity {
            Verbosity::Basic => {
                let shown = self.allow(batches.len(), now);
                batches[..shown].iter().for_each(|batch| lines::basic(batch, &mut text));
            }
            Verbosity::Normal | Verbosity::Detailed => {
                for batch in batches {
                    self.rows_of(batch, now, &mut text);
                }
            }
            Verbosity::Summary => self.summarise(batches, now, &mut text),
        }
        note(self.rows.untold_now(now), "line", &mut text);
        note(self.alarms.untold_now(now), "alarm", &mut text);
        self.write(&text)
    }

    fn rows_of(&mut self, batch: &EventBatch, now: i64, text: &mut String) {
        let Some(columns) = batch.as_columns() else { return };
        let shown = self.allow(columns.num_rows(), now);
        if self.verbosity == Verbosity::Normal {
            lines::normal(batch.signal, columns, shown, text);
        } else {
            let mut json = Vec::new();
            write_rows(&columns.slice(0, shown), batch.signal, &mut json);
            text.push_str(&String::from_utf8_lossy(&json));
        }
    }

    fn summarise(&mut self, batches: &[EventBatch], now: i64, text: &mut String) {
        let of = |signal| {
            let chosen = batches.iter().filter(move |batch| batch.signal == signal);
            chosen.filter_map(EventBatch::as_columns)
        };
        for batch in batches {
            self.summary.add(batch.signal, batch.len());
        }
        let windows = self.allow(of(Signal::Windows).map(RecordBatch::num_rows).sum(), now);
        self.summary.windows(of(Signal::Windows), windows, text);
        for columns in of(Signal::Alarms) {
            let shown = self.alarms.take(columns.num_rows(), now);
            self.hidden.inc_by((columns.num_rows() - shown) as u64);
            self.summary.alarms(columns, shown, text);
        }
    }

    fn allow(&mut self, wanted: usize, now: i64) -> usize {
        let shown = self.rows.take(wanted, now);
        self.hidden.inc_by((wanted - shown) as u64);
        shown
    }

    fn tell_the_rest(&mut self) -> io::Result<()> {
        let mut text = String::new();
        note(self.rows.untold(), "line", &mut text);
        note(self.alarms.untold(), "alarm", &mut text);
        if self.closed { Ok(()) } else { self.write(&text) }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        match self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe || error.raw_os_error() == Some(EIO) => {
                self.closed = true;
                let exporter = &self.id;
                tracing::warn!(exporter, %error, "nobody reads standard output any more; nothing more is shown there");
                Ok(())
            }
            result => result,
        }
    }
}

/// `… 1,204 lines not shown (max_rows_per_second)`.
fn note(hidden: Option<u64>, what: &str, text: &mut String) {
    if let Some(hidden) = hidden {
        let plural = if hidden == 1 { "" } else { "s" };
        text.push_str(&format!("… {} {what}{plural} not shown (max_rows_per_second)\n", count(hidden)));
    }
}

/// Standard output, locked for each write of whole lines.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().lock().write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::stdout().lock().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().lock().flush()
    }
}

#[cfg(test)]
mod tests;
