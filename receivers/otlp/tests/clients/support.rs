//! A running receiver, the pipelines behind it, and clients that send raw messages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};
use weir_component::testkit::context;
use weir_component::{
    Context, Lane, LaneClosed, LaneId, LaneMessage, LaneSink, LaneSpec, Lanes, ReceiverError, ReceiverHost,
    Rejects, Settings,
};
use weir_config::{Document, SourceText, Topology};
use weir_pdata::{Demand, EventBatch, Payload, SharedProjection};

pub const PATIENCE: Duration = Duration::from_secs(30);
pub const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
pub const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// What the pipelines do with a record: nothing is wrong with it, all of it, or some of its items.
#[derive(Clone, Copy)]
pub enum Finds {
    Bad,
    BadItems(usize),
}

/// Pipelines that record batches, and keep them until they are taken.
#[derive(Clone, Default)]
pub struct Pipelines(Arc<Shared>);

struct Shared {
    lanes: Mutex<Vec<Vec<LaneMessage>>>,
    /// Whether a batch may come in.
    open: watch::Sender<bool>,
    /// Records with these bytes are found to be bad.
    finds: Mutex<HashMap<Vec<u8>, Finds>>,
    changed: Notify,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            lanes: Mutex::default(),
            open: watch::Sender::new(true),
            finds: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

impl Pipelines {
    pub fn shut(&self) {
        self.0.open.send_replace(false);
    }

    pub fn open(&self) {
        self.0.open.send_replace(true);
    }

    pub fn find(&self, record: &[u8], finds: Finds) {
        self.0.finds.lock().unwrap().insert(record.to_vec(), finds);
    }

    /// The batches that are there. Dropping them acknowledges them.
    pub fn take(&self) -> Vec<EventBatch> {
        let mut taken = Vec::new();
        for lane in self.0.lanes.lock().unwrap().iter_mut() {
            lane.retain(|message| match message {
                LaneMessage::Batch(batch) => {
                    taken.push(batch.clone());
                    false
                }
                _ => true,
            });
        }
        taken
    }

    /// Waits for a batch.
    pub async fn next(&self) -> EventBatch {
        self.several(1).await.remove(0)
    }

    /// Waits until at least this many batches are there.
    pub async fn several(&self, count: usize) -> Vec<EventBatch> {
        let is_batch = |message: &&LaneMessage| matches!(message, LaneMessage::Batch(_));
        self.until(|lanes| lanes.iter().flatten().filter(is_batch).count() >= count).await;
        self.take()
    }

