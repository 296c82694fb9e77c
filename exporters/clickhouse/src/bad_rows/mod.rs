//! Telling the rows apart that a server refuses.

pub(crate) mod lenient;
pub(crate) mod probe;
pub(crate) mod refused;
