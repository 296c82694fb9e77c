//! The shape of generated segments: a request to a Java service that talks to MySQL, Redis, Kafka and
//! another service.
//!
//! Operation names, components, layers and tags are those of SkyWalking's Java agent. Span 0 is the entry
//! span; the others are its children, one after the other. Spans are encoded in the order in which they end:
//! the entry span last. A failing segment is one call that timed out: its last exit span and its entry span
//! are errors, the status is 500, and the exit span has a log with a stack trace of about 1.5 KB, on top of
//! the size asked for.

use prost::Message;
use weir_proto::skywalking::{
    KeyStringValuePair, Log, RefType, SegmentObject, SegmentReference, SpanLayer, SpanObject, SpanType,
};

use crate::random::Draws;
use crate::template::{CUSTOMER, CUSTOMER_DIGITS, NUMBER_DIGITS, TIME, WHOLE};

/// The form of all segments.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Spans of a segment, at least 1.
    pub spans: usize,
    /// Tags of a segment.
    pub tags: usize,
    /// Size of a segment that does not fail.
    pub bytes: usize,
    /// Decides ids and values.
    pub seed: u64,
    /// The services, in the order in which they call each other.
    pub services: Vec<String>,
    /// The operations of each service.
    pub operations: Vec<Vec<String>>,
}

/// Which segment of a shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Index of its service.
    pub service: usize,
    /// Index of its operation.
    pub operation: usize,
    /// Which variant of the operation.
    pub variant: usize,
    /// Whether it fails.
    pub error: bool,
}

/// Instances of each service.
const INSTANCES: usize = 2;
/// The children of an entry span, over and over.
const CHILDREN: [Child; 15] = {
    use Child::{Http, Kafka, MyBatis, Redis, Sql};
    [Sql, Redis, Sql, Sql, Redis, Sql, MyBatis, Sql, Kafka, Sql, Redis, Sql, Http, Redis, Sql]
};
/// Tags for those who want more than the spans have by themselves. They are the entry span's.
const BUSINESS: [(&str, &str); 16] = [
    (CUSTOMER, "00000000"),
    ("order.id", "SO-20260115-000147"),
    ("channel", "mobile"),
    ("region", "cn-north"),
    ("tenant", "retail"),
    ("user.level", "gold"),
    ("campaign", "spring"),
    ("device.type", "android"),
    ("app.version", "8.14.2"),
    ("currency", "CNY"),
    ("amount", "129.90"),
    ("coupon", "none"),
    ("store.id", "0472"),
    ("warehouse", "BJ-2"),
    ("carrier", "express"),
    ("payment.method", "card"),
];
const SERVICES: [&str; 8] =
    ["gateway", "order", "payment", "inventory", "user", "shipping", "pricing", "notification"];
const ACTIONS: [(&str, &str); 8] = [
    ("POST", "create"),
    ("GET", "detail"),
    ("GET", "list"),
    ("PUT", "update"),
    ("DELETE", "cancel"),
    ("POST", "search"),
    ("POST", "confirm"),
    ("GET", "status"),
];
const COLUMNS: &str = "id, order_no, status, amount, created_at, updated_at, customer_id, store_id, ";
/// Tags whose value is made longer to reach the size, the best first.
const STRETCHED: [&str; 4] = ["db.statement", "http.params", "url", "db.instance"];

#[derive(Clone, Copy)]
enum Child {
    Sql,
    Redis,
    Kafka,
    Http,
    MyBatis,
}

type Tags = Vec<(String, String)>;

/// The name of the service with this index.
pub(crate) fn service_name(index: usize) -> String {
    SERVICES.get(index).map_or_else(|| format!("service-{}", index + 1), |name| (*name).to_owned())
}

/// The name of an operation: unique over services.
pub(crate) fn operation_name(service: &str, index: usize) -> String {
    match ACTIONS.get(index) {
        Some((method, action)) => format!("{method}:/{service}/{action}"),
        None => format!("POST:/{service}/action-{}", index + 1),
    }
}

impl Shape {
    /// An encoded segment: its times are [`TIME`] plus a fraction of [`WHOLE`], its numbers are zeros. As
    /// near to the size as making the statements (else another text of a tag) longer can bring it.
    pub(crate) fn encode(&self, kind: Kind, start_ms: i64) -> Vec<u8> {
        let sound = Kind { error: false, ..kind };
        let mut stretch = 0usize;
        // A longer text can make lengths around it longer by a byte each, so a few rounds are needed.
        for _ in 0..6 {
            let size = self.segment(sound, start_ms, stretch).encoded_len();
            let next = (stretch + self.bytes).saturating_sub(size);
            if next == stretch {
                break;
            }
            stretch = next;
        }
        self.segment(kind, start_ms, stretch).encode_to_vec()
    }

