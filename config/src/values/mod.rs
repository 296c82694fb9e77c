//! Types of values that sections have: sizes, durations, secrets, ids, addresses.

pub(crate) mod byte_size;
pub(crate) mod component_id;
pub(crate) mod duration;
pub(crate) mod listen;
pub(crate) mod memory_limit;
pub(crate) mod secret;
pub(crate) mod tls;
