//! FNV-1a with 64 bits: hashes that are the same on every machine, in every run and in every version.

/// A hash of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fnv(u64);

impl Default for Fnv {
    #[inline]
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// The hash of these bytes.
    #[inline]
    #[must_use]
    pub fn of(bytes: impl IntoIterator<Item = u8>) -> Fnv {
        Fnv::default().and(bytes)
    }

    /// The hash of the bytes before and these.
    #[inline]
    #[must_use]
    pub fn and(self, bytes: impl IntoIterator<Item = u8>) -> Fnv {
        let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Fnv(bytes.into_iter().fold(self.0, add))
    }

    /// The number.
    #[inline]
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The number, finished as MurmurHash3 does (`fmix64`): every bit of the input reaches every bit of it.
    #[inline]
    #[must_use]
    pub fn mixed(self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the reference: <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>.
    #[test]
    fn hashes_are_those_of_the_reference() {
        assert_eq!(Fnv::default().get(), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Fnv::of(*b"a").get(), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Fnv::of(*b"foo").and(*b"bar").get(), 0x8594_4171_f739_67e8);
    }
}
