//! The head of a message: its first line and the headers that matter.

use super::context::{self, TraceContext};

/// The longest head that is put together from several pieces.
pub(crate) const MOST_HEAD: usize = 64 * 1024;
const METHODS: [&str; 9] = ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
/// Headers whose values are never stored.
const SECRET: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token"];

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    /// Of a response without either: until the connection is closed.
    Unnamed,
    /// The end of the head was not seen.
    Unknown,
}

/// The first line of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Request { method: &'static str, target: Box<str> },
    Response { status: u16 },
}

/// A head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) line: Line,
    pub(crate) framing: Framing,
    /// The connection becomes one of another protocol when the other side agrees.
    pub(crate) upgrades: bool,
    pub(crate) host: Option<Box<str>>,
    pub(crate) context: Option<TraceContext>,
    /// The headers that the settings allow, with lower-case names.
    pub(crate) allowed: Vec<(Box<str>, Box<str>)>,
    /// Whether all of it was seen.
    pub(crate) whole: bool,
}

/// Whether a message may begin with these bytes.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    if bytes.starts_with(b"HTTP/1.") {
        return true;
    }
    METHODS.iter().any(|method| {
        bytes
            .strip_prefix(method.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&b' ') && rest.get(1).is_none_or(u8::is_ascii_graphic))
    })
}

/// Where the head ends: behind the empty line.
pub(crate) fn end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == b'\n')?;
        match bytes.get(at + 1..)? {
            [b'\n', ..] => return Some(at + 2),
            [b'\r', b'\n', ..] => return Some(at + 3),
            _ => from = at + 1,
        }
    }
}

/// Reads a head, whole or cut off. `None`: these bytes are no HTTP/1, or the first line is cut off.
pub(crate) fn read(bytes: &[u8], whole: bool, allow: &[Box<str>]) -> Option<Head> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    // A line without an end may be a part of one.
    if first.len() == bytes.len() {
        return None;
    }
    let line = first_line(first.strip_suffix(b"\r").unwrap_or(first))?;
    let mut head = Head {
        line,
        framing: Framing::Unnamed,
        upgrades: false,
        host: None,
        context: None,
        allowed: Vec::new(),
        whole,
    };
    let mut found = context::Found::default();
    let mut seen = first.len() + 1;
    for line in lines {
        seen += line.len() + 1;
        // The last line of a head that is cut off.
        if seen > bytes.len() && !whole {
            break;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        header(&mut head, &mut found, name, value, allow);
    }
    head.context = found.finish();
    if !whole {
        head.framing = Framing::Unknown;
    }
    Some(head)
}

fn header(head: &mut Head, found: &mut context::Found, name: &[u8], value: &[u8], allow: &[Box<str>]) {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    match name.len() {
        4 if is("host") => head.host = text(value),
        7 if is("upgrade") => head.upgrades = !value.is_empty(),
        // With both, the chunks count (RFC 9112, 6.3).
        14 if is("content-length") && head.framing != Framing::Chunked => {
            let number = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            head.framing = number.map_or(Framing::Unknown, Framing::Length);
        }
        17 if is("transfer-encoding") && value.to_ascii_lowercase().ends_with(b"chunked") => {
            head.framing = Framing::Chunked;
        }
        _ => found.header(name, value),
    }
    head.allowed.extend(allowed(name, value, allow));
}

/// A header with its value, when the settings allow it.
pub(crate) fn allowed(name: &[u8], value: &[u8], allow: &[Box<str>]) -> Option<(Box<str>, Box<str>)> {
    let allowed = allow.iter().find(|allowed| name.eq_ignore_ascii_case(allowed.as_bytes()))?;
    let value = if SECRET.contains(&&**allowed) { "[redacted]".into() } else { text(value)? };
    Some((allowed.clone(), value))
}

/// The name of a method that is known.
pub(crate) fn method(name: &[u8]) -> Option<&'static str> {
    METHODS.into_iter().find(|method| method.as_bytes() == name)
}

/// A text, of at most 256 bytes.
pub(crate) fn text(value: &[u8]) -> Option<Box<str>> {
    let value = &value[..value.len().min(256)];
    (!value.is_empty()).then(|| String::from_utf8_lossy(value).into_owned().into_boxed_str())
}

fn first_line(line: &[u8]) -> Option<Line> {
    if let Some(rest) = line.strip_prefix(b"HTTP/1.") {
        let [b'0'..=b'1', b' ', a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', after @ ..] = rest else {
            return None;
        };
        if !(after.is_empty() || after[0] == b' ') {
            return None;
        }
        let digit = |digit: &u8| u16::from(digit - b'0');
        return Some(Line::Response { status: digit(a) * 100 + digit(b) * 10 + digit(c) });
    }
    let method = METHODS.iter().find(|method| {
        line.strip_prefix(method.as_bytes()).is_some_and(|rest| rest.first() == Some(&b' '))
    })?;
    let rest = &line[method.len() + 1..];
    let target = rest.strip_suffix(b" HTTP/1.1").or_else(|| rest.strip_suffix(b" HTTP/1.0"))?;
    if target.is_empty() || target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return None;
    }
    let target = String::from_utf8_lossy(&target[..target.len().min(2048)]).into_owned().into_boxed_str();
    Some(Line::Request { method, target })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Option<Head> {
        read(text.as_bytes(), true, &["x-tenant".into(), "cookie".into()])
    }

    #[test]
    fn a_request_has_its_line_its_framing_and_what_is_allowed() {
        let head = request(
            "POST /pay?card=4111 HTTP/1.1\r\nHost: shop:80\r\nContent-Length: 12\r\nX-Tenant: a\r\n\
             Cookie: s=1\r\nAuthorization: Basic x\r\n\r\n",
        )
        .unwrap();
        assert_eq!(head.line, Line::Request { method: "POST", target: "/pay?card=4111".into() });
        assert_eq!((head.framing, head.host.as_deref()), (Framing::Length(12), Some("shop:80")));
        let allowed: Vec<(&str, &str)> =
            head.allowed.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(allowed, [("x-tenant", "a"), ("cookie", "[redacted]")]);
    }

    #[test]
    fn chunks_count_where_a_length_is_named_too() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 5\r\n\r\n",
        ] {
            let head = request(text).unwrap();
            assert_eq!((head.line, head.framing), (Line::Response { status: 200 }, Framing::Chunked));
        }
    }

    #[test]
    fn what_is_no_http_is_none() {
        for text in [
            "GET / HTTP/2.0\r\n\r\n",
            "GET  HTTP/1.1\r\n\r\n",
            "GET /a b HTTP/1.1\r\n\r\n",
            "GETS / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 999 x\r\n\r\n",
            "HTTP/1.1 2000\r\n\r\n",
            "GET / HTTP/1.1",
            "",
        ] {
            assert_eq!(request(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_head_that_is_cut_off_has_the_headers_before() {
        let cut = b"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1";
        let head = read(cut, false, &[]).unwrap();
        assert_eq!((head.host.as_deref(), head.framing, head.whole), (Some("h"), Framing::Unknown, false));
    }

    #[test]
    fn the_end_is_behind_the_empty_line() {
        assert_eq!(end(b"a\r\nb\r\n\r\nrest"), Some(8));
        assert_eq!(end(b"a\n\nrest"), Some(3));
        assert_eq!(end(b"a\r\nb\r\n\r"), None);
    }
}
