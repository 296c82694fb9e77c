//! The processor: what it reads, and the halves that it makes.

use std::sync::Arc;

use weir_component::delivery::{LaneStart, TrunkStart};
use weir_component::{Context, LaneMessage, Processor, Settings, Stage, TrunkMessage};
use weir_config::Diagnostics;
use weir_pdata::Demand;
use weir_pdata::expr::Expr;

use crate::config;
use crate::lane::LaneHalf;
use crate::operator::Operator;
use crate::trunk::TrunkHalf;

/// The sequence of one configuration.
struct Pattern(Arc<Operator>);

/// Reads and checks the settings.
pub(crate) fn create(settings: Settings<'_>, context: Context) -> Result<Box<dyn Processor>, Diagnostics> {
    Ok(Box::new(Pattern(Arc::new(config::read(settings, context)?))))
}

impl Processor for Pattern {
    /// Windows and alarms are made with all their columns: only of events are columns asked for.
    fn demand(&self) -> Demand {
        if self.0.reads_derived() {
            return Demand::nothing();
        }
        let condition = self.0.condition.iter().flat_map(Expr::names);
        // For a warning: whose clock is ahead.
        let clocks = ["service", "service_instance"];
        let names = self.0.columns().chain(condition.map(String::as_str)).chain(clocks);
        Demand { arrivals: true, ..Demand::names(names) }
    }

    fn lane_stage(&self, start: &LaneStart) -> Option<Box<dyn Stage<LaneMessage>>> {
        Some(Box::new(LaneHalf::new(self.0.clone(), start)))
    }

    fn trunk_stage(&self, trunk: &TrunkStart) -> Option<Box<dyn Stage<TrunkMessage>>> {
        Some(Box::new(TrunkHalf::new(self.0.clone(), trunk)))
    }
}
