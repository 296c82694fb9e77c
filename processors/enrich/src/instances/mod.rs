//! Properties of service instances, joined to their events.
//!
//! SkyWalking's agents report the properties of their instance (host, addresses, language, process) as
//! management records, which are logs named `instance_properties`. Such logs fill a table, and other events
//! of the instance get columns from it.

mod join;
pub(crate) mod kept;
mod learn;
pub(crate) mod table;
#[cfg(test)]
mod tests;
