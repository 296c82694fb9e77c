//! Columns while a decoder builds them, whatever it decodes.

pub(crate) mod keys;
pub(crate) mod lists;
mod trusted;
pub(crate) mod views;
