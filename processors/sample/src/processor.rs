//! The processor: what it reads, and the stages that it makes.

use std::sync::Arc;

use weir_component::delivery::{LaneStart, TrunkStart};
use weir_component::{Context, LaneMessage, Processor, Stage, TrunkMessage};
use weir_pdata::{Demand, Signal, SignalSet};

use crate::columns::{ADJUSTED_COUNT, RANDOMNESS, THRESHOLD, TRACE_ID, TRACE_STATE};
use crate::config::Checked;
use crate::stage::{Plan, SampleStage};

/// Keeps a share of traces.
pub(crate) struct Sample {
    signals: SignalSet,
    plan: Arc<Plan>,
}

impl Sample {
    /// A processor with checked settings.
    pub(crate) fn new(checked: Checked, context: &Context) -> Sample {
        Sample { signals: checked.signals, plan: Arc::new(Plan::new(checked, context)) }
    }
}

impl Processor for Sample {
    fn demand(&self) -> Demand {
        let mut names = vec![TRACE_ID, ADJUSTED_COUNT];
        if self.signals.contains(Signal::Traces) {
            names.push(TRACE_STATE);
        }
        if self.signals.contains(Signal::Logs) {
            names.extend([THRESHOLD, RANDOMNESS]);
        }
        Demand::names(names)
    }

    fn signals(&self) -> SignalSet {
        self.signals
    }

    fn lane_stage(&self, _start: &LaneStart) -> Option<Box<dyn Stage<LaneMessage>>> {
        Some(Box::new(SampleStage::new(Arc::clone(&self.plan))))
    }

    fn trunk_stage(&self, _trunk: &TrunkStart) -> Option<Box<dyn Stage<TrunkMessage>>> {
        None
    }
}
