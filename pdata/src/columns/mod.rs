//! Columns while a decoder builds them, whatever it decodes.
//!
//! * [`text`]: a text where it lies in the received bytes, and [`views`] of such texts.
//! * [`keys`]: the distinct attribute keys of a batch, numbered.
//! * [`names`]: columns of few names. [`times`]: columns of times.
//! * [`links`] and [`events`]: the lists that a span has.
//!
//! A decoder knows its messages, this folder knows Arrow. [`trusted`] is the one place with `unsafe` code.

pub(crate) mod events;
pub(crate) mod keys;
pub(crate) mod links;
pub(crate) mod names;
pub(crate) mod text;
pub(crate) mod times;
mod trusted;
pub(crate) mod views;
