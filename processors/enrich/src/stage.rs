//! The half that runs on a lane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringViewArray};
use arrow::datatypes::{Field, FieldRef, Schema};
use arrow::error::ArrowError;
use prometheus_client::metrics::counter::Counter;
use weir_component::telemetry::{Metric, MetricKind};
use weir_component::{Context, LaneMessage, LogLimit, Outlet, Stage};
use weir_pdata::attributes::without_originals;
use weir_pdata::text::TextColumn;
use weir_pdata::{Signal, SignalSet, schema};

use crate::business::Business;
use crate::cast::{CastType, as_text, cast_column};
use crate::config::Config;
use crate::constants::{Constants, attribute_key, below};
use crate::entries::{AddedEntry, Changes, change, rows_with};
use crate::instances::table::{FORGOTTEN, InstanceTable, KNOWN};

const UNCAST: Metric = Metric {
    name: "weir_enrich_uncast_values",
    help: "Attribute values that do not fit the type that they should be cast to; they stay text, in `attributes`.",
    kind: MetricKind::Counter,
    labels: &["processor", "attribute"],
};

/// The declarations, for the reference.
pub(crate) const METRICS: &[Metric] = &[UNCAST, KNOWN, FORGOTTEN];

/// The signals that it enriches.
pub(crate) const READS: SignalSet = SignalSet::of(&[Signal::Traces, Signal::Logs, Signal::Metrics]);

/// The work of the stages, shared by all lanes.
pub(crate) struct Plan {
    drop: Vec<String>,
    rename: BTreeMap<String, String>,
    types: Vec<(String, CastType, Counter)>,
    business: Option<Business>,
    /// All columns that are read.
    names: BTreeSet<String>,
    context: Context,
    log: LogLimit,
}

impl Plan {
    /// The settings.
    pub(crate) fn new(config: &Config, context: Context) -> Plan {
        let id = context.id.to_string();
        let counter = |name: &str| context.telemetry.counter(&UNCAST, &[&id, name]);
        let renamed = config.rename.iter().flat_map(|(old, new)| [old, new]);
        let names = config.drop.iter().chain(renamed).chain(config.types.keys()).cloned().collect();
        Plan {
            drop: config.drop.clone(),
            rename: config.rename.clone(),
            types: config.types.iter().map(|(name, to)| (name.clone(), *to, counter(name))).collect(),
            business: config.business.clone(),
            names,
            context,
            log: LogLimit::every_ms(10_000),
        }
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.drop.is_empty() && self.rename.is_empty() && self.types.is_empty() && self.business.is_none()
    }

    /// The columns that are read.
    pub(crate) fn names(&self) -> Vec<String> {
        let business = self.business.iter().flat_map(Business::names);
        self.names.iter().cloned().chain(business.map(str::to_owned)).collect()
    }
}

/// Enriches the batches of one lane.
pub(crate) struct EnrichStage {
    plan: Arc<Plan>,
    constants: Constants,
    instances: Option<Arc<InstanceTable>>,
    /// The changes to the `attributes` list, by attribute key.
    changes: Changes,
}

impl EnrichStage {
    /// A stage that does what `plan` says, and adds what is known of `instances`, and `constants`.
    pub(crate) fn new(
        plan: Arc<Plan>,
        constants: Constants,
        instances: Option<Arc<InstanceTable>>,
    ) -> EnrichStage {
        let key = |name: &str| attribute_key(name).to_owned();
        let changes = Changes {
            removed: plan.drop.iter().map(String::as_str).chain(constants.replaced()).map(key).collect(),
            renamed: plan.rename.iter().map(|(old, new)| (key(old), key(new))).collect(),
        };
        EnrichStage { plan, constants, instances, changes }
    }

