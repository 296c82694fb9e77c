//! The tables: how they are created, which columns they have, and whether they remember inserts.

pub(crate) mod columns;
pub(crate) mod created_views;
pub(crate) mod ddl;
pub(crate) mod deduplication;
pub(crate) mod difference;
pub(crate) mod layouts;
pub(crate) mod views;
