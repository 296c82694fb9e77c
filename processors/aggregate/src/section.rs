//! Reading a section: where each error goes, and durations as windows need them.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use weir_component::Settings;
use weir_config::{Diagnostic, Diagnostics, Duration};
use weir_pdata::expr::ExprError;

/// The longest window, and the longest other length of event time: 400 days in milliseconds.
const LONGEST: i64 = 400 * 86_400_000;

/// A section and what is wrong with it.
pub struct Check<'a> {
    settings: Settings<'a>,
    found: Diagnostics,
}

impl<'a> Check<'a> {
    /// Nothing is wrong so far.
    pub fn new(settings: Settings<'a>) -> Check<'a> {
        Check { settings, found: Diagnostics::new() }
    }

    /// Notes an error at a key.
    pub fn wrong(&mut self, key: &str, message: impl Into<String>) {
        self.found.push(self.settings.error_at(key, message));
    }

    /// Notes an error of an expression: the first line says what is wrong; the others show the place in it.
    pub fn bad_expression(&mut self, key: &str, error: &ExprError) {
        let text = error.to_string();
        let mut lines = text.lines();
        let first = self.settings.error_at(key, lines.next().unwrap_or_default());
        self.found.push(lines.fold(first, Diagnostic::with_help));
    }

    /// Whole milliseconds up to 400 days.
    pub fn millis(&mut self, key: &str, duration: Duration) -> i64 {
        let millis = duration.as_millis();
        if millis > LONGEST {
            self.wrong(key, "must not be more than 400d");
        } else if !duration.get().subsec_nanos().is_multiple_of(1_000_000) {
            self.wrong(key, format!("`{duration}` is not a whole number of milliseconds; event times are"));
        }
        millis.min(LONGEST)
    }

    /// `value`, or everything that is wrong.
    pub fn finish<T>(self, value: T) -> Result<T, Diagnostics> {
        self.found.into_result(value)
    }
}

/// A duration that may be negative: `-8h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    /// Below zero.
    pub negative: bool,
    /// Without the sign.
    pub length: Duration,
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