    fn enrich(&mut self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let named = |name: &str| self.plan.names.contains(name);
        let mut columns = Columns::of(&without_originals(batch, named));
        columns.columns.retain(|(field, _)| !self.plan.drop.contains(field.name()));
        let mut added = columns.rename(&self.plan.rename)?;
        self.cast(&mut columns, &mut added);
        added.sort_by_key(|one| one.row);
        columns.change_lists(&self.changes, &added)?;
        if let Some(business) = &self.plan.business {
            for (field, array) in business.columns_of(|name| columns.get(name))? {
                columns.put_below(field, &array)?;
            }
        }
        if let Some(instances) = &self.instances {
            for (field, array) in instances.columns_of(batch)? {
                columns.put_below(field, &array)?;
            }
        }
        let overwrite = self.constants.overwrite();
        for (field, array) in self.constants.columns(batch.num_rows())? {
            if overwrite {
                columns.put(field, array);
            } else {
                columns.put_below(field, &array)?;
            }
        }
        columns.finish(batch.num_rows())
    }

    /// Casts the columns that are there. Adds what did not fit.
    fn cast(&self, columns: &mut Columns, added: &mut Vec<AddedEntry>) {
        for (name, to, counter) in &self.plan.types {
            let Some((field, array)) = columns.get_mut(name) else { continue };
            let Some(cast) = cast_column(array, *to) else { continue };
            *field = Arc::new(Field::clone(field).with_data_type(to.data_type()).with_nullable(true));
            *array = cast.array;
            if cast.misfits.is_empty() {
                continue;
            }
            counter.inc_by(cast.misfits.len() as u64);
            if let Some(suppressed) = self.plan.log.allow(self.plan.context.clock.now_ms()) {
                let (processor, values) = (self.plan.context.id.to_string(), cast.misfits.len());
                tracing::warn!(processor, attribute = name, to = ?to.data_type(), values, suppressed, "values do not fit their type; they stay text in `attributes`");
            }
            let key = attribute_key(name);
            added.extend(cast.misfits.into_iter().map(|(row, value)| AddedEntry {
                row,
                key: key.to_owned(),
                value,
            }));
        }
    }
}

impl Stage<LaneMessage> for EnrichStage {
    fn handle(&mut self, message: LaneMessage, out: &mut Outlet) {
        let message = match message {
            LaneMessage::Batch(batch) if READS.contains(batch.signal) => {
                let Some(columns) = batch.as_columns() else {
                    return out.forward(LaneMessage::Batch(batch));
                };
                if let (Some(instances), Signal::Logs) = (&self.instances, batch.signal) {
                    instances.learn(columns, self.plan.context.clock.now_ms());
                }
                LaneMessage::Batch(match self.enrich(columns) {
                    Ok(columns) => batch.with_columns(columns),
                    // Columns that do not fit together would be a mistake in this crate. Lose nothing, say
                    // so.
                    Err(error) => {
                        let now = self.plan.context.clock.now_ms();
                        if let Some(suppressed) = self.plan.log.allow(now) {
                            let processor = self.plan.context.id.to_string();
                            tracing::error!(processor, %error, suppressed, "a batch goes on as it was: this is a mistake in Weir, please report it");
                        }
                        batch
                    }
                })
            }
            other => other,
        };
        out.forward(message);
    }
}

/// The columns of a batch while they change.
struct Columns {
    columns: Vec<(FieldRef, ArrayRef)>,
}

