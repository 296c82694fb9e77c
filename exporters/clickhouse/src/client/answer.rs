//! Sending an insert, and its answer: status, ClickHouse's code, text.
//!
//! The errors of the `clickhouse` crate lack the status when the answer has a body, and do not tell a proxy's
//! page from a server's message. So inserts are sent from here.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::{Response, StatusCode};
use weir_http::LONGEST_WAIT;

/// Of an answer's body no more than this is read: an insert's answer is empty, or an error.
const READ: usize = 64 << 10;

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// ClickHouse's error code. `None`: something else has answered, such as a proxy.
    pub(crate) code: Option<u32>,
    /// When to try again, if that was said.
    pub(crate) after: Option<Duration>,
    pub(crate) text: String,
}

/// The bytes of a request, in chunks.
///
/// They are an error, which ends the connection, when the first is to leave after
/// [`owned_until`](weir_pdata::Origin::owned_until). That is asked here, and not before, because a program
/// may be stopped at any moment, and a connection may take its time. How long the rest takes depends on the
/// network; it is not broken off.
pub(crate) struct BodyChunks {
    chunks: VecDeque<Bytes>,
    left: u64,
    until: Option<Instant>,
}

/// The request was not sent.
#[derive(Debug, thiserror::Error)]
#[error("it was to be sent so late that its lane may have another owner: asking first")]
pub(crate) struct TooLate;

impl BodyChunks {
    /// These bytes, to begin to leave before `until`.
    pub(crate) fn new(chunks: Vec<Bytes>, until: Option<Instant>) -> BodyChunks {
        let left = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        BodyChunks { chunks: chunks.into(), left, until }
    }
}

impl Body for BodyChunks {
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        if self.until.take().is_some_and(|until| Instant::now() >= until) {
            return Poll::Ready(Some(Err(TooLate)));
        }
        let next = self.chunks.pop_front();
        self.left -= next.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Poll::Ready(next.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Appends `name=value` to a URL that has a `?`, encoded as forms are.
pub(crate) fn add_field(url: &mut String, name: &str, value: &str) {
    if !url.ends_with('?') {
        url.push('&');
    }
    encode(url, name);
    url.push('=');
    encode(url, value);
}

fn encode(url: &mut String, text: &str) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => url.push(char::from(byte)),
            b' ' => url.push('+'),
            _ => url.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

/// Reads the answer to an insert. The outer error is of the connection.
pub(crate) async fn read(answer: Response<Incoming>) -> Result<Result<(), Refusal>, hyper::Error> {
    let (head, mut body) = answer.into_parts();
    let mut bytes = Vec::new();
    while bytes.len() < READ {
        let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await else { break };
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(outcome(head.status, &head.headers, &String::from_utf8_lossy(&bytes)))
}

/// Whether the server took the insert. An answer of status 200 may end with an error, when that came after it
/// had begun.
fn outcome(status: StatusCode, headers: &HeaderMap, text: &str) -> Result<(), Refusal> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let said = header("X-ClickHouse-Exception-Code").and_then(|code| code.trim().parse().ok());
    let code = said.or_else(|| code(text));
    if status.is_success() && code.is_none() {
        return Ok(());
    }
    // Seconds only: a date would need the clock.
    let after = header(RETRY_AFTER.as_str()).and_then(|value| value.trim().parse().ok());
    let after = after.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
    // After a status of success only the error is of interest.
    let begin = if status.is_success() { text.find("Code: ").unwrap_or(0) } else { 0 };
    Err(Refusal { status, code, after, text: text[begin..].trim().to_owned() })
}

/// The number in `Code: 252. DB::Exception: …`.
pub(crate) fn code(answer: &str) -> Option<u32> {
    answer.match_indices("Code: ").find_map(|(at, found)| {
        let rest = &answer[at + found.len()..];
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        after.starts_with(". DB::").then(|| number.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, headers: &[(&str, &str)], text: &str) -> Option<(u16, Option<u32>, String)> {
        let pairs = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers: HeaderMap<hyper::header::HeaderValue> =
            pairs.collect::<Vec<(hyper::header::HeaderName, _)>>().into_iter().collect();
        let outcome = outcome(StatusCode::from_u16(status).unwrap(), &headers, text);
        outcome.err().map(|refusal| (refusal.status.as_u16(), refusal.code, refusal.text))
    }

    #[test]
    fn a_server_is_told_from_a_proxy() {
        assert_eq!(refusal(200, &[], ""), None);
        let server = "Code: 469. DB::Exception: no. (VIOLATED_CONSTRAINT)";
        assert_eq!(refusal(500, &[], server), Some((500, Some(469), server.to_owned())));
        let page = "<html><h1>413 Request Entity Too Large</h1>Code: 7</html>";
        assert_eq!(refusal(413, &[], page), Some((413, None, page.to_owned())));
        let short = [("X-ClickHouse-Exception-Code", "241")];
        assert_eq!(refusal(500, &short, ""), Some((500, Some(241), String::new())));
    }

    #[test]
    fn an_error_at_the_end_of_a_success_is_one() {
        let text = "\r\n__exception__\r\nabc\r\nCode: 241. DB::Exception: no memory. (X)\n40 abc\r\n__exception__\r\n";
        let (status, code, text) = refusal(200, &[], text).unwrap();
        assert_eq!((status, code, text.starts_with("Code: 241. DB::")), (200, Some(241), true));
    }

    #[tokio::test]
    async fn what_has_begun_to_leave_is_not_broken_off() {
        let chunks = || vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        let mut late = BodyChunks::new(chunks(), Some(Instant::now()));
        let next = std::future::poll_fn(|cx| Pin::new(&mut late).poll_frame(cx)).await;
        assert!(matches!(next, Some(Err(TooLate))));
        let until = Instant::now() + Duration::from_millis(20);
        let mut slow = BodyChunks::new(chunks(), Some(until));
        for part in chunks() {
            let next = std::future::poll_fn(|cx| Pin::new(&mut slow).poll_frame(cx)).await;
            assert_eq!(next.unwrap().unwrap().into_data().ok(), Some(part));
            while Instant::now() < until {
                tokio::task::yield_now().await;
            }
        }
    }

    #[test]
    fn fields_are_encoded_as_in_forms() {
        let mut url = "http://a/?".to_owned();
        add_field(&mut url, "query", "INSERT INTO `a` (`it's`)");
        add_field(&mut url, "t", "支/1-2.a");
        assert_eq!(url, "http://a/?query=INSERT+INTO+%60a%60+%28%60it%27s%60%29&t=%E6%94%AF%2F1-2.a");
    }
}
