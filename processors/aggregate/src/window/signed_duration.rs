//! A duration with a sign.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use weir_config::Duration;

/// A duration that may be negative: `-8h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signed {
    /// Below zero.
    pub(crate) negative: bool,
    /// Without the sign.
    pub(crate) length: Duration,
}

impl<'de> Deserialize<'de> for Signed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Signed, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Signed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `7s` or `-8h`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Signed, E> {
                let text = text.trim();
                let (negative, length) =
                    text.strip_prefix('-').map_or((false, text), |length| (true, length));
                Ok(Signed { negative, length: length.parse().map_err(E::custom)? })
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Signed, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Signed, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Signed, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Text)
    }
}
