//! YAML text to [`Node`]s, through the event parser that comes with serde-saphyr.
//!
//! Guaranteed: duplicate keys are errors; aliases and merge keys (`<<`) are expanded within the bounds of
//! [`crate::limits`], so a "billion laughs" text is rejected before it grows.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Tag};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::limits::{MAX_DEPTH, MAX_KEY_CHARS, MAX_NODES, MAX_SOURCE_BYTES, MAX_TEXT_BYTES};
use crate::tree::node::{Entry, Key, Node, Scalar, Value};
use crate::tree::scalar::{Typed, typed};
use crate::tree::source::{SourceId, Span};

/// Parses one document. Null for an empty text, `None` after an error that ends the reading. Errors go to
/// `found`.
pub(crate) fn parse(source: SourceId, text: &str, found: &mut Diagnostics) -> Option<Node> {
    if text.len() > MAX_SOURCE_BYTES {
        let too_long = format!("the text is longer than {MAX_SOURCE_BYTES} bytes");
        found.push(Diagnostic::error(too_long).with_span(Span { source, line: 1, column: 1, length: 1 }));
        return None;
    }
    let mut builder = Builder::new(source);
    let outcome = builder.run(text);
    found.extend(builder.found);
    match outcome {
        Ok(()) => Some(
            builder
                .root
                .unwrap_or_else(|| Node::new(Span { source, line: 1, column: 1, length: 1 }, Value::Null)),
        ),
        Err(fatal) => {
            found.push(*fatal);
            None
        }
    }
}

/// A collection that is still open.
enum Frame {
    Sequence { span: Span, anchor: usize, items: Vec<Node> },
    Map { span: Span, anchor: usize, map: OpenMap },
}

#[derive(Default)]
struct OpenMap {
    entries: Vec<Entry>,
    keys: HashSet<String>,
    merges: Vec<Node>,
    pending: Pending,
}

/// The role of the next node of a map.
#[derive(Default)]
enum Pending {
    #[default]
    Key,
    Value(Key),
    /// The value of `<<`.
    Merge,
    /// The value of a key that was wrong.
    Discard,
}

/// Size of a tree.
#[derive(Default, Clone, Copy)]
pub(crate) struct Weight {
    pub(crate) nodes: usize,
    bytes: usize,
    depth: usize,
}

struct Builder {
    source: SourceId,
    frames: Vec<Frame>,
    anchors: HashMap<usize, (Node, Weight)>,
    root: Option<Node>,
    used: Weight,
    found: Diagnostics,
}

type Step = Result<(), Box<Diagnostic>>;

impl Builder {
    fn new(source: SourceId) -> Self {
        Self {
            source,
            frames: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            used: Weight::default(),
            found: Diagnostics::new(),
        }
    }