    /// Waits until the lanes are as they should be.
    pub async fn until(&self, holds: impl Fn(&[Vec<LaneMessage>]) -> bool) {
        let waiting = async {
            loop {
                let changed = self.0.changed.notified();
                if holds(&self.0.lanes.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the lanes never came to the expected state");
    }

    /// Answers every request with success from now on.
    pub fn acknowledge(&self) -> JoinHandle<()> {
        let pipelines = self.clone();
        tokio::spawn(async move {
            loop {
                let changed = pipelines.0.changed.notified();
                drop(pipelines.take());
                changed.await;
            }
        })
    }
}

/// The records of a batch.
pub fn records(batch: &EventBatch) -> Vec<Vec<u8>> {
    let Payload::Encoded(encoded) = &batch.payload else { panic!("it is decoded") };
    encoded.records.iter().map(|at| encoded.arena[at.start as usize..at.end as usize].to_vec()).collect()
}

impl Lanes for Pipelines {
    fn open(&self, spec: LaneSpec) -> Lane {
        let mut lanes = self.0.lanes.lock().unwrap();
        lanes.push(Vec::new());
        let at = lanes.len() - 1;
        Lane::new(LaneId(at as u64), Box::new(Sink { shared: self.0.clone(), at, rejects: spec.rejects }))
    }
}

struct Sink {
    shared: Arc<Shared>,
    at: usize,
    rejects: Arc<dyn Rejects>,
}

#[async_trait]
impl LaneSink for Sink {
    async fn send(&mut self, message: LaneMessage) -> Result<(), LaneClosed> {
        if let LaneMessage::Batch(batch) = &message {
            let mut open = self.shared.open.subscribe();
            open.wait_for(|open| *open).await.unwrap();
            let Payload::Encoded(encoded) = &batch.payload else { panic!("it is decoded") };
            for (index, record) in records(batch).iter().enumerate() {
                match self.shared.finds.lock().unwrap().get(record) {
                    Some(Finds::Bad) => self.rejects.reject(encoded, index, 0, "a span is broken"),
                    Some(Finds::BadItems(items)) => {
                        self.rejects.reject_items(encoded, index, 0, *items, "a time is out of range");
                    }
                    None => {}
                }
            }
        }
        self.shared.lanes.lock().unwrap()[self.at].push(message);
        self.shared.changed.notify_waiters();
        Ok(())
    }
}

/// A running receiver.
pub struct Receiving {
    pub grpc: u16,
    pub http: u16,
    pub pipelines: Pipelines,
    pub context: Context,
    pub stop: CancellationToken,
    pub running: JoinHandle<Result<(), ReceiverError>>,
    pub folder: tempfile::TempDir,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a receiver. `{GRPC}` and `{HTTP}` stand for free ports.
pub async fn start(settings: &str) -> Receiving {
    let (grpc, http) = (free_port(), free_port());
    let settings = settings.replace("{GRPC}", &grpc.to_string()).replace("{HTTP}", &http.to_string());
    let text = format!(
        "receivers:\n  otlp: {settings}\nexporters: {{nop: {{}}}}\nservice: {{pipelines: {{main: {{receivers: [otlp], exporters: [nop]}}}}}}\n"
    );
    let document = Document::load(vec![SourceText::new("weir.yaml", text)], &[], &|_| None).unwrap();
    let (topology, _) = Topology::examine(&document);
    let folder = tempfile::tempdir().unwrap();
    let context = context("otlp", folder.path());
    let section = &topology.receivers[0];
    let receiver = (weir_receiver_otlp::FACTORY.create)(Settings::new(&document, section), context.clone())
        .unwrap_or_else(|wrong| panic!("{wrong}"));
    let pipelines = Pipelines::default();
    let host = ReceiverHost {
        context: context.clone(),
        projection: SharedProjection::new(Demand::everything()),
        lanes: Arc::new(pipelines.clone()),
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(receiver.run(host, stop.clone()));
    let receiving = Receiving { grpc, http, pipelines, context, stop, running, folder };
    for (port, named) in [(grpc, settings.contains("grpc")), (http, settings.contains("http"))] {
        while named && tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(!receiving.running.is_finished(), "the receiver has ended");
            tokio::task::yield_now().await;
        }
    }
    receiving
}

/// Both protocols with their defaults, and one lane.
pub const BOTH: &str = "{protocols: {grpc: {endpoint: '127.0.0.1:{GRPC}'}, http: {endpoint: '127.0.0.1:{HTTP}'}}, lanes: 1, max_wait: 300ms}";

impl Receiving {
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    /// Sends a message with gRPC.
    pub async fn grpc(&self, path: &'static str, message: Vec<u8>) -> Result<Bytes, Status> {
        self.grpc_with(path, message, |_| {}, None).await
    }

    pub async fn grpc_with(
        &self,
        path: &'static str,
        message: Vec<u8>,
        change: impl FnOnce(&mut Request<Bytes>),
        compression: Option<CompressionEncoding>,
    ) -> Result<Bytes, Status> {
        let address = format!("http://127.0.0.1:{}", self.grpc);
        let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
        call(channel, path, message, change, compression).await
    }

    /// Sends a body with HTTP. Gives the status and the body of the answer.
    pub async fn post(&self, path: &str, body: Vec<u8>) -> (u16, Bytes) {
        self.post_with(path, body, &[("content-type", "application/x-protobuf")]).await
    }

    pub async fn post_with(&self, path: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> (u16, Bytes) {
        let response = self.respond(path, body, headers).await;
        (response.status().as_u16(), response.bytes().await.unwrap())
    }

    pub async fn respond(&self, path: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> reqwest::Response {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(self.url(path)).body(body);
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
            .send()
            .await
            .unwrap()
    }

    pub fn metric(&self, line: &str) -> u64 {
        let text = self.context.telemetry.encode();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Stops the receiver and waits for its end.
    pub async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.expect("it does not end").unwrap().unwrap();
    }
}

pub async fn call(
    channel: Channel,
    path: &'static str,
    message: Vec<u8>,
    change: impl FnOnce(&mut Request<Bytes>),
    compression: Option<CompressionEncoding>,
) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    if let Some(compression) = compression {
        client = client.send_compressed(compression);
    }
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(Bytes::from(message));
    change(&mut request);
    let response = client.unary(request, path.parse().unwrap(), Raw).await?;
    Ok(response.into_inner())
}

/// Messages as bytes.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A request with this many spans, of which each name has this length and a number.
pub fn spans(count: usize, length: usize) -> Vec<u8> {
    let span = |at: usize| Span { name: format!("{at}{}", "x".repeat(length)), ..Span::default() };
    let scope = ScopeSpans { spans: (0..count).map(span).collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec()
}

pub fn logs() -> Vec<u8> {
    let record = LogRecord { severity_text: "INFO".into(), ..LogRecord::default() };
    let scope = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![resource] }.encode_to_vec()
}

pub fn metrics() -> Vec<u8> {
    let gauge = Gauge { data_points: vec![NumberDataPoint::default()] };
    let data = Some(metric::Data::Gauge(gauge));
    let metric = Metric { name: "cpu".into(), data, ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }.encode_to_vec()
}
