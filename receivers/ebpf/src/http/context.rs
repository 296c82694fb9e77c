//! The context of a trace as headers carry it: `sw8`, `traceparent`, `b3`. It is read, never written.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// The span that a request belongs to, in the form of the agent that wrote the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace_id: Box<str>,
    /// The span that made the request: `{segment}.{span}` of SkyWalking, else hexadecimal.
    pub(crate) parent_span_id: Option<Box<str>>,
    /// Of SkyWalking: the service and the instance that made the request.
    pub(crate) caller: Option<(Box<str>, Box<str>)>,
    /// The trace of `traceparent`, where `sw8` was there too.
    pub(crate) other_trace_id: Option<Box<str>>,
}

/// The headers found so far. `sw8` counts before `traceparent`, and that before `b3`.
#[derive(Debug, Default)]
pub(crate) struct Found {
    sw8: Option<TraceContext>,
    traceparent: Option<TraceContext>,
    b3: Option<TraceContext>,
    b3_trace: Option<Box<str>>,
    b3_span: Option<Box<str>>,
}

impl Found {
    /// Takes a header, if it is one of these.
    pub(crate) fn header(&mut self, name: &[u8], value: &[u8]) {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            3 if is("sw8") => self.sw8 = sw8(value).or(self.sw8.take()),
            2 if is("b3") => self.b3 = b3(value).or(self.b3.take()),
            11 if is("traceparent") => self.traceparent = traceparent(value).or(self.traceparent.take()),
            11 if is("x-b3-spanid") => self.b3_span = hex(value, &[16]),
            12 if is("x-b3-traceid") => self.b3_trace = hex(value, &[16, 32]),
            _ => {}
        }
    }

    /// The context that counts.
    pub(crate) fn finish(self) -> Option<TraceContext> {
        let Found { sw8, traceparent, b3, b3_trace, b3_span } = self;
        if let Some(sw8) = sw8 {
            return Some(TraceContext { other_trace_id: traceparent.map(|other| other.trace_id), ..sw8 });
        }
        let headers = b3_trace.map(|trace_id| of_ids(trace_id, b3_span));
        traceparent.or(b3).or(headers)
    }
}

fn of_ids(trace_id: Box<str>, parent_span_id: Option<Box<str>>) -> TraceContext {
    TraceContext { trace_id, parent_span_id, caller: None, other_trace_id: None }
}

/// `1-TRACE-SEGMENT-SPAN-SERVICE-INSTANCE-ENDPOINT-PEER`, texts in base64.
fn sw8(value: &[u8]) -> Option<TraceContext> {
    let mut fields = [&b""[..]; 8];
    let mut count = 0;
    for field in value.split(|byte| *byte == b'-') {
        *fields.get_mut(count)? = field;
        count += 1;
    }
    let [sampled, trace, segment, span, service, instance, ..] = fields;
    if count != 8 || !matches!(sampled, b"0" | b"1") {
        return None;
    }
    let text = |field: &[u8]| {
        let decoded = STANDARD.decode(field).or_else(|_| STANDARD_NO_PAD.decode(field)).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        (!text.is_empty() && text.len() <= 256).then(|| text.into_boxed_str())
    };
    let span: i32 = std::str::from_utf8(span).ok()?.parse().ok()?;
    let segment = text(segment)?;
    let mut parent = String::with_capacity(segment.len() + 4);
    // Writing to a String does not fail.
    let _ = write!(parent, "{segment}.{span}");
    Some(TraceContext {
        trace_id: text(trace)?,
        parent_span_id: Some(parent.into_boxed_str()),
        caller: Some((text(service)?, text(instance)?)),
        other_trace_id: None,
    })
}

