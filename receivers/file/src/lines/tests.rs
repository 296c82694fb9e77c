use super::*;
use proptest::prelude::*;

/// Gives at most `step` bytes at a time, and an error before each where `errors` says so.
struct Slow<'a> {
    bytes: &'a [u8],
    step: usize,
    errors: bool,
    failed: bool,
}

impl Read for Slow<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.errors && !self.failed {
            self.failed = true;
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.failed = false;
        let count = self.step.min(into.len()).min(self.bytes.len());
        into[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes = &self.bytes[count..];
        Ok(count)
    }
}

/// Number and text of each line, and number and length of each that is too long.
type Read2 = (Vec<(i64, Vec<u8>)>, Vec<(i64, u64)>);

fn read(input: Slow<'_>, max_line: usize, max_lines: usize) -> Read2 {
    let mut lines = Lines::new(input, max_line);
    let (mut whole, mut long) = (Vec::new(), Vec::new());
    loop {
        let mut chunk = Chunk::default();
        let more = loop {
            match lines.fill(&mut chunk, max_lines, 1000) {
                Ok(more) => break more,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
            }
        };
        if !more {
            lines.finish(&mut chunk);
        }
        assert!(chunk.len() + chunk.too_long.len() <= max_lines.max(1) + 1);
        whole.extend((0..chunk.len()).map(|index| (chunk.number(index), chunk.line(index).to_vec())));
        long.extend(chunk.too_long.iter().map(|line| (line.line, line.bytes)));
        if !more {
            return (whole, long);
        }
    }
}

fn all_at_once(bytes: &[u8]) -> Slow<'_> {
    Slow { bytes, step: 1 << 20, errors: false, failed: false }
}

#[test]
fn lines_are_numbered_from_one_and_the_last_needs_no_end() {
    let (whole, long) = read(all_at_once(b"a\n\nbb"), 10, 99);
    assert_eq!(whole, [(1, b"a".to_vec()), (2, vec![]), (3, b"bb".to_vec())]);
    assert_eq!(long, []);
    assert_eq!(read(all_at_once(b""), 10, 99), (vec![], vec![]));
}

#[test]
fn a_line_that_is_too_long_is_skipped_and_the_next_one_read() {
    let input = [b"ok\n", "x".repeat(300_000).as_bytes(), b"\n12345\n123456"].concat();
    let (whole, long) = read(all_at_once(&input), 5, 99);
    assert_eq!(whole, [(1, b"ok".to_vec()), (3, b"12345".to_vec())]);
    assert_eq!(long, [(2, 300_000), (4, 6)]);
}

#[test]
fn a_line_that_is_too_long_is_never_in_memory_whole() {
    let mut lines = Lines::new(io::repeat(b'x').take(100 << 20), 10);
    let mut chunk = Chunk::default();
    assert!(!lines.fill(&mut chunk, 9, 9).unwrap(), "there is no whole line");
    assert!(lines.partial.capacity() <= 2 * STEP as usize, "{}", lines.partial.capacity());
    lines.finish(&mut chunk);
    assert_eq!((chunk.too_long[0].bytes, chunk.too_long[0].beginning.len()), (100 << 20, BEGINNING.min(11)));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let (whole, _) = read(all_at_once(b"\xef\xbb\xbf{}\n\xef\xbb\xbf"), 10, 99);
    assert_eq!(whole, [(1, b"{}".to_vec()), (2, b"\xef\xbb\xbf".to_vec())]);
}

#[test]
fn a_chunk_ends_when_it_has_enough_bytes() {
    let mut lines = Lines::new(&b"aaaa\nbbbb\ncccc\n"[..], 10);
    let mut chunk = Chunk::default();
    assert!(lines.fill(&mut chunk, 99, 5).unwrap());
    assert_eq!((chunk.len(), chunk.size(), lines.consumed()), (2, 8, 10));
}

proptest! {
    #[test]
    fn lines_are_the_same_however_the_bytes_come(
        pieces in proptest::collection::vec("[ab\u{e9}]{0,12}\r?", 0..8),
        end in any::<bool>(), step in 1..9usize, max_lines in 1..4usize, errors in any::<bool>(),
    ) {
        let mut text = pieces.join("\n");
        if end {
            text.push('\n');
        }
        let (mut whole, mut long) = (Vec::new(), Vec::new());
        let bytes = text.as_bytes();
        let mut expected: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        // What is behind the last line end is a line only when there is something.
        expected.pop_if(|last| last.is_empty());
        for (number, line) in (1..).zip(expected) {
            if line.len() > 8 {
                long.push((number, line.len() as u64));
            } else {
                whole.push((number, line.to_vec()));
            }
        }
        let slow = Slow { bytes, step, errors, failed: false };
        prop_assert_eq!(read(slow, 8, max_lines), (whole, long));
    }
}
