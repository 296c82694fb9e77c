//! Whose a connection is: process, container, service.

mod container;
mod identity;
mod table;

pub(crate) use identity::Identity;
pub(crate) use table::Processes;
