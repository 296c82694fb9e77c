//! A queue as components use it: a log with a thread of its own, so that no disk holds up a lane.
//!
//! Appends that wait at the same time are written together and share one sync.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc as commands;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Mutex, mpsc, oneshot};
use weir_component::LogLimit;
use weir_component::health::{Trouble, Troubles};
use weir_component::storage::{Appending, DiskQueue, Record, StorageError};

use crate::config::Fsync;
use crate::log::{AppendError, Log};
use crate::metrics::QueueMetrics;

/// Records that are read ahead of who takes them.
const AHEAD: usize = 2;
/// Between two attempts to write or read, and two syncs of the position.
const PAUSE: Duration = Duration::from_secs(1);

/// A handle to the queue's thread. When it is dropped the thread closes the log.
#[derive(Debug)]
pub struct Queue {
    name: Arc<str>,
    commands: commands::Sender<Command>,
    records: Mutex<mpsc::Receiver<Record>>,
    max_record: u64,
    bytes: Gauge,
    count: Gauge,
}

#[derive(Debug)]
enum Command {
    Append(PendingAppend),
    /// There is room for a record that is read ahead.
    RecordTaken,
    Acknowledge(u64),
    Quarantine(Record, String),
    End,
    Close(oneshot::Sender<()>),
}

/// An append that is not confirmed.
#[derive(Debug)]
struct PendingAppend {
    payload: Vec<u8>,
    reply: oneshot::Sender<Result<u64, StorageError>>,
}

impl Queue {
    /// Starts the thread of an open log. `kept` is dropped when the log is closed.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start<K: Send + 'static>(
        name: &str,
        log: Log,
        fsync: Fsync,
        metrics: QueueMetrics,
        troubles: Troubles,
        kept: K,
    ) -> std::io::Result<(Queue, JoinHandle<()>)> {
        let (sender, receiver) = commands::channel();
        let (out, records) = mpsc::channel(AHEAD);
        let queue = Queue {
            name: Arc::from(name),
            commands: sender,
            records: Mutex::new(records),
            max_record: log.max_record(),
            bytes: metrics.bytes.clone(),
            count: metrics.records.clone(),
        };
        let worker = Worker {
            name: name.to_owned(),
            log,
            fsync,
            metrics,
            waiting: VecDeque::new(),
            out: Some(out),
            ended: false,
            closing: None,
            retry: None,
            sync_due: None,
            position_due: None,
            began: Instant::now(),
            full: LogLimit::every_ms(60_000),
            failures: LogLimit::every_ms(10_000),
            troubles,
            failing: Default::default(),
        };
        worker.update_gauges();
        let thread = std::thread::Builder::new().name("weir-queue".to_owned()).spawn(move || {
            let closed = worker.run(&receiver);
            drop((receiver, kept));
            if let Some(closed) = closed {
                // Who asked may have gone.
                let _ = closed.send(());
            }
        })?;
        Ok((queue, thread))
    }

    fn command(&self, command: Command) {
        // A closed queue needs no command.
        let _ = self.commands.send(command);
    }
}

#[async_trait]
impl DiskQueue for Queue {
    fn append(&self, record: Vec<u8>) -> Appending {
        let (reply, appending) = Appending::new(Arc::clone(&self.name));
        self.command(Command::Append(PendingAppend { payload: record, reply }));
        appending
    }

    fn max_record(&self) -> u64 {
        self.max_record
    }

    async fn next(&self) -> Option<Record> {
        let record = self.records.lock().await.recv().await;
        self.command(Command::RecordTaken);
        record
    }

    fn acknowledge(&self, number: u64) {
        self.command(Command::Acknowledge(number));
    }

    fn quarantine(&self, record: Record, reason: &str) {
        self.command(Command::Quarantine(record, reason.to_owned()));
    }

    fn end(&self) {
        self.command(Command::End);
    }

    fn bytes(&self) -> u64 {
        u64::try_from(self.bytes.get()).unwrap_or_default()
    }

    fn records(&self) -> u64 {
        u64::try_from(self.count.get()).unwrap_or_default()
    }

    async fn close(&self) {
        let (reply, done) = oneshot::channel();
        self.command(Command::Close(reply));
        // An error means that it is closed already.
        let _ = done.await;
    }
}

/// The thread's own data.
struct Worker {
    name: String,
    log: Log,
    fsync: Fsync,
    metrics: QueueMetrics,
    waiting: VecDeque<PendingAppend>,
    /// Records read ahead go here. `None` when no more come.
    out: Option<mpsc::Sender<Record>>,
    ended: bool,
    closing: Option<oneshot::Sender<()>>,
    /// Not before this: an attempt failed.
    retry: Option<Instant>,
    sync_due: Option<Instant>,
    position_due: Option<Instant>,
    began: Instant,
    full: LogLimit,
    failures: LogLimit,
    troubles: Troubles,
    /// The work on the disk that failed last time, by [`Work`].
    failing: [Option<Trouble>; 4],
}

/// Work on the disk.
#[derive(Clone, Copy)]
enum Work {
    Write,
    Sync,
    Position,
    Read,
}

