//! The thread that empties the ring. Nothing wakes it: it looks every few milliseconds, which costs the
//! processes that are looked at less than a wake-up for each event would.

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weir_component::{Context, LogLimit};
use weir_pdata::{SharedProjection, Signal};

use crate::config::Config;
use crate::kernel::event;
use crate::kernel::programs::{Counted, Programs, Ring, SOCKET_BYTES};
use crate::metrics::Metrics;
use crate::observer::Observer;
use crate::rows::{MetricRows, SpanRows};

/// Rows of a batch.
const MOST_ROWS: usize = 2_048;
/// How long spans wait for their batch to become full.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);
/// Events that are read before the thread looks at its other duties: they come as fast as they are read when
/// the machine is overloaded, and then sampling, figures and the end of the program must not wait.
const MOST_EVENTS: u64 = 8_192;

/// A batch on its way to its lane.
pub(crate) type Batch = (Signal, RecordBatch);

/// What the thread works with.
pub(crate) struct Worker {
    pub(crate) config: Config,
    pub(crate) context: Context,
    pub(crate) metrics: Metrics,
    pub(crate) projection: SharedProjection,
    pub(crate) programs: Programs,
    pub(crate) batches: mpsc::Sender<Batch>,
    pub(crate) stop: CancellationToken,
    pub(crate) observer: Observer,
    log: LogLimit,
    counted: Counted,
    /// How much the machine's clock is ahead of the kernel's.
    ahead: i64,
    reported: i64,
}

/// The pipeline has stopped, or there is a mistake that was logged.
struct Ended;

impl Worker {
    pub(crate) fn new(
        (config, context, metrics): (Config, Context, Metrics),
        projection: SharedProjection,
        programs: Programs,
        batches: mpsc::Sender<Batch>,
        stop: CancellationToken,
        seed: u64,
    ) -> Worker {
        let observer = Observer::new(&config, seed);
        let reported = context.clock.now_ms().saturating_mul(1_000_000);
        let (log, counted) = (LogLimit::every_ms(10_000), Counted::default());
        Worker {
            config,
            context,
            metrics,
            projection,
            programs,
            batches,
            stop,
            observer,
            log,
            counted,
            ahead: 0,
            reported,
        }
    }

    /// Empties the ring until the program stops.
    pub(crate) fn run(mut self, mut ring: Ring) {
        self.set_clock();
        // What is open already.
        let _ = self.report();
        let (poll, interval) = (self.config.poll_interval.get(), self.config.tcp.interval.get());
        let (mut second, mut report, mut flushed) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            let stopping = self.stop.is_cancelled();
            let mut events = 0;
            while events < MOST_EVENTS
                && let Some(item) = ring.next()
            {
                events += 1;
                match event::read(&item) {
                    Some(event) => self.observer.event(&event),
                    None => self.complain("an event of the kernel cannot be read"),
                }
                if self.observer.waiting() >= MOST_ROWS {
                    drop(item);
                    if self.flush().is_err() {
                        return;
                    }
                    flushed = Instant::now();
                }
            }
            self.metrics.events.inc_by(events);
            for tgid in self.observer.take_denied() {
                self.programs.deny(tgid);
            }
            if second.elapsed() >= SECOND || stopping {
                second = Instant::now();
                self.second();
            }
            if report.elapsed() >= interval || stopping {
                report = Instant::now();
                if self.report().is_err() {
                    return;
                }
            }
            if flushed.elapsed() >= LONGEST_WAIT || stopping {
                flushed = Instant::now();
                if self.flush().is_err() {
                    return;
                }
            }
            if stopping {
                return;
            }
            if events < MOST_EVENTS {
                std::thread::sleep(poll);
            }
        }
    }

    /// Sends the spans so far.
    fn flush(&mut self) -> Result<(), Ended> {
        let spans = self.observer.take_spans();
        if spans.is_empty() {
            return Ok(());
        }
        let mut rows = SpanRows::new(self.projection.load(), self.ahead, self.config.http.full_paths);
        spans.into_iter().for_each(|span| rows.push(span));
        let batch = rows.finish();
        self.send(Signal::Traces, batch)
    }

    /// Looks at all open sockets, and sends the figures.
    fn report(&mut self) -> Result<(), Ended> {
        let written = match self.programs.sockets() {
            Ok(written) => written,
            Err(error) => {
                self.complain(&format!("open connections cannot be listed: {error}"));
                Vec::new()
            }
        };
        let sockets = written.chunks_exact(SOCKET_BYTES).filter_map(event::read);
        let points = self.observer.sockets(sockets);
        let now = self.context.clock.now_ms().saturating_mul(1_000_000);
        let period = (std::mem::replace(&mut self.reported, now), now);
        let mut rows = MetricRows::new(self.projection.load(), period);
        for (process, peer, points) in &points {
            points.iter().for_each(|point| rows.push(process, peer, point));
            if rows.len() >= MOST_ROWS {
                let full = std::mem::replace(&mut rows, MetricRows::new(self.projection.load(), period));
                self.send(Signal::Metrics, full.finish())?;
            }
        }
        if rows.len() > 0 { self.send(Signal::Metrics, rows.finish()) } else { Ok(()) }
    }

    fn send(
        &mut self,
        signal: Signal,
        batch: Result<RecordBatch, arrow::error::ArrowError>,
    ) -> Result<(), Ended> {
        match batch {
            // While a lane is full the ring fills, and the kernel counts what it cannot tell.
            Ok(batch) => self.batches.blocking_send((signal, batch)).map_err(|_| Ended),
            Err(error) => {
                self.complain(&format!("rows cannot be made: {error}"));
                Ok(())
            }
        }
    }

    fn second(&mut self) {
        let kernel = self.context.clock.now_ms().saturating_mul(1_000_000).saturating_sub(self.ahead);
        self.observer.second(u64::try_from(kernel).unwrap_or_default());
        self.set_clock();
        let counted = self.programs.counted();
        let before = std::mem::replace(&mut self.counted, counted);
        let metrics = &self.metrics;
        for (counter, now, then) in [
            (&metrics.lost[0], counted.data_lost, before.data_lost),
            (&metrics.lost[1], counted.tcp_lost, before.tcp_lost),
            (&metrics.lost[2], counted.process_lost, before.process_lost),
            (&metrics.unseen[0], counted.connections_full, before.connections_full),
            (&metrics.unseen[1], counted.unreadable, before.unreadable),
        ] {
            counter.inc_by(now.saturating_sub(then));
        }
        let seen = self.observer.take_seen();
        metrics.requests.inc_by(seen.requests);
        metrics.sampled.inc_by(seen.sampled);
        metrics.unpaired[0].inc_by(seen.left.responses);
        metrics.unpaired[1].inc_by(seen.left.requests);
        metrics.unpaired[2].inc_by(seen.left.connections);
        metrics.unseen[0].inc_by(seen.connections);
        let (connections, processes) = self.observer.sizes();
        metrics.connections.set(i64::try_from(connections).unwrap_or(i64::MAX));
        metrics.processes.set(i64::try_from(processes).unwrap_or(i64::MAX));
    }

    fn set_clock(&mut self) {
        match self.programs.clock_ahead() {
            Ok(ahead) => self.ahead = ahead,
            Err(error) => self.complain(&format!("the kernel's clock cannot be read: {error}")),
        }
    }

    fn complain(&self, what: &str) {
        if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
            let receiver = &self.context.id;
            tracing::warn!(%receiver, suppressed, "{what}");
        }
    }
}
