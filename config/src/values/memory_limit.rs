//! How much memory events may take: a size, or a share of what the program may have.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::values::byte_size::{ByteSize, ByteSizeError};

/// `service.memory.limit`: `512MiB`, or `60%` of the limit of the cgroup, or of the machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// A number of bytes.
    Bytes(ByteSize),
    /// 1 to 100 percent.
    Percent(u8),
}

impl Default for MemoryLimit {
    fn default() -> Self {
        MemoryLimit::Percent(60)
    }
}

/// A text that is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryLimitError {
    /// Not 1 to 100.
    #[error("`{0}` is not a share of memory: write 1% to 100%, or a size such as `512MiB`")]
    Percent(String),
    /// No memory at all.
    #[error("must be more than 0")]
    Zero,
    /// No size.
    #[error(transparent)]
    Size(#[from] ByteSizeError),
}

impl FromStr for MemoryLimit {
    type Err = MemoryLimitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(number) = text.trim().strip_suffix('%') {
            return match number.trim().parse::<u8>() {
                Ok(percent @ 1..=100) => Ok(MemoryLimit::Percent(percent)),
                _ => Err(MemoryLimitError::Percent(text.to_owned())),
            };
        }
        match text.parse::<ByteSize>()? {
            size if size.get() == 0 => Err(MemoryLimitError::Zero),
            size => Ok(MemoryLimit::Bytes(size)),
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryLimit::Bytes(size) => size.fmt(f),
            MemoryLimit::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl<'de> Deserialize<'de> for MemoryLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = MemoryLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as `512MiB` or a share such as `60%`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MemoryLimit, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<MemoryLimit, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<MemoryLimit, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl Serialize for MemoryLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_shares_are_read_and_printed() {
        for text in ["60%", "512MiB", "1%", "100%"] {
            assert_eq!(text.parse::<MemoryLimit>().unwrap().to_string(), text);
        }
        assert_eq!(MemoryLimit::default().to_string(), "60%");
    }

    #[test]
    fn what_is_no_limit_is_told() {
        assert_eq!("0%".parse::<MemoryLimit>(), Err(MemoryLimitError::Percent("0%".to_owned())));
        assert_eq!("101%".parse::<MemoryLimit>(), Err(MemoryLimitError::Percent("101%".to_owned())));
        assert_eq!("0MiB".parse::<MemoryLimit>(), Err(MemoryLimitError::Zero));
        assert!(matches!("much".parse::<MemoryLimit>(), Err(MemoryLimitError::Size(_))));
    }
}
