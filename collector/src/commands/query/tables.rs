//! The tables: one per signal, over all its files.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::datasource::MemTable;
use datafusion::datasource::TableProvider;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::prelude::SessionContext;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use weir_pdata::{Signal, schema};

/// The tables over one directory.
pub(super) struct Tables(Vec<Table>);

/// One signal's table.
struct Table {
    signal: Signal,
    /// `None` where there is no file.
    folder: Option<PathBuf>,
    schema: SchemaRef,
}

/// The names of a signal's table, the main one first.
fn names(signal: Signal) -> &'static [&'static str] {
    match signal {
        Signal::Traces => &["traces", "events"],
        Signal::Logs => &["logs"],
        Signal::Metrics => &["metrics"],
        Signal::Windows => &["windows", "window_results"],
        Signal::Alarms => &["alarms"],
    }
}

impl Tables {
    /// Finds the files and columns of the tables that `sql` may speak of. The others have their fixed columns
    /// only.
    ///
    /// # Errors
    /// A file that is not Parquet or cannot be read.
    pub(super) fn find(directory: &Path, sql: &str) -> anyhow::Result<Tables> {
        let sql = sql.to_lowercase();
        let mentions = |name: &&str| sql.contains(*name);
        let all = ["information_schema", "show "].iter().any(mentions);
        let table = |signal: Signal| {
            let folder = directory.join(signal.name());
            let files =
                if all || names(signal).iter().any(mentions) { parquet_files(&folder) } else { Vec::new() };
            let schema = merged_schema(signal, &files)?;
            Ok(Table { signal, folder: (!files.is_empty()).then_some(folder), schema })
        };
        Signal::ALL.into_iter().map(table).collect::<anyhow::Result<_>>().map(Tables)
    }

    /// Makes the tables known to SQL.
    pub(super) fn register(&self, context: &SessionContext) -> anyhow::Result<()> {
        for table in &self.0 {
            let provider = table.provider()?;
            for name in names(table.signal) {
                context.register_table(*name, provider.clone())?;
            }
        }
        Ok(())
    }

    /// The names of all tables.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().flat_map(|table| names(table.signal)).copied()
    }

    /// Whether any table has this column.
    pub(super) fn has_column(&self, name: &str) -> bool {
        self.0.iter().any(|table| table.schema.column_with_name(name).is_some())
    }
}

impl Table {
    fn provider(&self) -> anyhow::Result<Arc<dyn TableProvider>> {
        let Some(folder) = &self.folder else {
            return Ok(Arc::new(MemTable::try_new(self.schema.clone(), vec![vec![]])?));
        };
        let folder = folder.canonicalize().with_context(|| format!("cannot open {}", folder.display()))?;
        let url = format!("{}/", folder.display());
        let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
        let config = ListingTableConfig::new(ListingTableUrl::parse(url)?)
            .with_listing_options(options)
            .with_schema(self.schema.clone());
        Ok(Arc::new(ListingTable::try_new(config)?))
    }
}

/// Every Parquet file below a folder, by name.
fn parquet_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The fixed columns in their order, then all other columns of the files by name. A column that has different
/// types in different files is text.
fn merged_schema(signal: Signal, files: &[PathBuf]) -> anyhow::Result<SchemaRef> {
    // Files have these in other columns.
    let elsewhere = [schema::RESOURCE, schema::SCOPE, schema::METADATA, schema::BODY_VALUE];
    let fixed = schema::fixed(signal).iter().filter(|field| !elsewhere.contains(&field.name().as_str()));
    let mut fields: Vec<Field> =
        fixed.map(|field| Field::new(field.name(), queried_type(field.data_type()), true)).collect();
    let known: HashSet<String> = fields.iter().map(|field| field.name().clone()).collect();
    let mut others: BTreeMap<String, DataType> = BTreeMap::new();
    for path in files {
        for field in file_fields(path)?.iter().filter(|field| !known.contains(field.name())) {
            let found = queried_type(field.data_type());
            let merged = others.entry(field.name().clone()).or_insert_with(|| found.clone());
            if *merged != found {
                *merged = DataType::Utf8View;
            }
        }
    }
    if files.is_empty() && signal == Signal::Windows {
        fields.extend(default_columns());
    }
    fields.extend(others.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)));
    Ok(Arc::new(Schema::new(fields)))
}

fn file_fields(path: &Path) -> anyhow::Result<Fields> {
    let read = || -> anyhow::Result<Fields> {
        let metadata = ArrowReaderMetadata::load(&File::open(path)?, ArrowReaderOptions::new())?;
        Ok(metadata.schema().fields().clone())
    };
    read().map_err(|error| {
        anyhow!("cannot read {}: {error}; move the file away to query the others", path.display())
    })
}

/// The columns that `aggregate` writes by default, so that a query before the first window gives no rows
/// instead of an error.
fn default_columns() -> impl Iterator<Item = Field> {
    let groups = ["service", "operation"].map(|name| Field::new(name, DataType::Utf8View, true));
    groups.into_iter().chain(weir_processor_aggregate::default_measures())
}

/// Text of every kind is one type, and nested columns are what the exporter makes of them.
fn queried_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8View,
        DataType::Dictionary(_, values) => queried_type(values),
        list if *list == schema::attribute_list() => schema::string_map(),
        DataType::List(item) if item.data_type().is_nested() => DataType::Utf8View,
        other => other.clone(),
    }
}
