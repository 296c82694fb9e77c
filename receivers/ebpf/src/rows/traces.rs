//! One row for each exchange.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampNanosecondArray};
use arrow::error::ArrowError;
use weir_pdata::{Projection, Signal, schema};

use super::attributes::Value;
use super::table::{Table, names};
use crate::http::exchange::{Exchange, RESET, Rpc, Side};
use crate::http::template;
use crate::kernel::event::Ends;
use crate::process::Identity;

/// An exchange with all that its row has.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) exchange: Exchange,
    pub(crate) process: Arc<Identity>,
    pub(crate) ends: Ends,
    /// The template of its path.
    pub(crate) route: String,
    pub(crate) span_id: u64,
    /// Of so many exchanges one has a row.
    pub(crate) one_in: u32,
}

/// Rows of exchanges.
pub(crate) struct SpanRows {
    table: Table,
    ahead: i64,
    full_paths: bool,
    time: Vec<i64>,
    end_time: Vec<i64>,
    trace_id: Vec<Option<Box<str>>>,
    span_id: Vec<String>,
    parent: Vec<Option<Box<str>>>,
    operation: Vec<String>,
    kind: Vec<i32>,
    status: Vec<i32>,
    message: Vec<Option<&'static str>>,
    peer: Vec<String>,
    component: Vec<i32>,
}

impl SpanRows {
    /// `ahead`: how much the machine's clock is ahead of the kernel's, in nanoseconds.
    pub(crate) fn new(projection: Arc<Projection>, ahead: i64, full_paths: bool) -> SpanRows {
        SpanRows {
            table: Table::new(Signal::Traces, projection),
            ahead,
            full_paths,
            time: Vec::new(),
            end_time: Vec::new(),
            trace_id: Vec::new(),
            span_id: Vec::new(),
            parent: Vec::new(),
            operation: Vec::new(),
            kind: Vec::new(),
            status: Vec::new(),
            message: Vec::new(),
            peer: Vec::new(),
            component: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, span: Span) {
        let Span { exchange, process, ends, route, span_id, one_in } = span;
        let wall = |kernel: u64| i64::try_from(kernel).unwrap_or(i64::MAX).saturating_add(self.ahead);
        let is_server = exchange.side == Side::Server;
        self.time.push(wall(exchange.began));
        self.end_time.push(wall(exchange.ended.max(exchange.began)));
        self.span_id.push(format!("{span_id:016x}"));
        self.operation.push(match exchange.rpc {
            Some(_) => route.clone(),
            None => format!("{} {route}", exchange.method),
        });
        self.component.push(i32::from(exchange.rpc.is_some()));
        self.kind.push(i32::from(!is_server));
        // As OpenTelemetry has it: a server's mistake, or anything that a client did not want.
        let failed = exchange.error.is_some()
            || exchange.status.is_none_or(|status| status >= if is_server { 500 } else { 400 })
            || exchange.rpc.and_then(|rpc| rpc.status).is_some_and(|status| is_failure(status, is_server));
        self.status.push(i32::from(failed));
        self.message.push(exchange.error.map(|error| match error {
            RESET => "the stream was given up",
            _ => "the connection was closed before the response",
        }));
        self.peer.push(if is_server { ends.remote.ip().to_string() } else { ends.remote.to_string() });

        let table = &mut self.table;
        let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        table.attribute("http.request.method", Value::Text(exchange.method));
        table.attribute("url.template", Value::Text(&route));
        if self.full_paths {
            table.attribute("url.path", Value::Text(template::path(&exchange.target)));
        }
        if let Some(status) = exchange.status {
            table.attribute("http.response.status_code", Value::Int(status.into()));
        }
        if let Some(error) = exchange.error {
            table.attribute("error.type", Value::Text(error));
        }
        if let Some(Rpc { status }) = exchange.rpc {
            table.attribute("rpc.system", Value::Text("grpc"));
            if let Some(status) = status {
                table.attribute("rpc.grpc.status_code", Value::Int(status.into()));
            }
        }
        table.attribute("http.request.size", number(exchange.request_bytes));
        table.attribute("http.response.size", number(exchange.response_bytes));
        if let Some(answered) = exchange.answered {
            table.attribute("weir.first_byte_ns", number(answered.saturating_sub(exchange.began)));
        }
        if let Some(host) = &exchange.host {
            table.attribute(
                "server.address",
                Value::Text(host.rsplit_once(':').map_or(host, |(name, _)| name)),
            );
        }
        let (server, client) = if is_server { (ends.local, ends.remote) } else { (ends.remote, ends.local) };
        table.attribute("server.port", Value::Int(server.port().into()));
        table.attribute("client.port", Value::Int(client.port().into()));
        for (name, value) in &exchange.allowed {
            table.attribute(&format!("http.request.header.{name}"), Value::Text(value));
        }
        if exchange.partial {
            table.attribute("weir.partial", Value::Bool(true));
        }
        if one_in > 1 {
            table.attribute("weir.one_in", Value::Int(one_in.into()));
        }
        if let Some(context) = &exchange.context {
            if let Some((service, instance)) = &context.caller {
                table.attribute("caller.service", Value::Text(service));
                table.attribute("caller.service_instance", Value::Text(instance));
            }
            if let Some(other) = &context.other_trace_id {
                table.attribute("traceparent.trace_id", Value::Text(other));
            }
        }
        let (trace_id, parent) =
            exchange.context.map_or((None, None), |context| (Some(context.trace_id), context.parent_span_id));
        self.trace_id.push(trace_id);
        self.parent.push(parent);
        self.table.end(&process);
    }

    pub(crate) fn finish(self) -> Result<RecordBatch, ArrowError> {
        let texts = |texts: &[String]| Arc::new(StringViewArray::from_iter_values(texts)) as ArrayRef;
        let some = |texts: &[Option<Box<str>>]| {
            Arc::new(StringViewArray::from_iter(texts.iter().map(Option::as_deref))) as ArrayRef
        };
        let times = |times: Vec<i64>| {
            Arc::new(TimestampNanosecondArray::from(times).with_data_type(schema::timestamp())) as ArrayRef
        };
        let durations = self.time.iter().zip(&self.end_time).map(|(begin, end)| end - begin);
        let columns = HashMap::from([
            ("duration_ns", Arc::new(Int64Array::from_iter_values(durations)) as ArrayRef),
            ("time", times(self.time)),
            ("end_time", times(self.end_time)),
            ("trace_id", some(&self.trace_id)),
            ("span_id", texts(&self.span_id)),
            ("parent_span_id", some(&self.parent)),
            ("operation", texts(&self.operation)),
            ("kind", names(&["server", "client"], self.kind)?),
            ("status", names(&["ok", "error"], self.status)?),
            ("status_message", Arc::new(StringViewArray::from_iter(self.message.iter()))),
            ("peer", texts(&self.peer)),
            ("component", names(&["HTTP", "GRPC"], self.component.clone())?),
            ("layer", names(&["http", "rpc"], self.component)?),
        ]);
        self.table.finish(columns)
    }
}

/// Whether a status of gRPC is a failure: for a client any but 0, for a server those that are its mistakes.
fn is_failure(status: u32, is_server: bool) -> bool {
    if is_server { matches!(status, 2 | 4 | 12 | 13 | 14 | 15) } else { status != 0 }
}
