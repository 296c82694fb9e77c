//! What is kept of the events of one group: exact, mergeable, independent of their order.

pub mod codec;
pub mod distinct;
mod exact_sum;
mod group_state;
pub mod histogram;
pub mod measure;
mod subtract;

pub use group_state::{GroupState, PERCENTILES};
