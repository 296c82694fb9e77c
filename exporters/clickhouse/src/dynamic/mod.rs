//! Columns that are created for keys.
//!
//! Keys without a column are in the map `attributes`. They are counted, with the types that their values fit
//! ([`census`]), in the table `keys`, and written once into `new_key`. A task on every gateway creates
//! columns for the most frequent ones ([`task`]). The table itself says which columns there are: a key is
//! marked as created after its column is there, and a task that finds the column without the mark adds the
//! mark. So it does not matter where a gateway is killed, nor how many gateways do this at once.

pub(crate) mod census;
pub(crate) mod key_type;
pub(crate) mod statements;
pub(crate) mod task;
