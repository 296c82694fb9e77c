//! The bytes of mergeable state: LEB128 integers and little-endian floats.
//!
//! Reading never panics and never trusts a length: every error is [`Malformed`].

/// Bytes that are no state of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state of a partial result is malformed: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Appends an unsigned integer, 7 bits a byte, the lowest first.
pub(crate) fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed integer: its sign becomes the lowest bit.
pub(crate) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends a float, 8 bytes.
pub(crate) fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Reads what the `put` functions wrote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// An unsigned integer.
    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("an integer is longer than 64 bits"))
    }

    /// A signed integer.
    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        let value = self.u64()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A float that is a number.
    pub(crate) fn f64(&mut self) -> Result<f64, Malformed> {
        let bytes = self.bytes(8)?;
        let value = bytes.try_into().map(f64::from_le_bytes).map_err(|_| Malformed("it ends early"))?;
        if value.is_finite() { Ok(value) } else { Err(Malformed("a float is not finite")) }
    }

    /// The number of items that follow, each at least `size` bytes long.
    pub(crate) fn length(&mut self, size: usize) -> Result<usize, Malformed> {
        let length = usize::try_from(self.u64()?).map_err(|_| Malformed("a length is too large"))?;
        if length.saturating_mul(size) > self.0.len() {
            return Err(Malformed("a length is larger than what follows"));
        }
        Ok(length)
    }

    /// One byte.
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// This many bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// Checks that nothing is left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("bytes follow its end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_and_floats_come_back(a: u64, b: i64, c in -1e300..1e300_f64) {
            let mut bytes = Vec::new();
            put_u64(&mut bytes, a);
            put_i64(&mut bytes, b);
            put_f64(&mut bytes, c);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!((reader.u64(), reader.i64(), reader.f64()), (Ok(a), Ok(b), Ok(c)));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn what_is_too_long_or_too_short_is_malformed() {
        assert!(Reader::new(&[0xff; 10]).u64().is_err(), "more than 64 bits");
        assert!(Reader::new(&[0x80]).u64().is_err());
        assert!(Reader::new(&[9, 1, 2]).length(1).is_err());
        assert!(Reader::new(&f64::NAN.to_le_bytes()).f64().is_err());
        assert!(Reader::new(&[1]).end().is_err());
    }
}
