//! The tasks around a [`Notifier`]: it is called when something is due, its state is written before anything
//! that follows from it happens, and its messages are sent one after the other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::de::DeserializeOwned;
use serde_json::Map;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_component::exporter_helper::{Backoff, RetryConfig};
use weir_component::notifications::Notification;
use weir_component::storage::{Storage, StorageError};
use weir_component::{Context, ExportError, LogLimit, Status};
use weir_config::ComponentId;

use super::calendar::Calendar;
use super::config::Settings;
use super::notifier::Notifier;
use super::room::MAX_ALARMS;
use super::state::{Message, Note, Outcome, Sent, State};
use crate::alarm::Alarm;
use crate::metrics::Metrics;
use crate::sender::Sender;

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(250);
/// The key of the state in the storage, below the exporter's id.
const KEY: &str = "notify";
/// Of the messages that were delivered since the state was written.
const SENT: &str = "notify_sent";
/// So many at most; then the state is written.
const MOST_SENT: usize = 1_000;

/// A running notifier.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
}

struct Shared {
    notifier: tokio::sync::Mutex<Notifier>,
    calendar: Mutex<Calendar>,
    storage: Arc<dyn Storage>,
    /// What was delivered since the state was written.
    sent: Mutex<Sent>,
    sender: Arc<Sender>,
    context: Context,
    retry: RetryConfig,
    metrics: Metrics,
    /// There may be a message to send.
    mail: Notify,
    log: LogLimit,
}

impl Driver {
    /// Goes on with the state on disk. `None`: there is no storage that is started, as in `weir replay`.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(crate) async fn start(
        settings: Settings,
        storage: Option<&ComponentId>,
        retry: RetryConfig,
        sender: Arc<Sender>,
        context: Context,
    ) -> Result<Option<Driver>, String> {
        let storage = match storage {
            Some(id) => Some(context.storages.find(id)?),
            None => context.storages.default_storage(),
        };
        let Some(storage) = storage else { return Ok(None) };
        let name = context.id.to_string();
        let (state, sent) = (storage.get(&name, KEY).await, storage.get(&name, SENT).await);
        if let Err(StorageError::Closed(_)) = state {
            return Ok(None);
        }
        let (state, sent): (State, Sent) = (read(state)?, read(sent)?);
        // Of an older state it says nothing.
        let generation = state.generation;
        let sent = Some(sent).filter(|sent| sent.generation == generation);
        let sent = sent.unwrap_or_else(|| Sent { generation, ..Sent::default() });
        let mut notifier = Notifier::new(settings.clone(), state);
        notifier.were_sent(&sent.numbers);
        let (metrics, calendar) = (Metrics::new(&context), Calendar::of(&settings.mute));
        let shared = Arc::new(Shared {
            notifier: tokio::sync::Mutex::new(notifier),
            sent: Mutex::new(sent),
            calendar: Mutex::new(calendar),
            storage,
            sender,
            context,
            retry,
            metrics,
            mail: Notify::new(),
            log: LogLimit::every_ms(5_000),
        });
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        shared.reload();
        tasks.spawn(Arc::clone(&shared).keep_time(stop.clone()));
        tasks.spawn(Arc::clone(&shared).send_messages(stop.clone()));
        Ok(Some(Driver { shared, tasks: Mutex::new(tasks), stop }))
    }

    /// Takes alarms. When it returns they are safe on disk.
    ///
    /// # Errors
    /// They cannot be written, or there is no room for some of them.
    pub(crate) async fn receive(&self, alarms: Vec<Alarm>) -> Result<(), ExportError> {
        let now_ms = self.shared.context.clock.now_ms();
        let mut notifier = self.shared.notifier.lock().await;
        let rows = notifier.receive(alarms, now_ms);
        self.shared.write(&mut notifier).await.map_err(|error| {
            ExportError::retryable(format!("what people have to be told cannot be written: {error}"))
        })?;
        if rows.is_empty() {
            return Ok(());
        }
        let reason = format!("there are {MAX_ALARMS} alarms that fire already: no more are told to people");
        Err(ExportError::Permanent { reason, rows })
    }

    /// Ends the tasks: what is not sent is sent after the next start.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}

