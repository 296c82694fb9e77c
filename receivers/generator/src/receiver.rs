//! The receiver: prepares templates, then sends copies of them down its lanes.

use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::Buffer;
use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use weir_component::telemetry::{Metric, MetricKind};
use weir_component::{
    Clock, Context, Lane, LaneClosed, LaneMessage, LaneSet, LaneSpec, LogLimit, Receiver, ReceiverError,
    ReceiverHost, Rejects, Watermark,
};
use weir_pdata::{Ack, Encoded, EventBatch, Format, ItemCount, MemoryPermit, Origin, Payload, Signal};

use crate::config::Config;
use crate::pace::Pace;
use crate::plan::{Plan, Planned};
use crate::random::LogNormal;
use crate::shape::{Kind, Shape};
use crate::template::Template;

const GENERATED: Metric = Metric {
    name: "weir_generator_segments",
    help: "Segments that the generator has sent.",
    kind: MetricKind::Counter,
    labels: &["receiver"],
};

/// The declarations, for the reference.
pub(crate) const METRICS: &[Metric] = &[GENERATED];

/// How long a lane is idle before it says so, and how often it says so again.
const IDLE_REPORT: std::time::Duration = std::time::Duration::from_secs(1);

/// Sends generated segments.
pub(crate) struct Generator {
    config: Config,
    context: Context,
}

impl Generator {
    /// A generator with checked settings.
    pub(crate) fn new(config: Config, context: Context) -> Generator {
        Generator { config, context }
    }
}

#[async_trait]
impl Receiver for Generator {
    fn transport(&self) -> Option<&'static str> {
        Some("generator")
    }

    async fn run(self: Box<Self>, host: ReceiverHost, stop: CancellationToken) -> Result<(), ReceiverError> {
        let Generator { config, context } = *self;
        let pool = Arc::new(Pool::new(&config, context.clock.now_ms())?);
        let id = context.id.to_string();
        let sent = context.telemetry.counter(&GENERATED, &[&id]);
        let started = Instant::now();
        let until = started.checked_add(config.duration.get()).filter(|_| !config.duration.is_zero());
        let (set, mut lanes) = (LaneSet::default(), JoinSet::new());
        for number in 0..config.lanes {
            let name: Arc<str> = format!("segments/{number}").into();
            let rejects =
                Arc::new(Mistakes { log: LogLimit::every_ms(10_000), clock: Arc::clone(&context.clock) });
            let shard = Shard {
                number,
                lane: host.open_lane(LaneSpec {
                    name: Arc::clone(&name),
                    rejects,
                    ledger: None,
                    set: set.clone(),
                    signal: Some(Signal::Traces),
                }),
                origin: format!("{id}/{name}").into(),
                pool: Arc::clone(&pool),
                batch: (config.batch as u64).max(1),
                clock: Arc::clone(&context.clock),
                sent: sent.clone(),
                sent_own: 0,
                stop: stop.clone(),
                until,
            };
            lanes.spawn(shard.run(started));
        }
        host.ready();
        while let Some(ended) = lanes.join_next().await {
            ended.map_err(|error| ReceiverError {
                message: format!("{id}: a lane of the generator ended abnormally; please report this"),
                source: Some(Box::new(error)),
            })?;
        }
        Ok(())
    }
}

/// The data shared by all lanes: the schedule, the plan, and the encoded segments.
pub(crate) struct Pool {
    pace: Pace,
    plan: Plan,
    /// By service, operation, variant and error, the last fastest.
    templates: Vec<Template>,
    /// Numbers in ids start here, so that ids differ from run to run.
    id_base: u64,
}

