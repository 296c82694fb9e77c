//! The status of the parts of a graph.

use weir_component::Context;
use weir_component::health::HealthGroup;

use super::{EXPORTER, EXTENSION, Graph, PROCESSOR, RECEIVER};

impl Graph {
    /// Puts the status of what runs on the board.
    pub(super) fn show_health(&self) {
        let named =
            |kind: &str, context: &Context| (format!("{kind}:{}", context.id), context.health.clone());
        let extensions = self.extensions.iter().map(|(context, _)| named(EXTENSION, context)).collect();
        let mut groups = vec![HealthGroup { name: "extensions".to_owned(), components: extensions }];
        for (at, pipeline) in self.pipelines.iter().enumerate() {
            let receivers = self.receivers.iter().filter(|built| built.pipelines.contains(&at));
            let exporters = pipeline.exporters.iter().filter_map(|at| self.exporters.get(*at));
            let components = receivers
                .map(|built| named(RECEIVER, &built.context))
                .chain(pipeline.processors.iter().map(|(context, _)| named(PROCESSOR, context)))
                .chain(exporters.map(|(context, _)| named(EXPORTER, context)))
                .collect();
            groups.push(HealthGroup { name: format!("pipeline:{}", pipeline.id), components });
        }
        self.board.show(groups);
    }
}
