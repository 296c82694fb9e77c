//! `weir clickhouse ddl`: the statements that create tables and views.

use std::io::Write;

use anyhow::bail;
use clap::{Args, Subcommand};
use weir_component::Settings;
use weir_config::{ComponentId, Document, Topology};

use crate::commands::config_args::ConfigArgs;
use crate::program::rejected;

/// `weir clickhouse`.
#[derive(Subcommand)]
pub(crate) enum ClickHouseCommand {
    /// Print the statements that create the database, the tables and the views of a configuration
    #[command(
        after_help = "Nothing is run. With create_schema: false or check, run them yourself:\n  weir clickhouse ddl --config gateway.yaml | clickhouse-client --multiquery"
    )]
    Ddl(DdlArgs),
}

/// The arguments of `weir clickhouse ddl`.
#[derive(Args)]
pub(crate) struct DdlArgs {
    /// Only this exporter: its id below `exporters`
    name: Option<ComponentId>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Prints the statements of the exporters of type `clickhouse`.
///
/// # Errors
/// When the configuration is wrong, or has no such exporter.
pub(crate) fn ddl(args: &DdlArgs, document: &Document, out: &mut impl Write) -> anyhow::Result<()> {
    let topology = Topology::read(document).map_err(|errors| rejected(&errors))?;
    let mut printed = false;
    for node in &topology.exporters {
        let wanted = args.name.as_ref().is_none_or(|name| *name == node.id);
        if !wanted || node.id.kind() != "clickhouse" {
            continue;
        }
        let statements = weir_exporter_clickhouse::statements(Settings::new(document, node));
        writeln!(out, "-- exporter {}", node.id)?;
        for statement in statements.map_err(|errors| rejected(&errors))? {
            // Servers before 24 would make a column for each element of an array of named tuples.
            let nested = statement.contains("Array(Tuple(");
            let settings = if nested { "SET flatten_nested = 0;\n" } else { "" };
            writeln!(out, "{settings}{statement};\n")?;
        }
        printed = true;
    }
    if !printed {
        bail!("the configuration has no such exporter of type `clickhouse`");
    }
    Ok(())
}
