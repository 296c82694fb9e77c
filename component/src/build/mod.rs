//! From a section of YAML to a component.

mod check;
pub mod factory;
mod settings;
mod windows;

pub use check::Check;
pub use settings::Settings;
pub use windows::{WindowProblem, WindowSchema, WindowSources};
