//! A loaded configuration: one merged and expanded tree, and the texts it came from.

use std::path::Path as FilePath;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::limits::MAX_SOURCE_BYTES;
use crate::read::read;
use crate::section::Section;
use crate::tree::merge::merge;
use crate::tree::node::{Node, Value};
use crate::tree::overrides;
use crate::tree::parse::parse;
use crate::tree::path::{Path, join};
use crate::tree::source::{SourceId, SourceText, Span};
use crate::tree::substitute::substitute;

/// A configuration after merge, `--set` and expansion. Cheap to clone the sources of, not the tree.
#[derive(Debug, Clone)]
pub struct Document {
    root: Node,
    sources: Arc<Vec<SourceText>>,
}

impl Document {
    /// Parses `sources`, merges them in order, applies `sets` (`key.path=value`) in order, expands
    /// `${env:...}` with `env`, which gives the value of a variable or `None` when it is not set.
    ///
    /// # Errors
    /// All syntax errors (one per source: YAML cannot be read past the first), duplicate keys, wrong `sets`
    /// and unset variables.
    pub fn load(
        sources: Vec<SourceText>,
        sets: &[String],
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Diagnostics> {
        let mut found = Diagnostics::new();
        let mut all = sources;
        let files = all.len();
        all.extend(sets.iter().map(|set| SourceText::new("--set", set.clone())));
        let mut root =
            Node::new(Span { source: SourceId(0), line: 1, column: 1, length: 1 }, Value::Map(Vec::new()));
        for (index, source) in all.iter().enumerate() {
            let id = SourceId(u32::try_from(index).unwrap_or(u32::MAX));
            if index >= files {
                overrides::apply(&mut root, id, &source.text, &mut found);
                continue;
            }
            let Some(tree) = parse(id, &source.text, &mut found) else { continue };
            match &tree.value {
                Value::Map(_) => merge(&mut root, tree),
                Value::Null => {}
                _ => found.push(
                    Diagnostic::error(format!("a configuration must be a map, this is {}", tree.describe()))
                        .with_span(tree.span)
                        .with_help("begin with `receivers:`, `exporters:` and `service:`"),
                ),
            }
        }
        substitute(&mut root, env, &mut found);
        found.locate(&all);
        found.into_result(Self { root, sources: Arc::new(all) })
    }

    /// Reads files, then [`Document::load`] with the environment of this process.
    ///
    /// # Errors
    /// Files that cannot be read or are not UTF-8 text (all of them), then what `load` reports.
    pub fn files<P: AsRef<FilePath>>(paths: &[P], sets: &[String]) -> Result<Self, Diagnostics> {
        let mut found = Diagnostics::new();
        let mut sources = Vec::new();
        for path in paths {
            let name = path.as_ref().display().to_string();
            match read_file(path.as_ref()) {
                Ok(text) => sources.push(SourceText::new(name, text)),
                Err(why) => found.push(
                    Diagnostic::error(format!("cannot read the configuration file `{name}`: {why}"))
                        .with_help("check the path given with --config and that this user may read it"),
                ),
            }
        }
        if found.has_errors() {
            return Err(found);
        }
        Self::load(sources, sets, &|name| std::env::var(name).ok())
    }

    /// The root of the tree, always a map.
    #[must_use]
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The texts this document came from: files, then `--set` options.
    #[must_use]
    pub fn sources(&self) -> &[SourceText] {
        &self.sources
    }

    /// Deserialises `node` into a type. `path` is the key path of the node, for messages. Use
    /// `#[serde(deny_unknown_fields)]` on the types, or unknown keys pass. Null reads as an empty map where a
    /// struct is wanted.
    ///
    /// # Errors
    /// Everything that is wrong in this node, each with its own position.
    pub fn read<T: DeserializeOwned>(&self, node: &Node, path: &str) -> Result<T, Diagnostics> {
        read(node, path).map_err(|mut found| {
            found.locate(&self.sources);
            found
        })
    }

    /// [`Document::read`] for the section of a component.
    ///
    /// # Errors
    /// As [`Document::read`].
    pub fn read_section<T: DeserializeOwned>(&self, section: &Section) -> Result<T, Diagnostics> {
        self.read(&section.node, &section.path)
    }

    /// An error at `relative` below a section, such as `rules[2].when`; at the section itself when `relative`
    /// is empty. If the path leads nowhere (a default is wrong), it points at the last key that exists.
    #[must_use]
    pub fn error_at(&self, section: &Section, relative: &str, message: impl Into<String>) -> Diagnostic {
        let path = Path::parse(relative);
        self.at(path.find(&section.node), &join(&section.path, &path), Diagnostic::error(message))
    }

    /// Gives a diagnostic a position, path and excerpt.
    #[must_use]
    pub fn at(&self, span: Span, path: &str, diagnostic: Diagnostic) -> Diagnostic {
        let mut diagnostic = diagnostic.with_span(span).with_path(path);
        diagnostic.locate(&self.sources);
        diagnostic
    }
}

fn read_file(path: &FilePath) -> Result<String, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_SOURCE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    String::from_utf8(bytes)
        .map_err(|error| format!("it is not UTF-8 text (byte {})", error.utf8_error().valid_up_to()))
}
