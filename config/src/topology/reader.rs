//! Reads the top level of a document, and checks that its parts fit together.

use super::{Pipeline, PipelineId, Reference, Topology};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::document::Document;
use crate::section::Section;
use crate::service::{DeadLetter, Memory, ServiceConfig, Telemetry};
use crate::suggest::nearest;
use crate::tree::node::{Entry, Node};
use crate::tree::source::Span;
use crate::values::component_id::ComponentId;
use crate::values::duration::Duration;

/// Keys allowed at the top.
const TOP: [&str; 5] = ["receivers", "processors", "exporters", "extensions", "service"];
/// Keys allowed in `service`.
const SERVICE: [&str; 6] =
    ["extensions", "pipelines", "telemetry", "shutdown_timeout", "dead_letter", "memory"];
/// Keys allowed in a pipeline.
const PIPELINE: [&str; 3] = ["receivers", "processors", "exporters"];

impl Topology {
    /// Reads the top level of a document and checks that everything fits together. What is inside the
    /// sections is left to the components.
    ///
    /// # Errors
    /// Unknown keys, ids that are none, references to components that are not configured, pipelines without
    /// receivers or exporters, repeats, wrong service settings, no pipeline at all: all of them at once, with
    /// the warnings.
    pub fn read(document: &Document) -> Result<Self, Diagnostics> {
        let (topology, found) = Self::examine(document);
        if found.has_errors() { Err(found) } else { Ok(topology) }
    }

    /// As [`read`](Self::read), and with errors too what could be read: the sections can be checked
    /// nevertheless, so that all errors of a configuration are found in one run. References may then name
    /// what is not there.
    #[must_use]
    pub fn examine(document: &Document) -> (Self, Diagnostics) {
        let mut reader = Reader { document, found: Diagnostics::new() };
        let root = document.root();
        reader.unknown_keys(root, "", &TOP);
        let [receivers, processors, exporters, extensions] =
            [TOP[0], TOP[1], TOP[2], TOP[3]].map(|key| reader.sections(root.get(key), key));
        let mut pipelines = Vec::new();
        let mut started_extensions = Vec::new();
        let mut service = ServiceConfig::default();
        match root.entry("service") {
            None => reader.found.push(
                Diagnostic::error("there is no `service` section")
                    .with_help("add `service: {pipelines: {main: {receivers: [...], exporters: [...]}}}`"),
            ),
            Some(entry) => {
                let node = &entry.value;
                if reader.is_map(node, "service") {
                    reader.unknown_keys(node, "service", &SERVICE);
                }
                service = reader.settings(node);
                started_extensions =
                    reader.references(node.get("extensions"), "service.extensions", &extensions, "extension");
                pipelines = reader.pipelines(entry, &receivers, &processors, &exporters);
            }
        }
        // With errors around, what is unused is mostly a consequence of them.
        if !reader.found.has_errors() {
            let used =
                |pick: fn(&Pipeline) -> &Vec<Reference>| pipelines.iter().flat_map(pick).collect::<Vec<_>>();
            reader.unused(&receivers, &used(|pipeline| &pipeline.receivers), "receiver", "pipeline");
            reader.unused(&processors, &used(|pipeline| &pipeline.processors), "processor", "pipeline");
            reader.unused(&exporters, &used(|pipeline| &pipeline.exporters), "exporter", "pipeline");
            reader.unused(
                &extensions,
                &started_extensions.iter().collect::<Vec<_>>(),
                "extension",
                "`service.extensions`",
            );
        }
        let mut warnings = reader.found;
        warnings.sort();
        warnings.locate(document.sources());
        let topology = Self {
            receivers,
            processors,
            exporters,
            extensions,
            pipelines,
            started_extensions,
            service,
            warnings: warnings.clone(),
        };
        (topology, warnings)
    }
}

/// Collects errors while the parts are read.
struct Reader<'a> {
    document: &'a Document,
    found: Diagnostics,
}

