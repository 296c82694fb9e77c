//! The unit that flows down a lane.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;

use crate::{Ack, Fence, ItemCount, Signal, memory};

/// Some events of one signal, with where they came from and who waits for them.
///
/// Cloning is cheap: bytes and columns are shared.
#[derive(Clone, Debug)]
pub struct EventBatch {
    /// The kind of row.
    pub signal: Signal,
    /// The events.
    pub payload: Payload,
    /// Where the events came from.
    pub origin: Origin,
    /// The inputs that these events came from.
    pub ack: Ack,
    /// Its part of the memory that events may take.
    pub permit: MemoryPermit,
}

/// Something that is given back when the last clone of a batch is gone.
#[derive(Clone, Default)]
pub struct MemoryPermit(Option<Arc<dyn Any + Send + Sync>>);

impl MemoryPermit {
    /// Keeps this as long as a clone of the permit.
    #[must_use]
    pub fn new(kept: impl Send + Sync + 'static) -> MemoryPermit {
        MemoryPermit(Some(Arc::new(kept)))
    }
}

impl std::fmt::Debug for MemoryPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "a permit" } else { "none" })
    }
}

/// The events of a batch: as received, or as columns.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Wire bytes, not yet decoded.
    Encoded(Encoded),
    /// Arrow columns named as in [`schema`](crate::schema).
    Columns(RecordBatch),
}

impl Payload {
    /// Rows when decoded, records when not.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Payload::Columns(columns) => columns.num_rows(),
            Payload::Encoded(encoded) => encoded.records.len(),
        }
    }

    /// Whether there is no row or record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that the events keep alive, in bytes: each buffer once, however many columns share it.
    #[must_use]
    pub fn memory(&self) -> usize {
        match self {
            Payload::Columns(columns) => memory::of(columns),
            Payload::Encoded(encoded) => encoded.arena.len(),
        }
    }
}

/// Wire bytes of several records, laid end to end in one buffer.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// How each record is encoded.
    pub format: Format,
    /// The arena: decoded strings are views into it.
    pub arena: Buffer,
    /// The bytes of each record within `arena`, in order.
    pub records: Arc<[Range<u32>]>,
    /// The position of each record in its lane, when it is known: [`schema::OFFSET`](crate::schema::OFFSET).
    pub positions: Option<Arc<[i64]>>,
    /// When each record was appended to its lane, in milliseconds since 1970, when the lane says so:
    /// [`schema::ARRIVAL`](crate::schema::ARRIVAL).
    pub arrivals: Option<Arc<[i64]>>,
    /// When each record was written or received, in milliseconds since 1970, where it is known: the time of
    /// events that have none of their own.
    pub written: Option<Arc<[i64]>>,
    /// How many items they have.
    pub items: ItemCount,
}

/// An encoding of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One SkyWalking `SegmentObject` protobuf a record.
    SkyWalkingSegment,
    /// One OTLP `ExportTraceServiceRequest` protobuf a record; `TracesData` has the same bytes.
    OtlpTraces,
    /// One OTLP `ExportLogsServiceRequest` protobuf a record; `LogsData` has the same bytes.
    OtlpLogs,
    /// One OTLP `ExportMetricsServiceRequest` protobuf a record; `MetricsData` has the same bytes.
    OtlpMetrics,
    /// One SkyWalking `JVMMetricCollection` protobuf a record.
    SkyWalkingJvm,
    /// One SkyWalking `MeterDataCollection` protobuf a record, or a bare `MeterData`.
    SkyWalkingMeters,
    /// One SkyWalking `LogData` protobuf a record.
    SkyWalkingLog,
    /// One SkyWalking `LogData` a record, or an array of them, in protobuf's JSON form.
    SkyWalkingLogJson,
    /// One SkyWalking `InstanceProperties` protobuf a record.
    SkyWalkingInstance,
    /// One SkyWalking `InstancePingPkg` protobuf a record.
    SkyWalkingPing,
    /// One SkyWalking `ThreadSnapshot` protobuf a record.
    SkyWalkingSnapshot,
    /// One SkyWalking `SpanAttachedEvent` protobuf a record.
    SkyWalkingAttachedEvent,
    /// One SkyWalking `Event` protobuf a record.
    SkyWalkingEvent,
}

