//! Hexadecimal digits.

/// The value of a digit in either case.
pub(super) const fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

/// Of each character the value, or [`NONE`].
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut character = 0;
    while character < 256 {
        if let Some(value) = digit(character as u8) {
            values[character] = value;
        }
        character += 1;
    }
    values
};
const NONE: u8 = 0xff;

/// Appends the bytes that these digits are. `false`: they are none, and what was appended is of no use.
#[inline]
pub(super) fn push_bytes(digits: &[u8], out: &mut Vec<u8>) -> bool {
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut seen = 0;
    out.extend(pairs.iter().map(|[high, low]| {
        let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
        seen |= high | low;
        high << 4 | low
    }));
    // Values are below 16.
    seen < 16 && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_bytes_and_nothing_else_is() {
        let read = |text: &str| {
            let mut out = vec![7];
            push_bytes(text.as_bytes(), &mut out).then_some(out)
        };
        assert_eq!(read("00ffAb"), Some(vec![7, 0, 0xff, 0xab]));
        assert_eq!(read(""), Some(vec![7]));
        for odd in ["0", "0g", "g0", "a.", "ä", "000"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