impl Reader<'_> {
    fn push(&mut self, span: Span, path: &str, diagnostic: Diagnostic) {
        self.found.push(diagnostic.with_span(span).with_path(path));
    }

    /// Reports keys of a map that are not among `valid`.
    fn unknown_keys(&mut self, node: &Node, path: &str, valid: &[&'static str]) {
        for entry in node.entries().unwrap_or_default() {
            let key = &entry.key.text;
            if valid.contains(&key.as_str()) {
                continue;
            }
            let mut diagnostic = Diagnostic::error(format!("unknown key `{key}`"));
            if let Some(near) = nearest(key, valid.iter().copied()) {
                diagnostic = diagnostic.with_label(format!("did you mean `{near}`?"));
            }
            let diagnostic = diagnostic.with_help(format!("valid keys: {}", valid.join(", ")));
            self.push(entry.key.span, &below(path, key), diagnostic);
        }
    }

    /// True for a map; null passes silently, everything else is reported.
    fn is_map(&mut self, node: &Node, path: &str) -> bool {
        if node.entries().is_none() && !node.is_null() {
            self.push(
                node.span,
                path,
                Diagnostic::error(format!("expected a map, found {}", node.describe())),
            );
        }
        node.entries().is_some()
    }

    /// The components of one kind.
    fn sections(&mut self, node: Option<&Node>, path: &str) -> Vec<Section> {
        let Some(node) = node else { return Vec::new() };
        if !self.is_map(node, path) {
            return Vec::new();
        }
        let mut sections: Vec<Section> = Vec::new();
        for entry in node.entries().unwrap_or_default() {
            let path = below(path, &entry.key.text);
            match entry.key.text.parse::<ComponentId>() {
                Ok(id) if sections.iter().any(|section| section.id == id) => {
                    self.push(
                        entry.key.span,
                        &path,
                        Diagnostic::error(format!("`{id}` is configured twice")),
                    );
                }
                Ok(id) => {
                    sections.push(Section { id, node: entry.value.clone(), key_span: entry.key.span, path });
                }
                Err(why) => self.push(entry.key.span, &path, Diagnostic::error(why.to_string())),
            }
        }
        sections
    }

    /// `telemetry`, `shutdown_timeout`, `dead_letter` and `memory`.
    fn settings(&mut self, service: &Node) -> ServiceConfig {
        let mut settings = ServiceConfig::default();
        self.setting::<Telemetry>(service, "telemetry", &mut settings.telemetry);
        self.setting::<Duration>(service, "shutdown_timeout", &mut settings.shutdown_timeout);
        self.setting::<DeadLetter>(service, "dead_letter", &mut settings.dead_letter);
        self.setting::<Memory>(service, "memory", &mut settings.memory);
        settings
    }

    fn setting<T: serde::de::DeserializeOwned>(&mut self, service: &Node, key: &str, target: &mut T) {
        let Some(node) = service.get(key).filter(|node| !node.is_null()) else { return };
        match self.document.read(node, &below("service", key)) {
            Ok(value) => *target = value,
            Err(found) => self.found.extend(found),
        }
    }

    fn pipelines(
        &mut self,
        service: &Entry,
        receivers: &[Section],
        processors: &[Section],
        exporters: &[Section],
    ) -> Vec<Pipeline> {
        let mut pipelines: Vec<Pipeline> = Vec::new();
        let entry = service.value.entry("pipelines");
        let span = entry.map_or(service.key.span, |entry| entry.key.span);
        let node = entry.map(|entry| &entry.value);
        if let Some(node) = node
            && !self.is_map(node, "service.pipelines")
            && !node.is_null()
        {
            return pipelines;
        }
        let entries = node.and_then(Node::entries).unwrap_or_default();
        if entries.is_empty() {
            let none = Diagnostic::error("no pipeline is configured")
                .with_help("add `main: {receivers: [...], processors: [...], exporters: [...]}` below `service.pipelines`");
            self.push(span, "service.pipelines", none);
        }
        for entry in entries {
            let path = below("service.pipelines", &entry.key.text);
            let id = match entry.key.text.parse::<ComponentId>() {
                Ok(id) => PipelineId(id),
                Err(why) => {
                    let why = why.to_string().replace("component", "pipeline");
                    self.push(entry.key.span, &path, Diagnostic::error(why));
                    continue;
                }
            };
            if pipelines.iter().any(|pipeline| pipeline.id == id) {
                self.push(
                    entry.key.span,
                    &path,
                    Diagnostic::error(format!("pipeline `{id}` is configured twice")),
                );
                continue;
            }
            let node = &entry.value;
            if !self.is_map(node, &path) && !node.is_null() {
                continue;
            }
            self.unknown_keys(node, &path, &PIPELINE);
            let mut list = |key: &'static str, sections: &[Section], kind: &str, required: bool| {
                let path = below(&path, key);
                let references = self.references(node.get(key), &path, sections, kind);
                let empty = node
                    .get(key)
                    .is_none_or(|list| list.is_null() || list.items().is_some_and(<[Node]>::is_empty));
                if required && empty {
                    let span = node.entry(key).map_or(entry.key.span, |entry| entry.key.span);
                    self.push(
                        span,
                        &path,
                        Diagnostic::error(format!("pipeline `{id}` has no {kind}"))
                            .with_help(known(kind, sections)),
                    );
                }
                references
            };
            let receivers = list("receivers", receivers, "receiver", true);
            let processors = list("processors", processors, "processor", false);
            let exporters = list("exporters", exporters, "exporter", true);
            pipelines.push(Pipeline { id, key_span: entry.key.span, path, receivers, processors, exporters });
        }
        pipelines
    }

    /// A list of ids that must be among `sections`, without repeats. Null is an empty list.
    fn references(
        &mut self,
        node: Option<&Node>,
        path: &str,
        sections: &[Section],
        kind: &str,
    ) -> Vec<Reference> {
        let Some(node) = node.filter(|node| !node.is_null()) else { return Vec::new() };
        let Some(items) = node.items() else {
            let wrong =
                Diagnostic::error(format!("expected a list of {kind} ids, found {}", node.describe()))
                    .with_help(match node.as_str() {
                        Some(text) => format!("write `[{text}]`"),
                        None => "write `[id, id]`".to_owned(),
                    });
            self.push(node.span, path, wrong);
            return Vec::new();
        };
        let mut references: Vec<Reference> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(text) = item.as_str() else {
                self.push(
                    item.span,
                    &path,
                    Diagnostic::error(format!("expected a {kind} id, found {}", item.describe())),
                );
                continue;
            };
            let id = match text.parse::<ComponentId>() {
                Ok(id) => id,
                Err(why) => {
                    self.push(item.span, &path, Diagnostic::error(why.to_string()));
                    continue;
                }
            };
            if references.iter().any(|reference| reference.id == id) {
                self.push(
                    item.span,
                    &path,
                    Diagnostic::error(format!("{kind} `{id}` is named twice in this list")),
                );
                continue;
            }
            if !sections.iter().any(|section| section.id == id) {
                let mut unknown = Diagnostic::error(format!("{kind} `{id}` is not configured"));
                let ids: Vec<String> = sections.iter().map(|section| section.id.to_string()).collect();
                if let Some(near) = nearest(text, ids.iter().map(String::as_str)) {
                    unknown = unknown.with_label(format!("did you mean `{near}`?"));
                }
                self.push(item.span, &path, unknown.with_help(known(kind, sections)));
            }
            references.push(Reference { id, span: item.span, path });
        }
        references
    }

    fn unused(&mut self, sections: &[Section], used: &[&Reference], kind: &str, user: &str) {
        for section in sections {
            if !used.iter().any(|reference| reference.id == section.id) {
                let why = if kind == "extension" {
                    format!("{kind} `{}` is configured but not listed in {user}", section.id)
                } else {
                    format!("{kind} `{}` is configured but no {user} uses it", section.id)
                };
                let warning = Diagnostic::warning(why).with_help("it will not be started");
                self.push(section.key_span, &section.path, warning);
            }
        }
    }
}

/// Most ids listed in a help line.
const LISTED: usize = 30;

/// A help line that lists what is configured.
fn known(kind: &str, sections: &[Section]) -> String {
    if sections.is_empty() {
        return format!("no {kind} is configured; add one below `{kind}s`");
    }
    let ids: Vec<String> = sections.iter().take(LISTED).map(|section| section.id.to_string()).collect();
    let more = if sections.len() > LISTED { ", ..." } else { "" };
    format!("configured {kind}s: {}{more}", ids.join(", "))
}

fn below(path: &str, key: &str) -> String {
    let key = if key.contains('.') { format!("\"{key}\"") } else { key.to_owned() };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
