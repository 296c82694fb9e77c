//! From texts to one tree: parsed, merged, overridden, and with `${env:NAME}` expanded.

pub(crate) mod merge;
pub(crate) mod node;
pub(crate) mod overrides;
pub(crate) mod parse;
pub(crate) mod path;
pub(crate) mod scalar;
pub(crate) mod source;
pub(crate) mod substitute;
