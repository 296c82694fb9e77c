//! Generated segments for measurements: the `generator` receiver without a pipeline.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use weir_component::{
    Context, DeadLetters, Lane, LaneClosed, LaneId, LaneMessage, LaneSink, LaneSpec, Lanes, ReceiverHost,
    Settings, Telemetry,
};
use weir_config::{Document, SourceText, Topology};
use weir_pdata::{Demand, Encoded, Payload, SharedProjection};

/// Latencies with which no span of millions ends too late for windows with `out_of_orderness: 10s`. A span
/// that ends early in its segment comes as late as the segment takes, and up to `disorder`, 2 s, on top. With
/// the generator's own latencies one segment of 600,000 takes 8 s. The same in tests/bench/run.py.
const NEVER_LATE: &str = "latency: {median: 60ms, p99: 400ms}";

/// The use of each batch. An error ends the generation.
type Take = dyn FnMut(&Encoded) -> Result<()> + Send;

/// How fast segments come, and which times they have.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As fast as it goes, with the clock's times, in batches of 256.
    Unlimited,
    /// So many a second: they end when they are handed over, in small batches.
    PerSecond(u64),
    /// As fast as it goes, with times from the beginning of 2026, in batches of 256: the same bytes in every
    /// run.
    Fixed,
}

/// Generates `count` segments of the default shape with seed 1, and hands them over.
pub async fn generate(
    count: u64,
    pace: Pace,
    take: impl FnMut(&Encoded) -> Result<()> + Send + 'static,
) -> Result<()> {
    let pace = match pace {
        Pace::Unlimited => format!("rate: unlimited, {NEVER_LATE}"),
        Pace::PerSecond(rate) => {
            format!("rate: {rate}, disorder: 0s, batch: 16, latency: {{median: 1ms, p99: 2ms}}")
        }
        Pace::Fixed => "rate: unlimited, start_time: \"2026-01-01T00:00:00Z\"".to_owned(),
    };
    let text = format!(
        "receivers: {{generator: {{{pace}, count: {count}, seed: 1}}}}\nexporters: {{nop: }}\n\
         service: {{pipelines: {{main: {{receivers: [generator], exporters: [nop]}}}}}}\n"
    );
    let wrong = |errors: weir_config::Diagnostics| anyhow!("{errors}");
    let document = Document::load(vec![SourceText::new("generator", text)], &[], &|_| None).map_err(wrong)?;
    let topology = Topology::read(&document).map_err(wrong)?;
    let section = topology.receivers.first().context("a receiver")?;
    let telemetry = Telemetry::default();
    let dead_letters = DeadLetters::new("dead-letter", 1 << 20, telemetry.clone());
    let context = Context::new(section.id.clone(), telemetry, dead_letters);
    let create = weir_receiver_generator::FACTORY.create;
    let receiver = create(Settings::new(&document, section), context.clone()).map_err(wrong)?;
    let taker = Taker { take: Arc::new(Mutex::new(Box::new(take))), failure: Arc::default() };
    let host = ReceiverHost {
        context,
        projection: SharedProjection::new(Demand::nothing()),
        lanes: Arc::new(taker.clone()),
    };
    receiver.run(host, CancellationToken::new()).await?;
    let failure = taker.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    failure.map_or(Ok(()), Err)
}

/// Stands for the pipelines below the generator.
#[derive(Clone)]
struct Taker {
    take: Arc<Mutex<Box<Take>>>,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Lanes for Taker {
    fn open(&self, _spec: LaneSpec) -> Lane {
        Lane::new(LaneId(1), Box::new(self.clone()))
    }
}

#[async_trait]
impl LaneSink for Taker {
    async fn send(&mut self, message: LaneMessage) -> Result<(), LaneClosed> {
        let LaneMessage::Batch(batch) = message else { return Ok(()) };
        let Payload::Encoded(encoded) = &batch.payload else { return Ok(()) };
        let taken = (self.take.lock().unwrap_or_else(PoisonError::into_inner))(encoded);
        taken.map_err(|error| {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            LaneClosed
        })
    }
}
