//! The thread that commits: offsets, and what is known beside them, all partitions in one request.
//!
//! rdkafka 0.39 never calls back for an asynchronous commit, so that a refused one would go unnoticed. A synchronous one
//! waits for Kafka, up to the session timeout when the coordinator is away: therefore here, and not where Kafka is polled.
//! It commits at once when a ledger has something to write down before it can go on, else every `commit_interval`.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use weir_component::delivery::{Lease, Ledger, MAX_BYTES, Position, positions};
use weir_component::{Context, LogLimit, failpoint};

use crate::context::KafkaContext;
use crate::metrics::Metrics;

/// How long to wait before a commit that was refused is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// The owned partitions, as far as commits care. The thread ends when it is dropped.
pub(crate) struct Committer(Arc<Shared>, Lease);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lanes: BTreeMap<i32, Entry>,
    /// Somebody waits for a commit.
    urgent: bool,
    ended: bool,
}

struct Entry {
    ledger: Ledger,
    gauge: Gauge,
    /// What Kafka has of this ownership.
    written: Option<Position>,
}

/// What the thread works with.
struct Work {
    consumer: Weak<BaseConsumer<KafkaContext>>,
    topic: Arc<str>,
    context: Context,
    metrics: Metrics,
    interval: Duration,
    lease: Lease,
    log: LogLimit,
}

impl Committer {
    /// Starts the thread. `session`: after so long a silence partitions go to another.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start(
        consumer: &Arc<BaseConsumer<KafkaContext>>,
        topic: Arc<str>,
        context: Context,
        metrics: Metrics,
        interval: Duration,
        session: Duration,
    ) -> std::io::Result<Committer> {
        let shared = Arc::new(Shared::default());
        let log = LogLimit::every_ms(10_000);
        let lease = Lease::new(session);
        let consumer = Arc::downgrade(consumer);
        let work = Work { consumer, topic, context, metrics, interval, lease: lease.clone(), log };
        let mine = Arc::clone(&shared);
        std::thread::Builder::new().name("weir-commit".to_owned()).spawn(move || work.run(&mine))?;
        Ok(Committer(shared, lease))
    }

    /// Holds as long as partitions that were assigned cannot be another's: each commit renews it.
    pub(crate) fn lease(&self) -> Lease {
        self.1.clone()
    }

    /// For ledgers to call when something has to be written down soon.
    pub(crate) fn wake(&self) -> Arc<dyn Fn() + Send + Sync> {
        let shared = Arc::downgrade(&self.0);
        Arc::new(move || {
            if let Some(shared) = shared.upgrade() {
                shared.wake();
            }
        })
    }

    /// Commits what there is now.
    pub(crate) fn flush(&self) {
        self.0.wake();
    }

    /// From now on this partition is committed too. The gauge shows its offset.
    pub(crate) fn add(&self, partition: i32, ledger: Ledger, gauge: Gauge) {
        self.0.lock().lanes.insert(partition, Entry { ledger, gauge, written: None });
    }

    /// From now on this partition is not committed any more.
    pub(crate) fn remove(&self, partition: i32) {
        self.0.lock().lanes.remove(&partition);
    }

    /// Whether Kafka has what the ledgers of these partitions say now.
    pub(crate) fn is_written(&self, partitions: &[i32]) -> bool {
        let state = self.0.lock();
        let owned = partitions.iter().filter_map(|partition| state.lanes.get(partition));
        let (ledgers, written): (Vec<&Ledger>, Vec<&Option<Position>>) =
            owned.map(|entry| (&entry.ledger, &entry.written)).unzip();
        positions(&ledgers).iter().zip(written).all(|(now, written)| now == written)
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.lock().urgent = true;
        self.changed.notify_one();
    }
}

impl Work {
    fn run(self, shared: &Shared) {
        loop {
            let idle = |state: &mut State| !state.urgent && !state.ended;
            let waited = shared.changed.wait_timeout_while(shared.lock(), self.interval, idle);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.ended {
                return;
            }
            state.urgent = false;
            drop(state);
            let Some(consumer) = self.consumer.upgrade() else { return };
            if let Err(error) = self.commit(shared, &consumer) {
                self.refused(&error);
                let ended = |state: &mut State| !state.ended;
                let waited = shared.changed.wait_timeout_while(shared.lock(), RETRY, ended);
                waited.unwrap_or_else(PoisonError::into_inner).0.urgent = true;
            }
        }
    }

    fn commit(&self, shared: &Shared, consumer: &BaseConsumer<KafkaContext>) -> KafkaResult<()> {
        let lanes: Vec<(i32, Ledger)> =
            shared.lock().lanes.iter().map(|(partition, entry)| (*partition, entry.ledger.clone())).collect();
        let ledgers: Vec<&Ledger> = lanes.iter().map(|(_, ledger)| ledger).collect();
        let now: Vec<(i32, Position)> = lanes
            .iter()
            .zip(positions(&ledgers))
            .filter_map(|((partition, _), position)| Some((*partition, position?)))
            .collect();
        let news = |state: &State| {
            now.iter().any(|(partition, position)| {
                state.lanes.get(partition).is_some_and(|entry| entry.written.as_ref() != Some(position))
            })
        };
        if !news(&shared.lock()) {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(now.len());
        for (partition, position) in &now {
            let mut element = list.add_partition(&self.topic, *partition);
            element.set_offset(Offset::Offset(position.offset))?;
            let text = position.metadata.encode();
            self.check(&text);
            element.set_metadata(text);
        }
        failpoint::reach("before-commit");
        if moves_marks(&shared.lock(), &now) {
            failpoint::reach("before-mark");
        }
        let sent = Instant::now();
        consumer.commit(&list, CommitMode::Sync)?;
        self.lease.renew(sent);
        failpoint::reach("after-commit");
        for (partition, position) in now {
            let Some((_, ledger)) = lanes.iter().find(|(lane, _)| *lane == partition) else { continue };
            ledger.written(&position);
            // Meanwhile the partition may have another owner, whose positions these are not.
            let mut state = shared.lock();
            if let Some(entry) = state.lanes.get_mut(&partition).filter(|entry| entry.ledger.is_same(ledger))
            {
                entry.gauge.set(position.offset);
                entry.written = Some(position);
            }
        }
        Ok(())
    }

    fn check(&self, text: &str) {
        if text.len() > MAX_BYTES
            && let Some(more) = self.log.allow(self.context.clock.now_ms())
        {
            let (receiver, topic, bytes) = (&self.context.id, &self.topic, text.len());
            tracing::error!(
                %receiver, %topic, bytes, more,
                "what belongs to an offset is larger than Kafka takes by default ({MAX_BYTES} bytes), and nothing goes on without it: \
                 give the group fewer aggregates and exporters, or raise offset.metadata.max.bytes on the brokers"
            );
        }
    }

    fn refused(&self, error: &KafkaError) {
        self.metrics.commit_failures.inc();
        if let Some(more) = self.log.allow(self.context.clock.now_ms()) {
            let (receiver, topic) = (&self.context.id, &self.topic);
            tracing::warn!(%receiver, %topic, %error, more, "offsets were not committed: trying again");
        }
    }
}

/// Whether windows are about to be committed as stored that were not before.
fn moves_marks(state: &State, now: &[(i32, Position)]) -> bool {
    now.iter().any(|(partition, position)| {
        let written = state.lanes.get(partition).and_then(|entry| entry.written.as_ref());
        written.is_some_and(|written| written.metadata.windows != position.metadata.windows)
    })
}
