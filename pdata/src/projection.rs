//! The columns that the components of a pipeline read, so that decoders build no others.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use arrow::datatypes::{Field, FieldRef};

use crate::{schema, span_ids};

/// The columns that one component reads from batches. Built before the first byte flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Fixed columns and attribute keys read by name.
    pub names: BTreeSet<String>,
    /// Every fixed column is read.
    pub all_fixed: bool,
    /// Attributes without a name in the demand are read too, from the `attributes` column.
    pub attributes: bool,
    /// Where each row came from is read, where the receiver knows it: the column [`schema::OFFSET`].
    pub positions: bool,
    /// When the record of each row was appended to its lane is read, where the receiver knows it: the column
    /// [`schema::ARRIVAL`].
    pub arrivals: bool,
    /// Of the fixed columns that are all read, `span_id` and `parent_span_id` are taken in the form that the
    /// source has them in: as texts or [in parts](crate::span_ids).
    pub id_parts: bool,
}

impl Demand {
    /// Reads nothing.
    #[must_use]
    pub fn nothing() -> Demand {
        Demand::default()
    }

    /// Reads every column and every attribute, as an exporter that stores events does.
    #[must_use]
    pub fn everything() -> Demand {
        Demand { all_fixed: true, attributes: true, ..Demand::default() }
    }

    /// Reads these columns or attribute keys.
    pub fn names(names: impl IntoIterator<Item = impl Into<String>>) -> Demand {
        Demand { names: names.into_iter().map(Into::into).collect(), ..Demand::default() }
    }

    /// Reads what either reads.
    #[must_use]
    pub fn and(mut self, other: Demand) -> Demand {
        let reads_texts = |demand: &Demand| demand.all_fixed && !demand.id_parts;
        if (self.id_parts || other.id_parts) && (reads_texts(&self) || reads_texts(&other)) {
            // One takes parts, and one reads all fixed columns, the texts with them.
            self.names.extend(span_ids::TEXTS.map(str::to_owned));
        }
        self.names.extend(other.names);
        self.all_fixed |= other.all_fixed;
        self.attributes |= other.attributes;
        self.positions |= other.positions;
        self.arrivals |= other.arrivals;
        self.id_parts |= other.id_parts;
        self
    }
}

/// An attribute key that has its own column. See the data model, "Attributes".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The attribute's key as on the wire, after `resource.` or `scope.` for the keys of these levels.
    pub key: String,
    /// The column's name: the key, or `attr.` + key where a fixed column has that name.
    pub column: String,
    /// The column as decoders build it, of text; casts change it later.
    pub field: FieldRef,
}

impl Wanted {
    /// Where the attribute is, in events that have several levels of attributes, and its key there.
    #[must_use]
    pub fn level_and_key(&self) -> (Level, &str) {
        for level in [Level::Resource, Level::Scope] {
            let prefixed = self.key.strip_prefix(level.name()).and_then(|rest| rest.strip_prefix('.'));
            if let Some(key) = prefixed {
                return (level, key);
            }
        }
        (Level::Row, &self.key)
    }
}

/// A level of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Of the span, log record or data point.
    Row,
    /// Of its resource.
    Resource,
    /// Of its instrumentation scope.
    Scope,
}

impl Level {
    /// The level as [`schema::ATTRIBUTE_LEVEL`] has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Level::Row => "span",
            Level::Resource => "resource",
            Level::Scope => "scope",
        }
    }

    /// The column of the lists of its attributes.
    #[must_use]
    pub const fn list(self) -> &'static str {
        match self {
            Level::Row => schema::ATTRIBUTES,
            Level::Resource => schema::RESOURCE,
            Level::Scope => schema::SCOPE,
        }
    }
}

/// The columns that a decoder builds.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Projection {
    /// Fixed columns to build; `None` is all of them.
    pub fixed: Option<BTreeSet<String>>,
    /// Which of the [computed columns](schema::DERIVED) to build.
    pub derived: BTreeSet<String>,
    /// Attribute keys that get a column each.
    pub wanted: Vec<Wanted>,
    /// Whether the other attributes are kept, in the `attributes` column.
    pub rest: bool,
    /// Whether the position of each row's record is a column.
    pub positions: bool,
    /// Whether the append time of each row's record is a column.
    pub arrivals: bool,
    /// How the ids of spans are built from a source that has them [in parts](crate::span_ids).
    pub ids: SpanIds,
}

/// How the ids of spans are built from a source that has them [in parts](crate::span_ids).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SpanIds {
    /// As texts, where [`fixed`](Projection::fixed) has them.
    #[default]
    Texts,
    /// In parts.
    Parts,
    /// In parts; the texts too, where [`fixed`](Projection::fixed) has them.
    Both,
}

impl Projection {
    /// Every fixed column, all attributes in the `attributes` column.
    #[must_use]
    pub fn everything() -> Projection {
        Projection::of(&Demand::everything())
    }

