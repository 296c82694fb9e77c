//! Notifications for people: `notify` decides when alarms are told, and together with which others.
//!
//! * [`config`]: the key `notify`; [`matcher`]: which alarms are meant.
//! * [`calendar`]: maintenance windows and silences, from files.
//! * [`notifier`]: the rules, without I/O, over a [`state`] that survives restarts.
//! * [`driver`]: the tasks around it: time, disk, and sending.

pub(crate) mod calendar;
pub(crate) mod config;
pub(crate) mod driver;
pub(crate) mod matcher;
mod notifier;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use state::Outcome;
