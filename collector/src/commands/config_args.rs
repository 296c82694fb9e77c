//! The options that name a configuration, for every command that reads one.

use std::path::PathBuf;

use clap::Args;
use weir_config::Document;

use crate::program::rejected;

/// Where the configuration comes from.
#[derive(Args)]
pub(crate) struct ConfigArgs {
    /// A configuration file; several are merged in order
    #[arg(short, long = "config", required = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Set one value, after all files: `exporters.clickhouse.database=weir`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigArgs {
    /// Loads the configuration; prints what is wrong with it.
    pub(crate) fn load(&self) -> anyhow::Result<Document> {
        Document::files(&self.config, &self.set).map_err(|errors| rejected(&errors))
    }
}
