//! The processor: what it reads, and the halves that it makes.

use std::sync::Arc;

use weir_component::delivery::{LaneStart, TrunkStart};
use weir_component::{
    Alignment, Context, LaneMessage, Processor, Settings, Stage, TrunkMessage, WindowSchema,
};
use weir_config::Diagnostics;
use weir_pdata::{Demand, SignalSet};

use crate::config;
use crate::lane::LaneHalf;
use crate::operator::Operator;
use crate::output_schema::{RESERVED, layout};
use crate::trunk::TrunkHalf;
use crate::window::Windows;

/// Windows of one configuration.
struct Aggregate(Arc<Operator>);

/// Reads and checks the settings.
pub(crate) fn create(settings: Settings<'_>, context: Context) -> Result<Box<dyn Processor>, Diagnostics> {
    Ok(Box::new(Aggregate(Arc::new(config::read(settings, context)?))))
}

impl Processor for Aggregate {
    fn demand(&self) -> Demand {
        let operator = &self.0;
        let mut names = vec![operator.time.clone()];
        for column in ["duration_ns", "status"] {
            if operator.signals.iter().any(|signal| weir_pdata::schema::is_fixed(*signal, column)) {
                names.push(column.to_owned());
            }
        }
        // For a warning: whose clock is ahead.
        names.extend(["service", "service_instance"].map(str::to_owned));
        names.extend(operator.group_by.iter().cloned());
        names.extend(operator.condition.iter().flat_map(|expr| expr.names().iter().cloned()));
        names.extend(operator.success.iter().flat_map(|expr| expr.names().iter().cloned()));
        names.extend(operator.weight.iter().flat_map(|expr| expr.names().iter().cloned()));
        names.extend(operator.measures.iter().flat_map(|(_, measure)| measure.names()));
        // Windows of the time of arrival have the gateway's clock.
        let arrivals = !matches!(operator.window, Windows::Processing(_));
        Demand { arrivals, ..Demand::names(names) }
    }

    fn signals(&self) -> SignalSet {
        SignalSet::of(&self.0.signals)
    }

    fn lane_stage(&self, start: &LaneStart) -> Option<Box<dyn Stage<LaneMessage>>> {
        Some(Box::new(LaneHalf::new(self.0.clone(), start)))
    }

    fn trunk_stage(&self, trunk: &TrunkStart) -> Option<Box<dyn Stage<TrunkMessage>>> {
        Some(Box::new(TrunkHalf::new(self.0.clone(), trunk.clone())))
    }

    fn emitted_windows(&self) -> Option<WindowSchema> {
        let Operator { id, group_by, measures, .. } = &*self.0;
        let layout = layout(group_by, measures);
        let columns = layout.fields().iter().map(|field| field.name().as_str()).chain(RESERVED);
        let columns = columns.map(str::to_owned).collect();
        // Windows of a part of the input have their shard for a label.
        let labels = group_by.iter().map(String::as_str).chain(["shard"]).map(str::to_owned).collect();
        Some(WindowSchema { operator: id.clone(), labels, columns })
    }

    fn alignment(&self) -> Option<Arc<Alignment>> {
        self.0.alignment.clone()
    }
}