/// `VERSION-TRACE-SPAN-FLAGS` of the W3C.
fn traceparent(value: &[u8]) -> Option<TraceContext> {
    let text = std::str::from_utf8(value).ok()?;
    let mut fields = text.split('-');
    let (version, trace, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_version = version.len() == 2 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    // Later versions may have more fields.
    let ends = version != "00" || fields.next().is_none();
    if !is_version || version == "ff" || !ends || flags.len() != 2 {
        return None;
    }
    Some(of_ids(hex(trace.as_bytes(), &[32])?, Some(hex(span.as_bytes(), &[16])?)))
}

/// `TRACE-SPAN-SAMPLED-PARENT` of Zipkin; the last two may be missing.
fn b3(value: &[u8]) -> Option<TraceContext> {
    let text = std::str::from_utf8(value).ok()?;
    let mut fields = text.split('-');
    Some(of_ids(hex(fields.next()?.as_bytes(), &[16, 32])?, Some(hex(fields.next()?.as_bytes(), &[16])?)))
}

/// An id in hexadecimal, not all zero, in lower case.
fn hex(value: &[u8], lengths: &[usize]) -> Option<Box<str>> {
    let fits = lengths.contains(&value.len()) && value.iter().all(u8::is_ascii_hexdigit);
    if !fits || value.iter().all(|byte| *byte == b'0') {
        return None;
    }
    Some(String::from_utf8(value.to_ascii_lowercase()).ok()?.into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in SkyWalking's description of the header.
    const SW8: &str = "1-TRACEID-SEGMENT-3-PARENT_SERVICE-PARENT_INSTANCE-PARENT_ENDPOINT-IPPORT";

    fn example() -> String {
        let encode = |text: &str| STANDARD.encode(text);
        SW8.replace("TRACEID", &encode("a.b-c.1"))
            .replace("SEGMENT", &encode("5b7b.47.167"))
            .replace("PARENT_SERVICE", &encode("shop"))
            .replace("PARENT_INSTANCE", &encode("shop-1"))
            .replace("PARENT_ENDPOINT", &encode("/pay"))
            .replace("IPPORT", &encode("127.0.0.1:80"))
    }

    #[test]
    fn sw8_names_the_span_that_made_the_request() {
        let context = sw8(example().as_bytes()).unwrap();
        assert_eq!(
            (&*context.trace_id, context.parent_span_id.as_deref()),
            ("a.b-c.1", Some("5b7b.47.167.3"))
        );
        assert_eq!(context.caller, Some(("shop".into(), "shop-1".into())));
        for wrong in ["", "1-a-b", "2-YQ==-YQ==-3-YQ==-YQ==-YQ==-YQ==", "1-!-YQ==-3-YQ==-YQ==-YQ==-YQ=="] {
            assert_eq!(sw8(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn traceparent_is_that_of_the_w3c() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let context = traceparent(format!("00-{trace}-{span}-01").as_bytes()).unwrap();
        assert_eq!((&*context.trace_id, context.parent_span_id.as_deref()), (trace, Some(span)));
        for wrong in [
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("ff-{trace}-{span}-01"),
            format!("00-{trace}-{span}-01-x"),
            format!("00-{trace}-{span}"),
            format!("00-{}-{span}-01", &trace[1..]),
        ] {
            assert_eq!(traceparent(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(traceparent(format!("01-{trace}-{span}-01-later").as_bytes()).is_some(), "later versions");
    }

    #[test]
    fn b3_has_two_forms() {
        let (trace, span) = ("80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1");
        let one = b3(format!("{trace}-{span}-1-05e3ac9a4f6e3b90").as_bytes()).unwrap();
        let mut found = Found::default();
        found.header(b"X-B3-TraceId", trace.as_bytes());
        found.header(b"X-B3-SpanId", span.as_bytes());
        assert_eq!(found.finish(), Some(one));
        assert_eq!(b3(b"0"), None, "only the decision not to sample");
    }

    #[test]
    fn sw8_counts_first_and_the_other_trace_is_kept() {
        let mut found = Found::default();
        found.header(b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        found.header(b"sw8", example().as_bytes());
        let context = found.finish().unwrap();
        assert_eq!(&*context.trace_id, "a.b-c.1");
        assert_eq!(context.other_trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    }
}
