//! The tables: how they are created, which columns they have, how long rows are kept, and whether inserts are
//! remembered.

pub(crate) mod columns;
pub(crate) mod created_views;
pub(crate) mod ddl;
pub(crate) mod deduplication;
pub(crate) mod difference;
pub(crate) mod layouts;
pub(crate) mod quoting;
pub(crate) mod retention;
pub(crate) mod views;