    fn segment(&self, kind: Kind, start_ms: i64, stretch: usize) -> SegmentObject {
        let Kind { service, operation, variant, error } = kind;
        let place = ((service * 10_007 + operation) * 101 + variant) as u64;
        let mut draws = Draws::new(self.seed ^ 0x7365_676d, place);
        let name = self.service(service);
        let entry = self.operation(service, operation);
        let mut spans = vec![entry_span(entry, name, &mut draws)];
        for at in 1..self.spans {
            let child = CHILDREN[(at - 1) % CHILDREN.len()];
            spans.push(child_span(child, name, at, self.spans, variant, &mut draws));
        }
        let mut tags: Vec<Tags> = spans.iter_mut().map(|(_, tags)| std::mem::take(tags)).collect();
        fit_tags(&mut tags, self.tags);
        lengthen(&mut tags, stretch);
        let mut spans: Vec<SpanObject> = spans.into_iter().map(|(span, _)| span).collect();
        if error {
            fail(&mut spans, &mut tags, name);
        }
        for (span, tags) in spans.iter_mut().zip(tags) {
            span.tags = tags.into_iter().map(|(key, value)| pair(key, value)).collect();
        }
        let trace_id = self.id(0, variant, start_ms, 10);
        if service > 0 {
            spans[0].refs.push(SegmentReference {
                ref_type: RefType::CrossProcess as i32,
                trace_id: trace_id.clone(),
                parent_trace_segment_id: self.id(service - 1, variant, start_ms, 40),
                parent_span_id: i32::try_from(self.spans / 2).unwrap_or_default(),
                parent_service: self.service(service - 1).to_owned(),
                parent_service_instance: self.instance(service - 1, variant, start_ms),
                parent_endpoint: self.operation(service - 1, operation).to_owned(),
                network_address_used_at_peer: format!("{name}:8080"),
            });
        }
        spans.rotate_left(1);
        SegmentObject {
            trace_id,
            trace_segment_id: self.id(service, variant, start_ms, 40),
            spans,
            service: name.to_owned(),
            service_instance: self.instance(service, variant, start_ms),
            is_size_limited: false,
        }
    }

    fn service(&self, index: usize) -> &str {
        self.services.get(index).map_or("service", |name| name)
    }

    fn operation(&self, service: usize, operation: usize) -> &str {
        let of = self.operations.get(service).and_then(|names| names.get(operation));
        of.map_or("POST:/operation", |name| name)
    }

    /// An id as the Java agent makes them: process, thread, number. The process is another one in every run.
    fn id(&self, service: usize, variant: usize, start_ms: i64, thread: usize) -> String {
        let process = self.process(service, variant, start_ms);
        format!("{process}.{}.{:0NUMBER_DIGITS$}", thread + variant, 0)
    }

    fn instance(&self, service: usize, variant: usize, start_ms: i64) -> String {
        let host = variant % INSTANCES;
        format!("{}@10.20.{}.{}", self.process(service, variant, start_ms), service % 250 + 1, host + 11)
    }

    fn process(&self, service: usize, variant: usize, start_ms: i64) -> String {
        let place = (service * INSTANCES + variant % INSTANCES) as u64;
        let mut draws = Draws::new(self.seed ^ start_ms.cast_unsigned(), place);
        format!("{:016x}{:016x}", draws.bits(), draws.bits())
    }
}

fn entry_span(operation: &str, service: &str, draws: &mut Draws) -> (SpanObject, Tags) {
    let (method, path) = operation
        .split_once(':')
        .filter(|(method, _)| matches!(*method, "GET" | "POST" | "PUT" | "DELETE" | "PATCH" | "HEAD"))
        .unwrap_or(("POST", operation));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let span = SpanObject {
        span_id: 0,
        parent_span_id: -1,
        start_time: TIME,
        end_time: TIME + WHOLE,
        operation_name: operation.to_owned(),
        span_type: SpanType::Entry as i32,
        span_layer: SpanLayer::Http as i32,
        component_id: 1,
        ..SpanObject::default()
    };
    let tags = [
        ("url", format!("http://{service}:8080{path}")),
        ("http.method", method.to_owned()),
        ("http.status_code", "200".to_owned()),
        ("http.params", format!("page={}&size=20", 1 + draws.below(9))),
        ("http.headers", "accept=application/json".to_owned()),
    ];
    (span, owned(tags))
}

