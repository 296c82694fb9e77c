//! `create_schema`: what is done about tables.

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// `create_schema`: what is done about tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CreateSchema {
    /// `true`: those that do not exist are created.
    Create,
    /// `false`: nothing.
    Leave,
    /// `check`: nothing, and tables that are not as expected are refused.
    Check,
}

impl<'de> Deserialize<'de> for CreateSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CreateSchema, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = CreateSchema;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`true`, `false` or `check`")
            }

            fn visit_bool<E: Error>(self, create: bool) -> Result<CreateSchema, E> {
                Ok(if create { CreateSchema::Create } else { CreateSchema::Leave })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<CreateSchema, E> {
                match text {
                    "true" => Ok(CreateSchema::Create),
                    "false" => Ok(CreateSchema::Leave),
                    "check" => Ok(CreateSchema::Check),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Written)
    }
}
