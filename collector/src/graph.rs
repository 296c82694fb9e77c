//! From a configuration to built components: the graph that `weir validate` checks and `weir run` starts.
//!
//! Receivers and exporters that several pipelines name are one instance; processors are one per pipeline.
//! Building does no I/O. All errors are reported at once.

mod health;
mod slips;

use std::collections::HashMap;
use std::path::Path;

use weir_component::factory::{BuiltExporter, Info};
use weir_component::{
    Context, DeadLetters, Extension, Health, HealthBoard, Notifications, Processor, Receiver, Registry,
    Settings, Storages, Telemetry, WindowSources,
};
use weir_config::{
    ComponentId, Diagnostic, Diagnostics, Document, Pipeline, PipelineSignal, Section, ServiceConfig,
    Severity, Topology, nearest,
};
use weir_pdata::{Demand, Signal, SignalSet};

use crate::graph::slips::slips;
use crate::traffic::Traffic;
use crate::undelivered::Undelivered;

/// The kinds of components, as messages and the status name them.
const RECEIVER: &str = "receiver";
const PROCESSOR: &str = "processor";
const EXPORTER: &str = "exporter";
const EXTENSION: &str = "extension";

/// The id of the storage in the dead letters' folder.
const UNDELIVERED: &str = "storage/undelivered";

/// Everything that a configuration describes, built and not started.
pub struct Graph {
    /// The receivers that pipelines use.
    pub receivers: Vec<BuiltReceiver>,
    /// The pipelines.
    pub pipelines: Vec<BuiltPipeline>,
    /// The exporters that pipelines use.
    pub exporters: Vec<(Context, BuiltExporter)>,
    /// The extensions that `service.extensions` names, in that order.
    pub extensions: Vec<(Context, Box<dyn Extension>)>,
    /// The `service` section.
    pub service: ServiceConfig,
    /// Where the metrics of all components are.
    pub telemetry: Telemetry,
    /// The status of all components.
    pub board: HealthBoard,
    /// Findings that are odd but not wrong.
    pub warnings: Diagnostics,
    /// Where the traffic of what runs is counted.
    pub(crate) traffic: Traffic,
}

/// A receiver, and which pipelines it feeds.
pub struct BuiltReceiver {
    /// Identity and services.
    pub context: Context,
    /// The receiver.
    pub receiver: Box<dyn Receiver>,
    /// Indexes into [`Graph::pipelines`].
    pub pipelines: Vec<usize>,
    /// The columns that those pipelines read.
    pub demand: Demand,
}

/// One chain.
pub struct BuiltPipeline {
    /// The pipeline's id.
    pub id: String,
    /// The signals that it accepts from receivers.
    pub accepts: SignalSet,
    /// The processors, in order.
    pub processors: Vec<(Context, Box<dyn Processor>)>,
    /// Indexes into [`Graph::exporters`].
    pub exporters: Vec<usize>,
    /// The columns that its processors and exporters read.
    pub demand: Demand,
}

/// Builds the graph of a configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub fn build(document: &Document, registry: &Registry) -> Result<Graph, Diagnostics> {
    // Sections are checked even when the wiring is wrong: one run shows all errors.
    let (topology, wiring) = Topology::examine(document);
    let telemetry = Telemetry::default();
    let letters = &topology.service.dead_letter;
    let dead_letters = DeadLetters::new(&letters.directory, letters.max_bytes.get(), telemetry.clone());
    let mut builder = Builder {
        document,
        registry,
        telemetry: telemetry.clone(),
        dead_letters,
        storages: Storages::default(),
        notifications: Notifications::default(),
        board: HealthBoard::default(),
        health: HashMap::new(),
        found: Diagnostics::new(),
    };

    // First, because the contexts of all others have the storages.
    let mut extensions = builder.extensions(&topology);

    let mut exporters = Vec::new();
    let mut exporter_index = HashMap::new();
    for section in &topology.exporters {
        let built = builder.exporter(section);
        let used = topology.pipelines.iter().any(|pipeline| names(&pipeline.exporters, &section.id));
        if let (Some(built), true) = (built, used) {
            exporter_index.insert(section.id.clone(), exporters.len());
            if built.helper.detached
                && built.helper.storage.is_none()
                && builder.storages.default_storage().is_none()
            {
                extensions.extend(builder.default_storage(&topology));
            }
            exporters.push((builder.context(EXPORTER, None, &section.id), built));
        }
    }
    let mut pipelines = Vec::new();
    for pipeline in &topology.pipelines {
        pipelines.push(builder.pipeline(pipeline, &topology, &exporter_index, &exporters));
    }
    for section in &topology.processors {
        // Processors that no pipeline names are checked too.
        if !topology.pipelines.iter().any(|pipeline| names(&pipeline.processors, &section.id)) {
            builder.processor(section, None);
        }
    }
    let mut receivers = Vec::new();
    for section in &topology.receivers {
        let Some(receiver) = builder.receiver(section) else { continue };
        let feeds: Vec<usize> = (0..pipelines.len())
            .filter(|index| names(&topology.pipelines[*index].receivers, &section.id))
            .collect();
        if feeds.is_empty() {
            continue;
        }
        let demand = feeds
            .iter()
            .fold(Demand::nothing(), |demand, index| demand.and(pipelines[*index].demand.clone()));
        let context = builder.context(RECEIVER, None, &section.id);
        receivers.push(BuiltReceiver { context, receiver, pipelines: feeds, demand });
    }
    if !builder.found.has_errors() {
        for (index, pipeline) in pipelines.iter().enumerate() {
            let mut feeding = receivers.iter().filter(|receiver| receiver.pipelines.contains(&index));
            let others = pipeline.accepts.contains(Signal::Windows)
                && feeding.any(|built| built.receiver.brings_windows());
            builder.check_windows(&topology, pipeline, others);
        }
    }
    let mut found = builder.found;
    if found.has_errors() || wiring.has_errors() {
        found.extend(wiring);
        return Err(found);
    }
    let (service, mut warnings) = (topology.service, topology.warnings);
    warnings.extend(found);
    let board = builder.board;
    let traffic = Traffic::new(service.telemetry.metrics.listen().is_some());
    let graph =
        Graph { receivers, pipelines, exporters, extensions, service, telemetry, board, warnings, traffic };
    graph.show_health();
    Ok(graph)
}