impl Pool {
    pub(crate) fn new(config: &Config, now_ms: i64) -> Result<Pool, ReceiverError> {
        let start_ms = config.start_time.map_or(now_ms, |time| time.ms);
        let shape = Shape {
            spans: config.segment.spans,
            tags: config.segment.tags,
            bytes: config.segment.bytes.as_usize(),
            seed: config.seed,
            services: config.service_names(),
            operations: config.operation_names(),
        };
        let (services, operations, variants) =
            (config.services.len(), config.operations.len(), config.variants());
        let mut templates = Vec::with_capacity(services * operations * variants * 2);
        for at in 0..services * operations * variants * 2 {
            let kind = Kind {
                service: at / (operations * variants * 2),
                operation: at / (variants * 2) % operations,
                variant: at / 2 % variants,
                error: at % 2 == 1,
            };
            let template = Template::new(shape.encode(kind, start_ms)).map_err(|error| ReceiverError {
                message:
                    "the generator cannot read its own segments: this is a mistake in Weir, please report it"
                        .into(),
                source: Some(Box::new(error)),
            })?;
            templates.push(template);
        }
        let mut incidents = Vec::new();
        for incident in &config.incidents {
            let (service, operation) = config
                .place(incident)
                .map_err(|(key, message)| ReceiverError::new(format!("incidents: {key}: {message}")))?;
            incidents.push((service, operation, incident.clone()));
        }
        let ms = |duration: weir_config::Duration| duration.get().as_secs_f64() * 1_000.0;
        let plan = Plan {
            seed: config.seed,
            services,
            operations,
            variants,
            start_ms,
            latency: LogNormal::new(ms(config.latency.median), ms(config.latency.p99)),
            error_rate: config.error_rate,
            disorder_ms: u64::try_from(config.disorder.as_millis()).unwrap_or_default(),
            incidents,
        };
        let pace = Pace::new(config.rate, config.lanes, config.count, start_ms, config.start_time.is_some());
        let id_base = u64::try_from(start_ms).unwrap_or_default().saturating_mul(10_000);
        Ok(Pool { pace, plan, templates, id_base })
    }

    fn template(&self, planned: &Planned) -> Option<&Template> {
        let Planned { service, operation, variant, error, .. } = *planned;
        let at = (service * self.plan.operations + operation) * self.plan.variants + variant;
        self.templates.get(at * 2 + usize::from(error))
    }

    /// A lane's own segments in this range, encoded end to end.
    pub(crate) fn encode(&self, lane: u64, own: Range<u64>, now_ms: i64) -> Encoded {
        let count = usize::try_from(own.end - own.start).unwrap_or_default();
        let about = self.templates.first().map_or(0, Template::len) + 64;
        let mut arena = Vec::with_capacity(count * about);
        let mut records = Vec::with_capacity(count);
        for own in own {
            let number = self.pace.number(lane, own);
            let planned = self.plan.segment(number, self.pace.time_ms(number, now_ms));
            let start = arena.len();
            if let Some(template) = self.template(&planned) {
                template.append(&planned, self.id_base, &mut arena);
            }
            // The settings keep a batch far below 4 GiB.
            let bound = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            records.push(bound(start)..bound(arena.len()));
        }
        let (arena, records) = (Buffer::from_vec(arena), records.into());
        Encoded {
            format: Format::SkyWalkingSegment,
            arena,
            records,
            positions: None,
            arrivals: None,
            written: None,
            items: ItemCount::default(),
        }
    }
}

/// One lane.
struct Shard {
    number: u64,
    lane: Lane,
    origin: Arc<str>,
    pool: Arc<Pool>,
    batch: u64,
    clock: Arc<dyn Clock>,
    sent: prometheus_client::metrics::counter::Counter,
    sent_own: u64,
    stop: CancellationToken,
    until: Option<Instant>,
}

/// Why a lane ended.
enum End {
    /// Everything was sent, or the time is over.
    Complete,
    /// The program stops.
    Stopped,
}

