//! The state kept for the events of one group: exact, mergeable, independent of their order.

pub(crate) mod buckets;
pub(crate) mod codec;
pub(crate) mod distinct;
mod exact_sum;
mod group_state;
pub(crate) mod histogram;
pub(crate) mod measure;
mod measure_bytes;
pub(crate) mod subtract;
pub(crate) mod weight;

pub(crate) use group_state::{GroupState, PERCENTILES};
