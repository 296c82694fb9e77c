//! Notifications for people: `notify` decides when alarms are told, and together with which others.
//!
//! * [`config`]: the key `notify`; [`matcher`]: which alarms are meant.
//! * [`calendar`]: maintenance windows and silences, from files.
//! * [`notifier`]: the rules, without I/O, over a [`state`] that survives restarts; [`telling`]: the message
//!   about a group; [`outbox`]: messages on their way; [`inhibition`]: alarms that hide others.
//! * [`driver`]: the tasks around it: time, disk, and sending.

pub(crate) mod calendar;
pub(crate) mod config;
pub(crate) mod driver;
mod inhibition;
pub(crate) mod matcher;
mod notifier;
mod outbox;
mod room;
mod state;
mod telling;
#[cfg(test)]
mod tests;

pub(crate) use state::Outcome;
