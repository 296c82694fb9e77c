//! The settings of `nop`: none.

use serde::Deserialize;

/// Has no keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NopConfig {}
