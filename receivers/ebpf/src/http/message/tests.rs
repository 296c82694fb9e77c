use super::*;
use proptest::prelude::*;

/// What a stream of responses, or of requests, shows, when it comes in these pieces.
fn seen(pieces: &[&[u8]], is_request: bool) -> Vec<Seen> {
    let mut reader = Reader::default();
    let mut all = Vec::new();
    for piece in pieces {
        let mut part = Some(Part::Bytes(piece, true));
        while let Some(seen) = reader.take(&mut part, &[]) {
            let body = match &seen {
                Seen::Head(head) if is_request => Some(of_request(head)),
                Seen::Head(head) => Some(of_response(head, Some("GET"))),
                Seen::End { .. } => None,
            };
            all.push(seen);
            all.extend(body.and_then(|body| reader.body(body)));
        }
    }
    all
}

fn ends(seen: &[Seen]) -> Vec<u64> {
    seen.iter()
        .filter_map(|seen| match seen {
            Seen::End { bytes } => Some(*bytes),
            Seen::Head(_) => None,
        })
        .collect()
}

const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n";
const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";

#[test]
fn messages_are_found_however_they_are_cut() {
    let both = [CHUNKED, LENGTH, CHUNKED].concat();
    let expected = [CHUNKED.len() as u64, LENGTH.len() as u64, CHUNKED.len() as u64];
    assert_eq!(ends(&seen(&[&both], false)), expected);
    for size in 1..both.len() {
        let pieces: Vec<&[u8]> = both.chunks(size).collect();
        assert_eq!(ends(&seen(&pieces, false)), expected, "pieces of {size}");
    }
}

#[test]
fn requests_that_follow_each_other_at_once_are_all_found() {
    let one =
        b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\n\r\n\r\nGET /c HTTP/1.0\n\n";
    assert_eq!(ends(&seen(&[one], true)).len(), 3);
}

#[test]
fn a_gap_within_a_body_of_known_length_loses_nothing() {
    let mut reader = Reader::default();
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nxx";
    let mut part = Some(Part::Bytes(head, true));
    assert!(matches!(reader.take(&mut part, &[]), Some(Seen::Head(_))));
    assert_eq!(reader.body(Body::Length(1000)), None);
    assert_eq!(reader.take(&mut part, &[]), None);
    let mut gap = Some(Part::Gap(998));
    assert_eq!(reader.take(&mut gap, &[]), Some(Seen::End { bytes: head.len() as u64 - 2 + 1000 }));
    assert!(!reader.is_open());
}

#[test]
fn a_gap_beyond_a_message_waits_for_a_beginning() {
    let mut reader = Reader::default();
    let mut part = Some(Part::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", true));
    reader.take(&mut part, &[]);
    reader.body(Body::Length(1));
    let mut gap = Some(Part::Gap(50));
    assert!(matches!(reader.take(&mut gap, &[]), Some(Seen::End { .. })));
    assert_eq!(reader.take(&mut gap, &[]), None);
    // The rest of something, even if it looks like a beginning in its middle.
    let mut rest = Some(Part::Bytes(b"xx HTTP/1.1 200 OK\r\n\r\n", true));
    assert_eq!(reader.take(&mut rest, &[]), None);
    let mut next = Some(Part::Bytes(LENGTH, true));
    assert!(matches!(reader.take(&mut next, &[]), Some(Seen::Head(_))));
}

#[test]
fn a_head_that_is_cut_off_is_told_and_its_end_is_not_known() {
    let mut reader = Reader::default();
    let mut part = Some(Part::Bytes(b"GET /a HTTP/1.1\r\nHost: h\r\nX: ", true));
    assert_eq!(reader.take(&mut part, &[]), None);
    let mut gap = Some(Part::Gap(5000));
    let Some(Seen::Head(head)) = reader.take(&mut gap, &[]) else { panic!("no head") };
    assert_eq!((head.whole, of_request(&head)), (false, Body::Unknown));
    reader.body(Body::Unknown);
    let mut next = Some(Part::Bytes(b"GET /b HTTP/1.1\r\n\r\n", true));
    assert!(matches!(reader.take(&mut next, &[]), Some(Seen::End { .. })));
    assert!(matches!(reader.take(&mut next, &[]), Some(Seen::Head(_))));
}

#[test]
fn what_is_no_http_shows_nothing() {
    let noise: Vec<u8> = (0..4096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for bytes in [&noise[..], b"\x16\x03\x01\x02\x00GET / HTTP/1.1\r\n\r\n", b"*1\r\n$4\r\nPING\r\n"] {
        assert_eq!(seen(&[bytes, bytes], false), []);
        assert_eq!(seen(&[bytes, bytes], true), []);
    }
}

/// The body of the fuzzing target: any parts in any order. It must end, and never tell an end without a head.
fn fuzz(pieces: &[(bool, u16, Vec<u8>)]) {
    let mut reader = Reader::default();
    let mut open = 0_i64;
    for (is_gap, len, bytes) in pieces {
        let mut part =
            Some(if *is_gap { Part::Gap(u32::from(*len)) } else { Part::Bytes(bytes, len % 2 == 0) });
        let mut steps = 0;
        while let Some(seen) = reader.take(&mut part, &["x-a".into()]) {
            steps += 1;
            assert!(steps <= 2 * bytes.len() + 4, "it does not end");
            let ended = match seen {
                Seen::Head(head) => {
                    open += 1;
                    let body = if len % 3 == 0 { of_request(&head) } else { of_response(&head, Some("GET")) };
                    reader.body(body)
                }
                end @ Seen::End { .. } => Some(end),
            };
            open -= i64::from(ended.is_some());
            assert!((0..=1).contains(&open));
        }
    }
    reader.close();
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader(pieces in proptest::collection::vec(
        (any::<bool>(), any::<u16>(), proptest::collection::vec(any::<u8>(), 0..200)), 0..20)) {
        fuzz(&pieces);
    }

    #[test]
    fn no_mixture_of_messages_breaks_the_reader(pieces in proptest::collection::vec(
        (any::<bool>(), any::<u16>(), proptest::sample::select(vec![
            CHUNKED.to_vec(), LENGTH.to_vec(), b"GET / HTTP/1.1\r\n\r\n".to_vec(), b"5\r\n".to_vec(),
            b"\r\n".to_vec(), b"HTTP/1.1 200 OK\r\n".to_vec(), b"0\r\n\r\n".to_vec(),
            b"Content-Length: 18446744073709551615\r\n\r\n".to_vec(), b"ffffffffffffffff\r\n".to_vec(),
        ])), 0..30)) {
        fuzz(&pieces);
    }
}