/// A value as it was written; what it is without one.
fn read<T: DeserializeOwned + Default>(bytes: Result<Option<Vec<u8>>, StorageError>) -> Result<T, String> {
    match bytes {
        Err(error) => Err(format!("what people were told cannot be read: {error}")),
        Ok(None) => Ok(T::default()),
        Ok(Some(bytes)) => serde_json::from_slice(&bytes)
            .map_err(|error| format!("what people were told is written in an unknown form: {error}")),
    }
}

impl Shared {
    /// Writes the state down, and tells what became of alarms.
    async fn write(&self, notifier: &mut Notifier) -> Result<(), String> {
        let state = notifier.state_to_write();
        let generation = state.generation;
        let firing = state.alarms.values().filter(|tracked| tracked.alarm.is_firing()).count();
        let bytes = serde_json::to_vec(state).map_err(|error| error.to_string())?;
        self.metrics.firing(firing);
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) =
            Sent { generation, numbers: BTreeSet::new() };
        let written = self.storage.put(&self.context.id.to_string(), KEY, bytes).await;
        self.tell_all(notifier);
        written.map_err(|error| error.to_string())
    }

    /// Writes down that a message was delivered, without all the rest.
    async fn write_sent(&self, notifier: &mut Notifier, number: u64) {
        let bytes = {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.numbers.insert(number);
            (sent.numbers.len() < MOST_SENT).then(|| serde_json::to_vec(&*sent))
        };
        let Some(Ok(bytes)) = bytes else { return self.write_or_warn(notifier).await };
        let written = self.storage.put(&self.context.id.to_string(), SENT, bytes).await;
        self.tell_all(notifier);
        self.warn(written.map_err(|error| error.to_string()));
    }

    fn tell_all(&self, notifier: &mut Notifier) {
        for note in notifier.take_notes() {
            self.tell(&note);
        }
    }

    /// Writes where nothing waits for it: the next writing has this state too.
    async fn write_or_warn(&self, notifier: &mut Notifier) {
        let written = self.write(notifier).await;
        self.warn(written);
    }

    fn warn(&self, written: Result<(), String>) {
        if let Err(error) = written
            && let Some(suppressed) = self.log.allow(self.context.clock.now_ms())
        {
            let exporter = self.context.id.to_string();
            tracing::error!(
                exporter,
                error,
                suppressed,
                "what people were told cannot be written: after a crash they are told again"
            );
        }
    }

    fn tell(&self, note: &Note) {
        self.metrics.count(note.outcome);
        let now_ms = self.context.clock.now_ms();
        let time = note.alarm.millis("time").unwrap_or(now_ms);
        let names = ["rule", "severity", "state", "service", "operation", "fingerprint"];
        self.context.notifications.tell(Notification {
            time_ms: now_ms,
            target: self.context.id.to_string(),
            outcome: note.outcome.name(),
            reason: note.reason.clone(),
            attempts: note.attempts,
            delay_ms: now_ms.saturating_sub(time),
            alarm: names.map(|name| note.alarm.text(name).to_owned()),
        });
        let (exporter, reason) = (self.context.id.to_string(), note.reason.as_str());
        let [rule, fingerprint, state] = ["rule", "fingerprint", "state"].map(|name| note.alarm.text(name));
        match note.outcome {
            Outcome::Sent => {
                self.metrics.delay(now_ms.saturating_sub(time));
                let attempts = note.attempts;
                tracing::debug!(exporter, rule, fingerprint, state, attempts, "an alarm was sent");
            }
            Outcome::Suppressed => {
                tracing::info!(exporter, rule, fingerprint, state, reason, "an alarm is not sent");
            }
            Outcome::Failed => {
                tracing::error!(
                    exporter,
                    rule,
                    fingerprint,
                    state,
                    reason,
                    "an alarm was given up and is in the dead letters"
                );
            }
        }
    }

    fn reload(&self) {
        let problems = self.calendar.lock().unwrap_or_else(PoisonError::into_inner).reload();
        for problem in problems {
            let exporter = self.context.id.to_string();
            tracing::error!(exporter, "{problem}: the maintenance windows and silences of before stay");
        }
    }

    async fn keep_time(self: Arc<Shared>, stop: CancellationToken) {
        // What was on its way when the program ended.
        self.mail.notify_one();
        while stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
            self.reload();
            let now_ms = self.context.clock.now_ms();
            let mut notifier = self.notifier.lock().await;
            let changed = {
                let calendar = self.calendar.lock().unwrap_or_else(PoisonError::into_inner);
                notifier.evaluate(now_ms, &calendar)
            };
            if changed {
                self.write_or_warn(&mut notifier).await;
            }
            self.metrics.oldest(notifier.oldest_ms().map(|made| now_ms.saturating_sub(made)));
            if !notifier.state().outbox.is_empty() {
                self.mail.notify_one();
            }
        }
    }

    async fn send_messages(self: Arc<Shared>, stop: CancellationToken) {
        let mut backoff = Backoff::new(self.retry);
        let mut random =
            StdRng::seed_from_u64(std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), "jitter"));
        while stop.run_until_cancelled(self.mail.notified()).await.is_some() {
            while !stop.is_cancelled() {
                if stop.run_until_cancelled(self.sender.turn()).await.is_none() {
                    return;
                }
                let mut notifier = self.notifier.lock().await;
                let before = notifier.state().next;
                let Some(message) = notifier.next_message() else { break };
                if notifier.state().next != before {
                    // It was made of others: a crash must not make another one of them.
                    self.write_or_warn(&mut notifier).await;
                }
                drop(notifier);
                match self.send(message).await {
                    None => backoff = Backoff::new(self.retry),
                    Some(after) => {
                        let wait = backoff.wait(after, &mut random);
                        stop.run_until_cancelled(tokio::time::sleep(wait)).await;
                    }
                }
            }
        }
    }

    /// Sends a message. Gives the wait that the target asks for when it is to be tried again.
    async fn send(&self, message: Message) -> Option<Option<Duration>> {
        let Message { number, made_ms, labels, alarms, attempts, .. } = message;
        let answer = self.sender.deliver(&alarms, &labels, Some(number)).await;
        let mut notifier = self.notifier.lock().await;
        let waited = self.context.clock.now_ms().saturating_sub(made_ms);
        let most = self.retry.max_elapsed_time;
        let mut again = None;
        match answer {
            Ok(()) => {
                self.context.health.report(Status::Ok);
                notifier.delivered(number, attempts);
                self.write_sent(&mut notifier, number).await;
                return None;
            }
            Err(ExportError::Retryable { reason, after }) => {
                self.metrics.failure();
                self.context.health.report(Status::RecoverableError(reason.clone()));
                if most.is_zero() || waited < most.as_millis() {
                    if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
                        let exporter = self.context.id.to_string();
                        tracing::warn!(
                            exporter,
                            reason,
                            attempts,
                            suppressed,
                            "a message was not sent and is tried again"
                        );
                    }
                    again = Some(after);
                } else {
                    let reason = format!("given up after {most}: {reason}");
                    let now_ms = self.context.clock.now_ms();
                    let alarms = notifier.given_up(number, attempts, &reason, true, now_ms);
                    self.dead_letter(&alarms, &reason);
                }
            }
            Err(error) => {
                self.metrics.failure();
                let reason = error.to_string();
                if !notifier.split(number) {
                    let now_ms = self.context.clock.now_ms();
                    let alarms = notifier.given_up(number, attempts, &reason, false, now_ms);
                    self.dead_letter(&alarms, &reason);
                }
            }
        }
        self.write_or_warn(&mut notifier).await;
        again
    }

    fn dead_letter(&self, alarms: &[Alarm], reason: &str) {
        for alarm in alarms {
            let fields =
                Map::from_iter([("lane".to_owned(), "".into()), ("row".to_owned(), alarm.line().into())]);
            self.context.dead_letters.write(&self.context.id, reason, fields);
        }
    }
}
