//! A part of a pending range: the rows that are exported next, when the destination does not take all
//! together.

use std::ops::Range;

/// The rows of a pending range that are exported together next. Those before them are finished: delivered, or
/// in the dead letters.
///
/// As text, `0-2500/30000:BcA`: the rows, of how many, and which of them are left out because the destination
/// refuses them. Rows are numbered as they are in the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The rows.
    pub rows: Range<usize>,
    /// How many the range has.
    pub of: usize,
    /// Those that are left out, rising.
    pub without: Vec<usize>,
}

/// The longest text of what is left out.
const MAX_TEXT: usize = 256;
/// Each character holds five bits of a number, and whether more of it follow.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const MORE: usize = 32;

impl Split {
    /// The longest beginning of `rows` whose text is not too long to be written down. `refused`: those that
    /// are left out, rising.
    #[must_use]
    pub fn beginning(rows: Range<usize>, of: usize, refused: impl IntoIterator<Item = usize>) -> Split {
        let (mut text, mut without, mut last) = (String::new(), Vec::new(), rows.start);
        for row in refused {
            push_number(&mut text, row.saturating_sub(last));
            if text.len() > MAX_TEXT {
                return Split { rows: rows.start..row, of, without };
            }
            last = row;
            without.push(row);
        }
        Split { rows, of, without }
    }

    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        format!("{}-{}/{}{}", self.rows.start, self.rows.end, self.of, self.left_out())
    }

    /// The suffix that names the rows that are left out.
    fn left_out(&self) -> String {
        let mut text = String::new();
        if !self.without.is_empty() {
            text.push(':');
        }
        let mut last = self.rows.start;
        for row in &self.without {
            push_number(&mut text, row.saturating_sub(last));
            last = *row;
        }
        text
    }

    /// Reads a text. `None`: it is none.
    #[must_use]
    pub fn decode(text: &str) -> Option<Split> {
        let (numbers, left_out) = text.split_once(':').unwrap_or((text, ""));
        let (rows, of) = numbers.split_once('/')?;
        let (start, end) = rows.split_once('-')?;
        let (start, end, of): (usize, usize, usize) =
            (start.parse().ok()?, end.parse().ok()?, of.parse().ok()?);
        let (mut without, mut row, mut number, mut shift) = (Vec::new(), start, 0_usize, 0_u32);
        for character in left_out.bytes() {
            let bits = ALPHABET.iter().position(|known| *known == character)?;
            number |= (bits % MORE).checked_shl(shift)?;
            shift += 5;
            if bits < MORE {
                row = row.checked_add(number)?;
                without.push(row);
                (number, shift) = (0, 0);
            }
        }
        let rising = without.is_sorted() && without.last().is_none_or(|last| *last < end);
        (start < end && end <= of && shift == 0 && rising).then_some(Split { rows: start..end, of, without })
    }
}

fn push_number(text: &mut String, mut number: usize) {
    loop {
        let rest = number / MORE;
        let bits = number % MORE + if rest > 0 { MORE } else { 0 };
        text.push(char::from(ALPHABET[bits]));
        if rest == 0 {
            return;
        }
        number = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(rows: Range<usize>, without: &[usize]) -> Split {
        Split { rows, of: 30_000, without: without.to_vec() }
    }

    #[test]
    fn what_is_written_is_read() {
        for (split, text) in [
            (split(0..30_000, &[]), "0-30000/30000"),
            (split(7..40, &[7, 8, 39]), "7-40/30000:ABf"),
            (split(0..30_000, &[31, 63, 29_999]), "0-30000/30000:fgBwnd"),
        ] {
            assert_eq!((split.encode().as_str(), Split::decode(text)), (text, Some(split)));
        }
        // The last two: a number without an end, a row beyond the part.
        for bad in ["", "1-2", "2-1/3", "1-4/3", "a-3/3", "0-3/3:é", "0-3/3:g", "0-3/3:D"] {
            assert_eq!(Split::decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn its_text_is_bounded_whatever_is_left_out() {
        for step in [1, 2, 10, 40, 2_000] {
            let refused = |rows: Range<usize>| rows.filter(move |row| row % step == 0);
            let mut begin = 1;
            while begin < 30_000 {
                let part = Split::beginning(begin..30_000, 30_000, refused(begin..30_000));
                assert!(part.encode().len() <= MAX_TEXT + 20, "{step}");
                assert!(part.rows.start == begin && part.rows.end > begin, "{step}: {:?}", part.rows);
                assert_eq!(part.without, refused(part.rows.clone()).collect::<Vec<_>>());
                begin = part.rows.end;
            }
        }
    }
}