impl Columns {
    fn of(batch: &RecordBatch) -> Columns {
        let fields = batch.schema_ref().fields().iter().cloned();
        Columns { columns: fields.zip(batch.columns().iter().cloned()).collect() }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(field, _)| field.name() == name)
    }

    fn get(&self, name: &str) -> Option<&ArrayRef> {
        self.columns.iter().find(|(field, _)| field.name() == name).map(|(_, array)| array)
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut (FieldRef, ArrayRef)> {
        self.columns.iter_mut().find(|(field, _)| field.name() == name)
    }

    /// Puts a column in the place of the one with its name, else at the end.
    fn put(&mut self, field: FieldRef, array: ArrayRef) {
        match self.position(field.name()) {
            Some(at) => self.columns[at] = (field, array),
            None => self.columns.push((field, array)),
        }
    }

    /// Puts a constant or joined column below what the events bring under its name, in their column or their
    /// lists.
    fn put_below(&mut self, field: FieldRef, constant: &ArrayRef) -> Result<(), ArrowError> {
        let lists = self.position(schema::ATTRIBUTES).map(|at| &self.columns[at].1);
        let listed = lists.and_then(|lists| rows_with(lists, attribute_key(field.name())));
        let own = self.position(field.name());
        let own_array = own.map(|at| &self.columns[at].1);
        let Some(array) = below(constant, own_array, listed.as_deref())? else { return Ok(()) };
        match own {
            Some(at) if array.data_type() != constant.data_type() => {
                // The events' own column, with the rows filled that had nothing.
                let old = &self.columns[at].0;
                let field = Field::clone(old).with_data_type(array.data_type().clone()).with_nullable(true);
                self.columns[at] = (Arc::new(field), array);
            }
            _ => self.put(field, array),
        }
        Ok(())
    }

    /// Renames all at once, so that two columns can swap their names. Where a row has a value under both
    /// names, that of the renamed column stays in the column; the other is returned, for the list.
    fn rename(&mut self, names: &BTreeMap<String, String>) -> Result<Vec<AddedEntry>, ArrowError> {
        let (mut taken, mut second) = (Vec::new(), Vec::new());
        for (old, new) in names {
            if let Some(at) = self.position(old) {
                let (field, array) = self.columns.remove(at);
                taken.push((field, array, new));
            }
        }
        for (field, array, new) in taken {
            let level = field.metadata().get(schema::ATTRIBUTE_LEVEL).map_or("span", |level| level);
            let metadata = schema::attribute_metadata(level, attribute_key(new));
            let array = match self.position(new) {
                Some(at) => merge(&array, &self.columns[at].1, attribute_key(new), &mut second)?,
                None => array,
            };
            let field = Field::clone(&field).with_name(new).with_metadata(metadata);
            let field = field.with_data_type(array.data_type().clone()).with_nullable(true);
            self.put(Arc::new(field), array);
        }
        Ok(second)
    }

    fn change_lists(&mut self, changes: &Changes, added: &[AddedEntry]) -> Result<(), ArrowError> {
        if let Some((field, array)) = self.get_mut(schema::ATTRIBUTES)
            && let Some(changed) = change(array, changes, added)?
        {
            *field =
                Arc::new(Field::clone(field).with_data_type(changed.data_type().clone()).with_nullable(true));
            *array = changed;
        }
        Ok(())
    }

    fn finish(self, rows: usize) -> Result<RecordBatch, ArrowError> {
        let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = self.columns.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
    }
}

/// The values of `one`, and those of `other` where `one` has none. Where both have one, the other's goes to
/// `second`.
fn merge(
    one: &ArrayRef,
    other: &ArrayRef,
    key: &str,
    second: &mut Vec<AddedEntry>,
) -> Result<ArrayRef, ArrowError> {
    if other.logical_null_count() == other.len() {
        return Ok(Arc::clone(one));
    }
    if one.logical_null_count() == one.len() {
        return Ok(Arc::clone(other));
    }
    let (one, other) = (as_text(one)?, as_text(other)?);
    let (Some(first), Some(others)) = (TextColumn::new(&one), TextColumn::new(&other)) else {
        return Ok(one);
    };
    for row in (0..one.len()).filter(|row| first.get(*row).is_some()) {
        second.extend(others.get(row).map(|value| AddedEntry {
            row,
            key: key.to_owned(),
            value: value.to_owned(),
        }));
    }
    let values = (0..one.len()).map(|row| first.get(row).or_else(|| others.get(row)));
    Ok(Arc::new(values.collect::<StringViewArray>()))
}
