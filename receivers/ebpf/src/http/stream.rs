//! One direction of a connection, put in order by the positions of its pieces.

/// A part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Bytes, and whether a read or write began with them.
    Bytes(&'a [u8], bool),
    /// So many bytes that were not seen.
    Gap(u32),
}

/// Where a stream is. Positions are those of TCP: they begin anywhere and wrap.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stream {
    next: Option<u32>,
}

impl Stream {
    /// The parts that a piece adds, in order: a gap before it, what was copied of it, and the rest. What is
    /// there a second time (a write that was tried again, a peek) is left out.
    pub(crate) fn add<'a>(&mut self, position: u32, total: u32, bytes: &'a [u8]) -> [Option<Part<'a>>; 3] {
        let next = self.next.unwrap_or(position);
        let ahead = position.wrapping_sub(next).cast_signed();
        let total_bytes = usize::try_from(total).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(total_bytes)];
        let end = position.wrapping_add(total);
        if ahead >= 0 {
            self.next = Some(end);
            let unseen = total - u32::try_from(bytes.len()).unwrap_or(total);
            let gap = |len: u32| (len > 0).then_some(Part::Gap(len));
            let copied = (!bytes.is_empty()).then_some(Part::Bytes(bytes, true));
            return [gap(ahead.cast_unsigned()), copied, gap(unseen)];
        }
        let repeated = ahead.unsigned_abs();
        if repeated >= total {
            return [None; 3];
        }
        self.next = Some(end);
        let skipped = usize::try_from(repeated).unwrap_or(usize::MAX);
        let rest = bytes.get(skipped..).unwrap_or_default();
        let unseen = total - repeated - u32::try_from(rest.len()).unwrap_or_default();
        let copied = (!rest.is_empty()).then_some(Part::Bytes(rest, false));
        [None, copied, (unseen > 0).then_some(Part::Gap(unseen))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(stream: &mut Stream, position: u32, total: u32, bytes: &'static [u8]) -> Vec<Part<'static>> {
        stream.add(position, total, bytes).into_iter().flatten().collect()
    }

    #[test]
    fn pieces_in_order_have_no_gap_also_where_positions_wrap() {
        let mut stream = Stream::default();
        assert_eq!(parts(&mut stream, u32::MAX - 1, 3, b"abc"), [Part::Bytes(b"abc", true)]);
        assert_eq!(parts(&mut stream, 1, 2, b"de"), [Part::Bytes(b"de", true)]);
    }

    #[test]
    fn what_was_not_copied_and_what_was_missed_are_gaps() {
        let mut stream = Stream::default();
        assert_eq!(parts(&mut stream, 10, 5, b"ab"), [Part::Bytes(b"ab", true), Part::Gap(3)]);
        assert_eq!(parts(&mut stream, 20, 1, b"x"), [Part::Gap(5), Part::Bytes(b"x", true)]);
        assert_eq!(parts(&mut stream, 21, 7, b""), [Part::Gap(7)]);
    }

    #[test]
    fn what_comes_again_is_left_out() {
        let mut stream = Stream::default();
        parts(&mut stream, 0, 4, b"abcd");
        assert_eq!(parts(&mut stream, 0, 4, b"abcd"), []);
        assert_eq!(parts(&mut stream, 2, 4, b"cdef"), [Part::Bytes(b"ef", false)]);
        assert_eq!(parts(&mut stream, 4, 6, b"e"), [Part::Gap(4)]);
        assert_eq!(parts(&mut stream, 10, 1, b"z"), [Part::Bytes(b"z", true)]);
    }
}
