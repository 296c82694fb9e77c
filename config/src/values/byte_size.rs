//! Numbers of bytes as people write them: `64MiB`, `1GB`, `4096`.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::values::duration::decimal;

/// A number of bytes, written plain (`4096`) or with a unit: `B`, `KiB MiB GiB TiB` (powers of 1024),
/// `kB MB GB TB` (powers of 1000). Units are read in any case; decimals are allowed (`1.5GiB`).
///
/// `Display` gives the largest binary unit that divides it; parsing that gives the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ByteSize(u64);

/// Why a text is not a [`ByteSize`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ByteSizeError {
    /// Below zero.
    #[error("`{0}` is negative; a size cannot be")]
    Negative(String),
    /// A unit that does not exist.
    #[error("`{unit}` in `{text}` is not a unit of size; use B, KiB, MiB, GiB, TiB, kB, MB, GB or TB")]
    Unit {
        /// The whole text.
        text: String,
        /// The part that is no unit.
        unit: String,
    },
    /// Anything else.
    #[error("`{0}` is not a size; write for example `64MiB`, `1GB` or a plain number of bytes")]
    Form(String),
    /// More than `u64::MAX` bytes.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

impl ByteSize {
    /// From bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// From KiB.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 10))
    }

    /// From MiB.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 20))
    }

    /// From GiB.
    #[must_use]
    pub const fn gib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory, cut off at `usize::MAX`.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Units in lower case.
const UNITS: [(&str, u128); 10] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        if trimmed.starts_with('-') {
            return Err(ByteSizeError::Negative(text.to_owned()));
        }
        let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let unit = unit.trim();
        if number.is_empty() || (unit.is_empty() && number.contains('.')) {
            return Err(ByteSizeError::Form(text.to_owned()));
        }
        let name = unit.to_lowercase();
        let Some((_, scale)) = UNITS.iter().find(|(candidate, _)| *candidate == name) else {
            return Err(ByteSizeError::Unit { text: text.to_owned(), unit: unit.to_owned() });
        };
        let bytes = decimal(number, *scale).map_err(|overflow| {
            if overflow {
                ByteSizeError::TooLarge(text.to_owned())
            } else {
                ByteSizeError::Form(text.to_owned())
            }
        })?;
        u64::try_from(bytes).map(Self).map_err(|_| ByteSizeError::TooLarge(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{name}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as `64MiB`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<ByteSize, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<ByteSize, E> {
                Err(E::custom(ByteSizeError::Form(number.to_string())))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_numbers_with_or_without_units() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("1GB", 1_000_000_000),
            ("1gib", 1 << 30),
            ("4096", 4096),
            ("1.5KiB", 1536),
            ("10 kB", 10_000),
            ("0", 0),
            ("7B", 7),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap().get(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_why() {
        for (text, why) in [
            ("-1", "`-1` is negative; a size cannot be"),
            ("1.5", "`1.5` is not a size; write for example `64MiB`, `1GB` or a plain number of bytes"),
            ("lots", "`lots` is not a size; write for example `64MiB`, `1GB` or a plain number of bytes"),
            ("5XB", "`XB` in `5XB` is not a unit of size; use B, KiB, MiB, GiB, TiB, kB, MB, GB or TB"),
            ("99999999999TiB", "`99999999999TiB` is too large"),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap_err().to_string(), why);
        }
    }

    proptest! {
        #[test]
        fn display_round_trips(bytes: u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse::<ByteSize>().unwrap(), ByteSize(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