    /// The projection that serves this demand.
    #[must_use]
    pub fn of(demand: &Demand) -> Projection {
        let (mut fixed, mut derived) = (BTreeSet::new(), BTreeSet::new());
        let mut wanted = Vec::new();
        for name in &demand.names {
            if schema::DERIVED.contains(&name.as_str()) {
                derived.insert(name.clone());
                continue;
            }
            if schema::is_fixed_anywhere(name) {
                fixed.insert(name.clone());
                continue;
            }
            let key = name.strip_prefix("attr.").filter(|key| schema::is_fixed_anywhere(key));
            let key = key.unwrap_or(name).to_owned();
            let metadata = schema::attribute_metadata("span", &key);
            let field = Arc::new(Field::new(name, schema::text(), true).with_metadata(metadata));
            wanted.push(Wanted { key, column: name.clone(), field });
        }
        let ids = match (demand.id_parts, fixed.iter().any(|name| span_ids::TEXTS.contains(&name.as_str()))) {
            (false, _) => SpanIds::Texts,
            (true, false) => SpanIds::Parts,
            (true, true) => SpanIds::Both,
        };
        let fixed = (!demand.all_fixed).then_some(fixed);
        let Demand { attributes: rest, positions, arrivals, .. } = *demand;
        Projection { fixed, derived, wanted, rest, positions, arrivals, ids }
    }

    /// Whether this [computed column](schema::DERIVED) is to be built.
    #[must_use]
    pub fn has_derived(&self, name: &str) -> bool {
        self.derived.contains(name)
    }

    /// Whether this fixed column is to be built.
    #[must_use]
    pub fn has_fixed(&self, name: &str) -> bool {
        self.fixed.as_ref().is_none_or(|fixed| fixed.contains(name))
    }
}

/// A projection that grows while the pipeline runs: read once per batch, extended rarely.
#[derive(Clone, Debug, Default)]
pub struct SharedProjection(Arc<RwLock<(Demand, Arc<Projection>)>>);

impl SharedProjection {
    /// Starts with this demand.
    #[must_use]
    pub fn new(demand: Demand) -> SharedProjection {
        let projection = Arc::new(Projection::of(&demand));
        SharedProjection(Arc::new(RwLock::new((demand, projection))))
    }

    /// The projection for the next batch.
    #[must_use]
    pub fn load(&self) -> Arc<Projection> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// From the next batch on, serves this demand too.
    pub fn extend(&self, demand: Demand) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let wider = std::mem::take(&mut current.0).and(demand);
        current.1 = Arc::new(Projection::of(&wider));
        current.0 = wider;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_fixed_columns_or_wanted_keys() {
        let projection = Projection::of(&Demand::names(["service", "http.method", "attr.status"]));
        assert!(projection.has_fixed("service"));
        assert!(!projection.has_fixed("operation"));
        assert!(!projection.rest);
        let keys: Vec<_> = projection.wanted.iter().map(|w| (&*w.key, &*w.column)).collect();
        assert_eq!(keys, [("status", "attr.status"), ("http.method", "http.method")]);
    }

    #[test]
    fn an_attribute_named_like_a_part_of_a_span_id_is_no_part() {
        for part in span_ids::PARTS {
            let projection = Projection::of(&Demand::names([part.to_owned(), format!("attr.{part}")]));
            let wanted: Vec<_> = projection.wanted.iter().map(|w| (&*w.key, &*w.column)).collect();
            assert_eq!(wanted, [(part, &*format!("attr.{part}"))]);
        }
    }

    #[test]
    fn ids_are_built_in_the_forms_that_somebody_reads() {
        let parts = Demand { id_parts: true, ..Demand::everything() };
        let ids = |demand: &Demand| Projection::of(demand).ids;
        assert_eq!(ids(&Demand::everything()), SpanIds::Texts);
        assert_eq!(ids(&parts), SpanIds::Parts);
        assert_eq!(ids(&parts.clone().and(parts.clone())), SpanIds::Parts);
        assert_eq!(ids(&parts.clone().and(Demand::names(["span_id"]))), SpanIds::Both);
        assert_eq!(ids(&Demand::names(["service"]).and(parts.clone())), SpanIds::Parts);
        for both in [parts.clone().and(Demand::everything()), Demand::everything().and(parts.clone())] {
            assert_eq!(ids(&both), SpanIds::Both);
            assert_eq!(ids(&both.and(parts.clone())), SpanIds::Both);
        }
    }

    #[test]
    fn a_shared_projection_widens_for_later_batches() {
        let shared = SharedProjection::new(Demand::names(["service"]));
        let before = shared.load();
        shared.extend(Demand::everything());
        assert!(!before.rest && shared.load().rest);
        assert!(shared.load().has_fixed("operation"));
    }
}