impl Worker {
    /// Runs until the queue is closed or its handle is dropped, then closes the log. Returns who waits for
    /// that.
    fn run(mut self, receiver: &commands::Receiver<Command>) -> Option<oneshot::Sender<()>> {
        loop {
            self.append_waiting();
            self.timers();
            self.read_ahead();
            self.update_gauges();
            let due = [self.retry, self.sync_due, self.position_due].into_iter().flatten().min();
            let first = match due {
                None => receiver.recv().ok(),
                Some(due) => match receiver.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Err(commands::RecvTimeoutError::Timeout) => continue,
                    received => received.ok(),
                },
            };
            let Some(first) = first else { break };
            self.handle(first);
            // What came meanwhile is done together: one sync for all appends.
            receiver.try_iter().for_each(|command| self.handle(command));
            if self.closing.is_some() {
                break;
            }
        }
        self.waiting.clear(); // which says that the queue is closed
        if let Err(error) = self.log.close() {
            tracing::error!(queue = self.name, %error, "cannot write down the acknowledgements; it will be delivered again");
        }
        self.closing
    }

    fn handle(&mut self, command: Command) {
        let before = self.log.bytes();
        match command {
            Command::Append(waiting) => self.waiting.push_back(waiting),
            Command::RecordTaken => {}
            Command::Acknowledge(number) => {
                self.log.acknowledge(number);
                self.position_due.get_or_insert_with(|| Instant::now() + PAUSE);
            }
            Command::Quarantine(record, reason) => self.log.quarantine(&record, &reason),
            Command::End => self.ended = true,
            Command::Close(reply) => self.closing = Some(reply),
        }
        if self.log.bytes() < before {
            self.retry = None; // there is room again
        }
    }

    /// Writes what waits, as much as there is room for, and confirms what is safe.
    fn append_waiting(&mut self) {
        if self.retry.is_some_and(|retry| Instant::now() < retry) {
            return;
        }
        let mut written = Vec::new();
        while let Some(waiting) = self.waiting.pop_front() {
            match self.log.append(&waiting.payload) {
                Ok(number) => written.push((number, waiting)),
                Err(AppendError::TooLarge(error)) => {
                    let _ = waiting.reply.send(Err(error));
                }
                Err(AppendError::Full) => {
                    self.waiting.push_front(waiting);
                    if let Some(suppressed) = self.full.allow(self.now_ms()) {
                        let bytes = self.log.bytes();
                        tracing::warn!(
                            queue = self.name,
                            bytes,
                            suppressed,
                            "the queue is full; its input waits"
                        );
                    }
                    break;
                }
                Err(AppendError::Io(error)) => {
                    self.waiting.push_front(waiting);
                    self.failed(Work::Write, "cannot write to the queue; its input waits", &error);
                    break;
                }
            }
        }
        if written.is_empty() {
            return;
        }
        if self.retry.is_none_or(|retry| Instant::now() >= retry) {
            self.worked(Work::Write);
        }
        match self.fsync {
            Fsync::Always => {
                if let Err(error) = self.log.sync() {
                    self.failed(
                        Work::Sync,
                        "the disk did not take the records written to the queue; writing it again",
                        &error,
                    );
                    self.log.withdraw_unsynced();
                } else {
                    self.worked(Work::Sync);
                }
            }
            Fsync::Interval(every) => {
                self.sync_due.get_or_insert_with(|| Instant::now() + every);
            }
            Fsync::Never => {}
        }
        self.update_gauges();
        let safe = self.log.next();
        while let Some((_, waiting)) = written.pop_if(|(number, _)| *number >= safe) {
            self.waiting.push_front(waiting);
        }
        for (number, waiting) in written {
            let _ = waiting.reply.send(Ok(number));
        }
    }

    fn timers(&mut self) {
        let now = Instant::now();
        self.retry.take_if(|retry| *retry <= now);
        if self.sync_due.take_if(|due| *due <= now).is_some() {
            match self.log.sync() {
                Ok(()) => self.worked(Work::Sync),
                Err(error) => {
                    self.failed(Work::Sync, "the disk did not take the records written to the queue", &error);
                    self.sync_due = Some(now + PAUSE);
                }
            }
        }
        if self.position_due.take_if(|due| *due <= now).is_some() {
            match self.log.sync_position() {
                Ok(()) => self.worked(Work::Position),
                Err(error) => {
                    self.failed(Work::Position, "cannot write down the acknowledgements", &error);
                    self.position_due = Some(now + PAUSE);
                }
            }
        }
    }

    /// Reads ahead.
    fn read_ahead(&mut self) {
        // Nobody else sends: where there is room now, there is room for the record.
        while self.out.as_ref().is_some_and(|out| out.capacity() > 0 && !out.is_closed()) {
            match self.log.read() {
                Ok(record) => {
                    self.worked(Work::Read);
                    let Some(record) = record else {
                        if self.ended && self.waiting.is_empty() {
                            self.out = None;
                        }
                        return;
                    };
                    if self.out.as_ref().is_some_and(|out| out.try_send(record).is_err()) {
                        self.out = None;
                    }
                }
                Err(error) => {
                    self.failed(Work::Read, "cannot read from the queue", &error);
                    return;
                }
            }
        }
    }

    /// This work was done.
    fn worked(&mut self, work: Work) {
        self.failing[work as usize] = None;
    }

    /// Counts, logs, and waits before the next attempt.
    fn failed(&mut self, work: Work, what: &str, error: &std::io::Error) {
        self.metrics.errors.inc();
        self.retry = Some(Instant::now() + PAUSE);
        let text = format!("queue {}: {what}: {error}", self.name);
        self.failing[work as usize].get_or_insert_with(|| self.troubles.begin(&text)).update(&text);
        if let Some(suppressed) = self.failures.allow(self.now_ms()) {
            tracing::error!(queue = self.name, %error, suppressed, "{what}");
        }
    }

    fn update_gauges(&self) {
        self.metrics.bytes.set(i64::try_from(self.log.bytes()).unwrap_or(i64::MAX));
        self.metrics.records.set(i64::try_from(self.log.records()).unwrap_or(i64::MAX));
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}