impl Format {
    /// The signal that records of this format decode to.
    #[must_use]
    pub const fn signal(self) -> Signal {
        match self {
            Format::SkyWalkingSegment | Format::OtlpTraces => Signal::Traces,
            Format::SkyWalkingJvm | Format::SkyWalkingMeters | Format::OtlpMetrics => Signal::Metrics,
            Format::OtlpLogs
            | Format::SkyWalkingLog
            | Format::SkyWalkingLogJson
            | Format::SkyWalkingInstance
            | Format::SkyWalkingPing
            | Format::SkyWalkingSnapshot
            | Format::SkyWalkingAttachedEvent
            | Format::SkyWalkingEvent => Signal::Logs,
        }
    }

    /// The OTLP request that rows of this signal are. `None`: windows and alarms have none.
    #[must_use]
    pub const fn otlp(signal: Signal) -> Option<Format> {
        match signal {
            Signal::Traces => Some(Format::OtlpTraces),
            Signal::Logs => Some(Format::OtlpLogs),
            Signal::Metrics => Some(Format::OtlpMetrics),
            Signal::Windows | Signal::Alarms => None,
        }
    }

    /// Whether events of this format may have no time, so that [`Encoded::written`] is of use.
    #[must_use]
    pub const fn needs_times(self) -> bool {
        matches!(
            self,
            Format::SkyWalkingMeters
                | Format::SkyWalkingLog
                | Format::SkyWalkingLogJson
                | Format::SkyWalkingInstance
                | Format::SkyWalkingPing
        )
    }
}

/// Where the events of a batch came from: a lane, and its positions there.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The lane, for example `skywalking_kafka/skywalking-segments/3`. Of derived batches: the component that
    /// made them.
    pub lane: Arc<str>,
    /// Positions in the lane (Kafka offsets, line numbers), end exclusive. Empty for derived batches.
    pub positions: Range<i64>,
    /// The identity of a derived batch, when it is the same whenever it is derived again (operator, window,
    /// firing): a destination that has seen it may leave it out.
    pub identity: Option<Arc<str>>,
    /// The identity of its lane, for every owner the same, and the way that it takes:
    /// `cluster/group/topic/partition/pipeline/exporter`. `None` when its positions are not kept.
    /// [`schema::SOURCE`](crate::schema::SOURCE).
    pub source: Option<Arc<str>>,
    /// It may have been delivered before, longer ago than a destination remembers what it has seen: by an
    /// earlier owner of the lane, or by an attempt whose outcome is unknown.
    pub repeated: bool,
    /// After this moment its lane may have another owner, who delivers it, too: no part of it may begin to
    /// leave then. `None`: the lane has one owner only, or the batch has a [fence](Self::fence).
    pub owned_until: Option<Instant>,
    /// Of derived batches: closed when one of the inputs has another owner. Then it must not begin to leave.
    pub fence: Option<Fence>,
}

impl Origin {
    /// Events of a lane.
    #[must_use]
    pub fn lane(lane: Arc<str>, positions: Range<i64>) -> Origin {
        Origin { lane, positions, ..Origin::default() }
    }

    /// Events that a component derived.
    #[must_use]
    pub fn derived(component: Arc<str>, identity: Option<Arc<str>>) -> Origin {
        Origin { lane: component, identity, ..Origin::default() }
    }

    /// The same, behind this fence.
    #[must_use]
    pub fn behind(self, fence: Option<Fence>) -> Origin {
        Origin { fence, ..self }
    }

    /// Whether the batch must not be exported any more.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.fence.as_ref().is_some_and(Fence::is_closed)
    }
}

impl EventBatch {
    /// A batch of columns.
    #[must_use]
    pub fn columns(signal: Signal, columns: RecordBatch, origin: Origin, ack: Ack) -> EventBatch {
        EventBatch {
            signal,
            payload: Payload::Columns(columns),
            origin,
            ack,
            permit: MemoryPermit::default(),
        }
    }

    /// The columns, when the batch is decoded.
    #[must_use]
    pub fn as_columns(&self) -> Option<&RecordBatch> {
        match &self.payload {
            Payload::Columns(columns) => Some(columns),
            Payload::Encoded(_) => None,
        }
    }

    /// The same events with other columns: same signal, origin, ack and memory permit.
    #[must_use]
    pub fn with_columns(self, columns: RecordBatch) -> EventBatch {
        EventBatch { payload: Payload::Columns(columns), ..self }
    }

    /// Rows when decoded, records when not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether there is no row or record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that the batch keeps alive, in bytes: each buffer once, however many columns share it. Buffers
    /// that several batches share are counted in each.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.payload.memory()
    }
}
