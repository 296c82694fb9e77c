//! From a section of YAML to a component.

mod check;
pub mod factory;
mod settings;

pub use check::Check;
pub use settings::Settings;