    fn run(&mut self, text: &str) -> Step {
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| Box::new(self.syntax(&error, text)))?;
            let span = self.span(&span);
            match event {
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Box::new(
                            Diagnostic::error("a second YAML document begins here; a file holds one")
                                .with_span(span)
                                .with_help("put it into a file of its own and give both with --config"),
                        ));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain && !self.is_string_tag(tag.as_deref(), span);
                    let value = if plain && typed(&text) == Typed::Null {
                        Value::Null
                    } else {
                        Value::Scalar(Scalar::literal(text.into_owned(), plain))
                    };
                    let node = Node::new(span, value);
                    self.add(node, anchor)?;
                }
                Event::SequenceStart(_, anchor, tag) => {
                    self.is_string_tag(tag.as_deref(), span);
                    self.open(Frame::Sequence { span, anchor, items: Vec::new() }, span)?;
                }
                Event::MappingStart(_, anchor, tag) => {
                    self.is_string_tag(tag.as_deref(), span);
                    self.open(Frame::Map { span, anchor, map: OpenMap::default() }, span)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
                Event::Alias(id) => self.alias(id, span)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn open(&mut self, frame: Frame, span: Span) -> Step {
        if self.frames.len() >= MAX_DEPTH {
            return Err(too_deep(span));
        }
        self.frames.push(frame);
        Ok(())
    }

    fn close(&mut self) -> Step {
        match self.frames.pop() {
            Some(Frame::Sequence { span, anchor, items }) => {
                self.add(Node::new(span, Value::Sequence(items)), anchor)
            }
            Some(Frame::Map { span, anchor, map }) => {
                let node = self.finish_map(span, map);
                self.add(node, anchor)
            }
            None => Ok(()),
        }
    }

    /// Adds what the merge keys bring: keys written here win, then the first map that has the key.
    fn finish_map(&mut self, span: Span, map: OpenMap) -> Node {
        let OpenMap { mut entries, mut keys, merges, .. } = map;
        for merged in merges {
            let at = merged.span;
            let maps = match merged.value {
                Value::Sequence(items) => items,
                _ => vec![merged],
            };
            for node in maps {
                let Value::Map(more) = node.value else {
                    let wrong = Diagnostic::error(format!(
                        "`<<` merges a map or a list of maps, found {}",
                        node.describe()
                    ));
                    self.found.push(wrong.with_span(at));
                    continue;
                };
                for entry in more {
                    if keys.insert(entry.key.text.clone()) {
                        entries.push(entry);
                    }
                }
            }
        }
        Node::new(span, Value::Map(entries))
    }

    fn alias(&mut self, id: usize, span: Span) -> Step {
        let Some((node, weight)) = self.anchors.get(&id) else {
            return Err(Box::new(
                Diagnostic::error("this alias stands inside the value it names").with_span(span),
            ));
        };
        let weight = *weight;
        if self.frames.len() + weight.depth > MAX_DEPTH {
            return Err(too_deep(span));
        }
        // Charged before the copy is made.
        if exceeds(self.used, weight) {
            return Err(too_large(span));
        }
        let node = node.clone();
        self.charge(weight, span)?;
        self.add(node, 0)
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Step {
        if anchor != 0 {
            let weight = weigh(&node);
            self.charge(weight, node.span)?;
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        match self.frames.last_mut() {
            None => self.root = Some(node),
            Some(Frame::Sequence { items, .. }) => items.push(node),
            Some(Frame::Map { map, .. }) => add_to_map(map, node, &mut self.found),
        }
        Ok(())
    }

    fn charge(&mut self, weight: Weight, span: Span) -> Step {
        if exceeds(self.used, weight) {
            return Err(too_large(span));
        }
        self.used.nodes += weight.nodes;
        self.used.bytes += weight.bytes;
        Ok(())
    }

    /// True for `!!str`. Tags that are not of the YAML core are errors.
    fn is_string_tag(&mut self, tag: Option<&Tag>, span: Span) -> bool {
        let Some(tag) = tag else { return false };
        match tag.core_suffix() {
            Some("str") => true,
            Some(_) => false,
            None if tag.original() == "!" => true,
            None => {
                let unknown = Diagnostic::error("this YAML tag is not known");
                self.found.push(
                    unknown
                        .with_span(span)
                        .with_help("remove the tag; put text that begins with `!` into quotes"),
                );
                false
            }
        }
    }

    fn span(&self, span: &granit_parser::Span) -> Span {
        let length = if span.start.line() == span.end.line() {
            span.end.col().saturating_sub(span.start.col()).max(1)
        } else {
            1
        };
        Span {
            source: self.source,
            line: number(span.start.line()).max(1),
            column: number(span.start.col()).saturating_add(1),
            length: number(length),
        }
    }

    fn syntax(&self, error: &granit_parser::ScanError, text: &str) -> Diagnostic {
        let marker = error.marker();
        let span = Span {
            source: self.source,
            line: number(marker.line()).max(1),
            column: number(marker.col()).saturating_add(1),
            length: 1,
        };
        let diagnostic =
            Diagnostic::error(format!("this is not valid YAML: {}", error.info())).with_span(span);
        let line = text.lines().nth(marker.line().saturating_sub(1)).unwrap_or("");
        let indentation: String = line.chars().take_while(|c| c.is_whitespace()).collect();
        if indentation.contains('\t') {
            return diagnostic.with_help("indent with spaces; YAML does not allow tabs there");
        }
        diagnostic
    }
}

/// Takes a node as key or value, whichever is next.
fn add_to_map(map: &mut OpenMap, mut node: Node, found: &mut Diagnostics) {
    match std::mem::take(&mut map.pending) {
        Pending::Key => {
            let span = node.span;
            let Value::Scalar(scalar) = &node.value else {
                let wrong = format!("a key must be text, found {}", node.describe());
                let help = "put text that looks like something else into quotes";
                found.push(Diagnostic::error(wrong).with_span(span).with_help(help));
                map.pending = Pending::Discard;
                return;
            };
            let text = scalar.text().to_owned();
            if text.chars().count() > MAX_KEY_CHARS {
                found.push(
                    Diagnostic::error(format!("a key is longer than {MAX_KEY_CHARS} characters"))
                        .with_span(span),
                );
                map.pending = Pending::Discard;
                return;
            }
            map.pending = if text == "<<" && !scalar.is_quoted() {
                Pending::Merge
            } else if map.keys.insert(text.clone()) {
                Pending::Value(Key { text, span })
            } else {
                let first = map
                    .entries
                    .iter()
                    .find(|entry| entry.key.text == text)
                    .map_or(0, |entry| entry.key.span.line);
                let twice = Diagnostic::error(format!("the key `{text}` is written twice in this map"));
                found.push(
                    twice
                        .with_span(span)
                        .with_help(format!("the first is on line {first}; remove one or merge them")),
                );
                Pending::Discard
            };
        }
        Pending::Value(key) => {
            if !matches!(node.value, Value::Scalar(_)) {
                node.span = key.span;
            }
            map.entries.push(Entry { key, value: node });
        }
        Pending::Merge => map.merges.push(node),
        Pending::Discard => {}
    }
}

/// Measures a tree.
pub(crate) fn weigh(node: &Node) -> Weight {
    let add = |sum: Weight, child: Weight| Weight {
        nodes: sum.nodes + child.nodes,
        bytes: sum.bytes + child.bytes,
        depth: sum.depth.max(child.depth + 1),
    };
    let one = Weight { nodes: 1, bytes: 0, depth: 0 };
    match &node.value {
        Value::Null => one,
        Value::Scalar(scalar) => Weight { bytes: scalar.text().len(), ..one },
        Value::Sequence(items) => items.iter().map(weigh).fold(Weight { depth: 1, ..one }, add),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| {
                let value = weigh(&entry.value);
                Weight { bytes: value.bytes + entry.key.text.len(), nodes: value.nodes + 1, ..value }
            })
            .fold(Weight { depth: 1, ..one }, add),
    }
}

fn exceeds(used: Weight, more: Weight) -> bool {
    used.nodes + more.nodes > MAX_NODES || used.bytes + more.bytes > MAX_TEXT_BYTES
}

fn too_deep(span: Span) -> Box<Diagnostic> {
    Box::new(
        Diagnostic::error(format!("maps and lists are nested deeper than {MAX_DEPTH} here")).with_span(span),
    )
}

fn too_large(span: Span) -> Box<Diagnostic> {
    Box::new(
        Diagnostic::error(format!(
            "the configuration is too large: anchors and aliases make more than {MAX_NODES} values or {MAX_TEXT_BYTES} bytes here"
        ))
        .with_span(span),
    )
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
