//! Ids of SkyWalking as the OpenTelemetry Collector's `skywalkingreceiver` translates them, so that traces
//! that come in both ways are the same.

use crate::otlp::hex::digit;

/// The id of a trace. `None`: the text has no such id.
pub(super) fn trace_id(text: &str) -> Option<[u8; 16]> {
    if text.len() <= 36 { uuid(text) } else { parts(text, 0) }
}

/// The id of span `number` of a segment. `None`: the text is too short for one.
pub(super) fn span_id(segment: &str, number: i32) -> Option<[u8; 8]> {
    let id = parts(segment, number.cast_unsigned())?;
    let mut folded = [0; 8];
    for (at, byte) in folded.iter_mut().enumerate() {
        *byte = id[at] ^ id[at + 8];
    }
    Some(folded)
}

/// A span's id as Weir has it: the segment's, a dot, a number.
pub(super) fn span_of(text: &str) -> Option<(&str, i32)> {
    let (segment, number) = text.rsplit_once('.')?;
    Some((segment, number.parse().ok()?))
}

/// 32 hexadecimal digits, with the hyphens of a UUID or without.
fn uuid(text: &str) -> Option<[u8; 16]> {
    match text.len() {
        32 => hex(text.as_bytes()),
        36 => {
            let hyphens = [8, 13, 18, 23];
            let bytes = text.as_bytes();
            if !hyphens.iter().all(|at| bytes[*at] == b'-') {
                return None;
            }
            let digits: Vec<u8> = (0..36).filter(|at| !hyphens.contains(at)).map(|at| bytes[at]).collect();
            hex(&digits)
        }
        _ => None,
    }
}

fn hex(digits: &[u8]) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = digit(*digits.get(2 * at)?)? << 4 | digit(*digits.get(2 * at + 1)?)?;
    }
    Some(id)
}

/// `{32 hexadecimal digits}.{number}.{number}`: the digits, combined with `extra` and the numbers.
fn parts(text: &str, extra: u32) -> Option<[u8; 16]> {
    let mut id = hex(text.as_bytes().get(..32)?)?;
    for (byte, extra) in id.iter_mut().zip(extra.to_le_bytes()) {
        *byte ^= extra;
    }
    let numbers = text.get(32..).and_then(|rest| rest.strip_prefix('.')?.rsplit_once('.'));
    let numbers = numbers.and_then(|(middle, last)| Some((number(middle)?, number(last)?)));
    if let Some((middle, last)) = numbers {
        for (byte, middle) in id[4..8].iter_mut().zip(middle.to_le_bytes()) {
            *byte ^= middle;
        }
        for (byte, last) in id[8..].iter_mut().zip(last.to_le_bytes()) {
            *byte ^= last;
        }
    }
    Some(id)
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the Collector's own tests.
    #[test]
    fn ids_are_those_of_the_collector() {
        let trace = trace_id("de5980b8fce34a37aab9b4ac3af7eedd.1.16563474296430001");
        assert_eq!(trace, Some([222, 89, 128, 184, 253, 227, 74, 55, 27, 228, 27, 205, 94, 47, 212, 221]));
        let dotted = span_id("4f2f27748b8e44ecaf18fe0347194e86.33.16560607369950066", 123);
        assert_eq!(dotted, Some([233, 196, 85, 168, 37, 66, 48, 106]));
        let plain = span_id("4f2f27748b8e44ecaf18fe0347194e86", 123);
        assert_eq!(plain, Some([155, 55, 217, 119, 204, 151, 10, 106]));
        assert_eq!(span_id("4f2f27748b8e44ecaf18fe", 123), None);
        assert_eq!(trace_id("de5980b8"), None);
        let uuid = trace_id("de5980b8-fce3-4a37-aab9-b4ac3af7eedd");
        assert_eq!(uuid, trace_id("de5980b8fce34a37aab9b4ac3af7eedd"));
        assert_eq!(uuid.unwrap()[..4], [222, 89, 128, 184]);
    }

    #[test]
    fn a_span_of_weir_is_a_segment_and_a_number() {
        assert_eq!(span_of("a.1.2.-3"), Some(("a.1.2", -3)));
        assert_eq!(span_of("a"), None);
        assert_eq!(span_of("a.b"), None);
    }
}
