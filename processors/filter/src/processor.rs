//! The processor: what it reads, and the stages that it makes.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_component::delivery::{LaneStart, TrunkStart};
use weir_component::{Context, LaneMessage, Processor, Stage, TrunkMessage, WindowProblem, WindowSources};
use weir_pdata::{Demand, Signal, SignalSet};

use crate::config::Checked;
use crate::stage::{FilterStage, Plan};

/// Keeps or drops rows.
pub(crate) struct Filter(Arc<Plan>);

impl Filter {
    /// A processor with checked settings.
    pub(crate) fn new(checked: Checked, context: &Context) -> Filter {
        Filter(Arc::new(Plan::new(checked, context)))
    }
}

/// Windows and alarms are made with all their columns: only of events are columns asked for.
const EVENTS: SignalSet = SignalSet::of(&[Signal::Traces, Signal::Logs, Signal::Metrics]);

impl Processor for Filter {
    fn demand(&self) -> Demand {
        let events = self.0.conditions().filter(|(signal, _)| EVENTS.contains(*signal));
        Demand::names(events.flat_map(|(_, conditions)| conditions.all().flat_map(|one| one.names().clone())))
    }

    fn signals(&self) -> SignalSet {
        self.0.conditions().fold(SignalSet::NONE, |all, (signal, _)| all.or(SignalSet::of(&[signal])))
    }

    fn lane_stage(&self, _start: &LaneStart) -> Option<Box<dyn Stage<LaneMessage>>> {
        Some(Box::new(FilterStage(Arc::clone(&self.0))))
    }

    fn trunk_stage(&self, _trunk: &TrunkStart) -> Option<Box<dyn Stage<TrunkMessage>>> {
        let derived = self.0.conditions().any(|(signal, _)| !EVENTS.contains(signal));
        derived.then(|| Box::new(FilterStage(Arc::clone(&self.0))) as Box<dyn Stage<TrunkMessage>>)
    }

    fn check_windows(&self, sources: &WindowSources) -> Vec<WindowProblem> {
        let mut found = Vec::new();
        let windows = self.0.conditions().filter(|(signal, _)| *signal == Signal::Windows);
        for (_, conditions) in windows {
            for (word, all) in [("keep", &conditions.keep), ("drop", &conditions.drop)] {
                for (at, condition) in all.iter().enumerate() {
                    let key = format!("windows.{word}[{at}]");
                    let names: &BTreeSet<String> = condition.names();
                    found.extend(names.iter().filter_map(|name| sources.check_column(&key, name, |_| true)));
                }
            }
        }
        found
    }
}
