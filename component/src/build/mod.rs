//! From a section of YAML to a component.

mod check;
pub mod factory;

pub use check::Check;