fn names(references: &[weir_config::Reference], id: &ComponentId) -> bool {
    references.iter().any(|reference| reference.id == *id)
}

struct Builder<'a> {
    document: &'a Document,
    registry: &'a Registry,
    telemetry: Telemetry,
    dead_letters: DeadLetters,
    storages: Storages,
    notifications: Notifications,
    board: HealthBoard,
    /// By kind and id; of processors, which are one per pipeline, also by the pipeline.
    health: HashMap<(&'static str, Option<String>, ComponentId), Health>,
    found: Diagnostics,
}

impl Builder<'_> {
    /// The same component has the same status in each of its contexts.
    fn context(&mut self, kind: &'static str, pipeline: Option<&str>, id: &ComponentId) -> Context {
        let context = Context::new(id.clone(), self.telemetry.clone(), self.dead_letters.clone());
        let key = (kind, pipeline.map(str::to_owned), id.clone());
        let health = self.health.entry(key).or_default().clone();
        Context {
            storages: self.storages.clone(),
            notifications: self.notifications.clone(),
            board: self.board.clone(),
            health,
            ..context
        }
    }

    /// Builds all extensions, so that those are checked too that are not started, and returns those that are.
    fn extensions(&mut self, topology: &Topology) -> Vec<(Context, Box<dyn Extension>)> {
        let mut built = HashMap::new();
        for section in &topology.extensions {
            let factories = self.registry.extensions;
            let Some(factory) = self.find(EXTENSION, section, factories, |factory| factory.info) else {
                continue;
            };
            if let Some(extension) = self.create(EXTENSION, None, section, factory.create) {
                built.insert(section.id.clone(), extension);
            }
        }
        let started: Vec<_> = topology
            .started_extensions
            .iter()
            .filter_map(|reference| {
                let extension = built.remove(&reference.id)?;
                Some((self.context(EXTENSION, None, &reference.id), extension))
            })
            .collect();
        let storages = started
            .iter()
            .filter_map(|(context, extension)| Some((context.id.clone(), extension.storage()?)))
            .collect();
        self.storages = Storages::new(storages);
        started
    }

    /// Where exporters that inputs must not wait for keep what waits, unless their `queue.storage` says
    /// something else: in the first storage that is started, or, when none is, in a folder of the dead
    /// letters. Returns the extension that must be started for that.
    fn default_storage(&mut self, topology: &Topology) -> Option<(Context, Box<dyn Extension>)> {
        let mut started = topology.started_extensions.iter();
        let found = started.find_map(|reference| self.storages.find(&reference.id).ok());
        let (storage, extension) = match found {
            Some(storage) => (storage, None),
            None => {
                let id: ComponentId = UNDELIVERED.parse().ok()?;
                let directory = Path::new(&topology.service.dead_letter.directory).join("undelivered");
                let context = self.context(EXTENSION, None, &id);
                let extension = Undelivered::new(directory, context.clone());
                (extension.storage()?, Some((context, Box::new(extension) as Box<dyn Extension>)))
            }
        };
        self.storages = std::mem::take(&mut self.storages).with_default(storage);
        extension
    }

    fn receiver(&mut self, section: &Section) -> Option<Box<dyn Receiver>> {
        let factories = self.registry.receivers;
        let factory = self.find(RECEIVER, section, factories, |factory| factory.info)?;
        self.create(RECEIVER, None, section, factory.create)
    }

    fn processor(&mut self, section: &Section, pipeline: Option<&str>) -> Option<Box<dyn Processor>> {
        let factories = self.registry.processors;
        let factory = self.find(PROCESSOR, section, factories, |factory| factory.info)?;
        self.create(PROCESSOR, pipeline, section, factory.create)
    }

    fn exporter(&mut self, section: &Section) -> Option<BuiltExporter> {
        let factories = self.registry.exporters;
        let factory = self.find(EXPORTER, section, factories, |factory| factory.info)?;
        let built: BuiltExporter = self.create(EXPORTER, None, section, factory.create)?;
        if let Some(storage) = &built.helper.storage
            && let Err(why) = self.storages.find(storage)
        {
            self.found.push(self.document.error_at(section, "queue.storage", why));
        }
        Some(built)
    }

    fn pipeline(
        &mut self,
        pipeline: &Pipeline,
        topology: &Topology,
        exporter_index: &HashMap<ComponentId, usize>,
        exporters: &[(Context, BuiltExporter)],
    ) -> BuiltPipeline {
        let first_use = |id: &ComponentId| {
            topology
                .pipelines
                .iter()
                .find(|pipeline| names(&pipeline.processors, id))
                .is_some_and(|first| first.id == pipeline.id)
        };
        let name = pipeline.id.to_string();
        let mut processors = Vec::new();
        for reference in &pipeline.processors {
            let Some(section) = topology.processors.iter().find(|section| section.id == reference.id) else {
                continue;
            };
            let reported = self.found.clone();
            if let Some(processor) = self.processor(section, Some(&name)) {
                if first_use(&section.id) {
                    slips(self.document, section, &processor.demand(), &mut self.found);
                }
                processors.push((self.context(PROCESSOR, Some(&name), &section.id), processor));
            } else if !first_use(&section.id) {
                // The errors of a section are reported once, not once per pipeline.
                self.found = reported;
            }
        }
        let used: Vec<usize> = pipeline
            .exporters
            .iter()
            .filter_map(|reference| exporter_index.get(&reference.id).copied())
            .collect();
        let reads = processors
            .iter()
            .map(|(_, processor)| processor.demand())
            .chain(used.iter().map(|index| exporters[*index].1.exporter.demand()));
        BuiltPipeline {
            id: name,
            accepts: accepted(pipeline.id.signal()),
            demand: reads.fold(Demand::nothing(), Demand::and),
            processors,
            exporters: used,
        }
    }

    /// Checks the names that processors read of windows. `others`: windows that receivers bring
    /// reach them, too.
    fn check_windows(&mut self, topology: &Topology, pipeline: &BuiltPipeline, others: bool) {
        let mut sources = WindowSources { operators: Vec::new(), others };
        for (context, processor) in &pipeline.processors {
            let section = topology.processors.iter().find(|section| section.id == context.id);
            for problem in section.iter().flat_map(|_| processor.check_windows(&sources)) {
                let Some(section) = section else { continue };
                let mut found = self.document.error_at(section, &problem.key, problem.message);
                if !problem.certain {
                    found.severity = Severity::Warning;
                }
                // A processor of several pipelines says it once.
                if !self.found.iter().any(|known| *known == found) {
                    self.found.push(found);
                }
            }
            sources.operators.extend(processor.emitted_windows());
        }
    }

    /// The factory for a section's type; an error with the nearest type when there is none.
    fn find<'f, F>(
        &mut self,
        what: &str,
        section: &Section,
        factories: &'f [F],
        info: fn(&F) -> Info,
    ) -> Option<&'f F> {
        let kind = section.id.kind();
        let factory = factories.iter().find(|factory| info(factory).kind == kind);
        if factory.is_none() {
            let kinds: Vec<_> = factories.iter().map(|factory| info(factory).kind).collect();
            let mut error = Diagnostic::error(format!("unknown {what} type `{kind}`"));
            if let Some(near) = nearest(kind, kinds.iter().copied()) {
                error = error.with_label(format!("did you mean `{near}`?"));
            }
            let error = error.with_help(format!("{what} types: {}", kinds.join(", ")));
            self.found.push(self.document.at(section.key_span, &section.path, error));
        }
        factory
    }

    fn create<T>(
        &mut self,
        kind: &'static str,
        pipeline: Option<&str>,
        section: &Section,
        create: fn(Settings<'_>, Context) -> Result<T, Diagnostics>,
    ) -> Option<T> {
        let context = self.context(kind, pipeline, &section.id);
        match create(Settings::new(self.document, section), context) {
            Ok(built) => Some(built),
            Err(errors) => {
                self.found.extend(errors);
                None
            }
        }
    }
}

fn accepted(signal: PipelineSignal) -> SignalSet {
    match signal {
        PipelineSignal::Any => SignalSet::ALL,
        PipelineSignal::Traces => SignalSet::of(&[Signal::Traces]),
        PipelineSignal::Logs => SignalSet::of(&[Signal::Logs]),
        PipelineSignal::Metrics => SignalSet::of(&[Signal::Metrics]),
    }
}