impl Shard {
    async fn run(mut self, started: Instant) {
        let ended = match self.pool.pace.tick() {
            Some(tick) => self.paced(started, tick).await,
            None => self.unlimited().await,
        };
        // A closed lane takes nothing more, not even an end.
        let Ok(end) = ended else { return };
        if matches!(end, End::Complete)
            && self.lane.send(LaneMessage::Watermark(Watermark::MAX)).await.is_err()
        {
            return;
        }
        // Nothing is left to do when the lane is closed.
        let _ = self.lane.send(LaneMessage::Drain).await;
    }

    /// Sends what each tick has. Ticks that back-pressure held up follow at once, with the event times they
    /// always had.
    async fn paced(&mut self, started: Instant, tick: std::time::Duration) -> Result<End, LaneClosed> {
        let mut ticks = interval_at(started + tick, tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut last_batch = started;
        let mut last_word = started;
        for number in 0.. {
            if self.sent_own >= self.pool.pace.of_lane(self.number) {
                break;
            }
            let stop = self.stop.clone();
            let until = self.until;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(End::Stopped),
                () = over(until) => break,
                _ = ticks.tick() => {}
            }
            let due = self.pool.pace.due(self.number, number);
            if due.is_empty() {
                let now = Instant::now();
                if now.duration_since(last_word) >= IDLE_REPORT {
                    last_word = now;
                    self.lane.send(LaneMessage::Idle(now.duration_since(last_batch))).await?;
                }
                continue;
            }
            if let Some(end) = self.send(due).await? {
                return Ok(end);
            }
            last_batch = Instant::now();
            last_word = last_batch;
        }
        Ok(End::Complete)
    }

    /// Sends one full batch after the other.
    async fn unlimited(&mut self) -> Result<End, LaneClosed> {
        while self.sent_own < self.pool.pace.of_lane(self.number) {
            if self.until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let end = self.sent_own.saturating_add(self.batch).min(self.pool.pace.of_lane(self.number));
            if let Some(end) = self.send(self.sent_own..end).await? {
                return Ok(end);
            }
            // Without back-pressure a send may never wait; others must come to run too.
            tokio::task::yield_now().await;
        }
        Ok(End::Complete)
    }

    /// Sends these segments in batches. `Some` when the program stops in between.
    async fn send(&mut self, due: Range<u64>) -> Result<Option<End>, LaneClosed> {
        let mut from = due.start;
        while from < due.end {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(Some(End::Stopped)),
                () = self.lane.ready() => {}
                () = over(self.until) => return Ok(Some(End::Complete)),
            }
            let upto = due.end.min(from.saturating_add(self.batch));
            let encoded = self.pool.encode(self.number, from..upto, self.clock.now_ms());
            let position = |own: u64| i64::try_from(own).unwrap_or(i64::MAX);
            let batch = EventBatch {
                signal: Signal::Traces,
                payload: Payload::Encoded(encoded),
                origin: Origin::lane(Arc::clone(&self.origin), position(from)..position(upto)),
                ack: Ack::none(),
                permit: MemoryPermit::default(),
            };
            self.lane.send(LaneMessage::Batch(batch)).await?;
            self.sent.inc_by(upto - from);
            self.sent_own = upto;
            from = upto;
        }
        Ok(None)
    }
}

/// Returns when the time is over; never when there is no end.
async fn over(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Told when a generated segment cannot be decoded, which is a mistake in Weir.
struct Mistakes {
    log: LogLimit,
    clock: Arc<dyn Clock>,
}

impl Rejects for Mistakes {
    fn reject(&self, _encoded: &Encoded, index: usize, position: i64, reason: &str) {
        if let Some(suppressed) = self.log.allow(self.clock.now_ms()) {
            tracing::error!(
                index,
                position,
                reason,
                suppressed,
                "a generated segment cannot be decoded: this is a mistake in Weir, please report it"
            );
        }
    }

    fn empty(&self, count: usize) {
        if let Some(suppressed) = self.log.allow(self.clock.now_ms()) {
            tracing::error!(
                count,
                suppressed,
                "generated segments without spans: this is a mistake in Weir, please report it"
            );
        }
    }
}