fn child_span(
    child: Child,
    service: &str,
    at: usize,
    spans: usize,
    variant: usize,
    draws: &mut Draws,
) -> (SpanObject, Tags) {
    let number = draws.below(100_000);
    let text = |text: &str| text.to_owned();
    let (operation, peer, span_type, layer, component, tags) = match child {
        Child::Sql => (
            text("Mysql/JDBC/PreparedStatement/executeQuery"),
            format!("mysql-{service}:3306"),
            SpanType::Exit,
            SpanLayer::Database,
            33,
            owned([
                ("db.type", text("Mysql")),
                ("db.instance", format!("{service}_db")),
                ("db.statement", format!("SELECT id FROM t_{service}_{} WHERE id = ?", at % 7)),
                ("db.sql.parameters", format!("[{number}]")),
            ]),
        ),
        Child::Redis => (
            text("Jedis/get"),
            format!("redis-{service}:6379"),
            SpanType::Exit,
            SpanLayer::Cache,
            30,
            owned([
                ("cache.type", text("Redis")),
                ("cache.key", format!("{service}:session:{number}")),
                ("cache.cmd", text("get")),
                ("cache.op", text("read")),
            ]),
        ),
        Child::Kafka => (
            format!("Kafka/{service}-events/Producer"),
            text("kafka-1:9092;kafka-2:9092;kafka-3:9092"),
            SpanType::Exit,
            SpanLayer::Mq,
            40,
            owned([
                ("mq.broker", text("kafka-1:9092;kafka-2:9092;kafka-3:9092")),
                ("mq.topic", format!("{service}-events")),
            ]),
        ),
        Child::Http => (
            format!("/internal/{service}/next"),
            format!("next-{}:8080", variant % INSTANCES),
            SpanType::Exit,
            SpanLayer::Http,
            2,
            owned([
                ("http.method", text("POST")),
                ("url", format!("http://next-{}:8080/internal/{service}/next", variant % INSTANCES)),
                ("http.status_code", text("200")),
            ]),
        ),
        Child::MyBatis => (
            text("MyBatis/selectList"),
            String::new(),
            SpanType::Local,
            SpanLayer::Unknown,
            109,
            owned([("mybatis.mapper", format!("com.example.{service}.mapper.Mapper.selectList"))]),
        ),
    };
    let slot = WHOLE / i64::try_from(spans + 1).unwrap_or(i64::MAX);
    let start = TIME + slot * i64::try_from(at).unwrap_or_default();
    let span = SpanObject {
        span_id: i32::try_from(at).unwrap_or(i32::MAX),
        parent_span_id: 0,
        start_time: start,
        end_time: start + slot * 3 / 4,
        operation_name: operation,
        peer,
        span_type: span_type as i32,
        span_layer: layer as i32,
        component_id: component,
        ..SpanObject::default()
    };
    (span, tags)
}

/// Makes the tags exactly `wanted`: takes away from the last span on, or gives the entry span more.
fn fit_tags(tags: &mut [Tags], wanted: usize) {
    let mut count: usize = tags.iter().map(Vec::len).sum();
    for of_span in tags.iter_mut().rev() {
        let kept = of_span.len().saturating_sub(count.saturating_sub(wanted));
        count -= of_span.len() - kept;
        of_span.truncate(kept);
    }
    if let Some(entry) = tags.first_mut() {
        entry.extend((0..wanted.saturating_sub(count)).map(|at| match BUSINESS.get(at) {
            Some((key, value)) => ((*key).to_owned(), (*value).to_owned()),
            None => (format!("biz.attribute_{at}"), format!("value-{at}")),
        }));
    }
}

/// Spreads `bytes` more bytes over the values that may be made longer.
fn lengthen(tags: &mut [Tags], bytes: usize) {
    let Some(key) = STRETCHED.iter().find(|key| tags.iter().flatten().any(|(of, _)| of == *key)) else {
        return;
    };
    let values: Vec<&mut String> =
        tags.iter_mut().flatten().filter(|(of, _)| of == key).map(|(_, value)| value).collect();
    let count = values.len().max(1);
    for (at, value) in values.into_iter().enumerate() {
        let more = bytes / count + usize::from(at < bytes % count);
        let mut filler: String = COLUMNS.chars().cycle().take(more).collect();
        if more > 2 {
            filler.replace_range(more - 2.., ", ");
        }
        match value.strip_prefix("SELECT ") {
            Some(rest) => *value = format!("SELECT {filler}{rest}"),
            None => value.push_str(&filler.replace([' ', ','], "_")),
        }
    }
}

/// Turns the segment into one whose last call timed out.
fn fail(spans: &mut [SpanObject], tags: &mut [Tags], service: &str) {
    let last_exit = spans.iter().rposition(|span| span.span_type == SpanType::Exit as i32).unwrap_or(0);
    for at in [0, last_exit] {
        let (Some(span), Some(tags)) = (spans.get_mut(at), tags.get_mut(at)) else { continue };
        span.is_error = true;
        for (_, value) in tags.iter_mut().filter(|(key, _)| key == "http.status_code") {
            "500".clone_into(value);
        }
    }
    let Some(span) = spans.get_mut(last_exit) else { return };
    let mut stack =
        "java.sql.SQLTimeoutException: Statement cancelled due to timeout or client request\n".to_owned();
    for frame in 0..20 {
        let line = 40 + frame * 7;
        stack.push_str(&format!(
            "\tat com.example.{service}.layer{frame}.Handler.invoke(Handler.java:{line})\n"
        ));
    }
    let data = [
        ("event", "error".to_owned()),
        ("error.kind", "java.sql.SQLTimeoutException".to_owned()),
        ("message", "Statement cancelled due to timeout or client request".to_owned()),
        ("stack", stack),
    ];
    let data = data.into_iter().map(|(key, value)| pair(key.to_owned(), value)).collect();
    span.logs.push(Log { time: span.end_time, data });
}

fn owned<const N: usize>(tags: [(&str, String); N]) -> Tags {
    tags.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn pair(key: String, value: String) -> KeyStringValuePair {
    KeyStringValuePair { key, value }
}

// The value that a template writes over has as many digits as it expects.
const _: () = assert!(BUSINESS[0].1.len() == CUSTOMER_DIGITS);
