//! Columns of few names: kinds, layers, statuses, components.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, StringViewArray, StringViewBuilder};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::error::ArrowError;
use hashbrown::HashMap;

use crate::columns::views::{dictionary, index};

/// Names of a span's status; `isError` chooses.
pub(crate) static STATUSES: FixedNames = LazyLock::new(|| known(["ok", "error"]));
/// Names of a span's kind, see [`kind`].
pub(crate) static KINDS: FixedNames =
    LazyLock::new(|| known(["server", "client", "internal", "consumer", "producer"]));
/// Names of layers 1 to 6. Layer 0 has none.
pub(crate) static LAYERS: FixedNames =
    LazyLock::new(|| known(["database", "rpc_framework", "http", "mq", "cache", "faas"]));
/// Names of reference types 0 and 1.
pub(crate) const REF_TYPES: &[&str] = &["cross_process", "cross_thread"];
/// Names of components, by number. Components with other numbers have no name here.
pub(crate) const COMPONENTS: &[(i32, &str)] = &[
    (1, "Tomcat"),
    (2, "HttpClient"),
    (3, "Dubbo"),
    (11, "Feign"),
    (12, "OKHttp"),
    (13, "SpringRestTemplate"),
    (14, "SpringMVC"),
    (23, "GRPC"),
    (30, "Jedis"),
    (32, "h2-jdbc-driver"),
    (33, "mysql-connector-java"),
    (37, "postgresql-jdbc-driver"),
    (38, "rocketMQ-producer"),
    (39, "rocketMQ-consumer"),
    (40, "kafka-producer"),
    (41, "kafka-consumer"),
    (42, "mongodb-driver"),
    (45, "activemq-producer"),
    (46, "activemq-consumer"),
    (47, "Elasticsearch"),
    (52, "rabbitmq-producer"),
    (53, "rabbitmq-consumer"),
    (56, "Redisson"),
    (57, "Lettuce"),
    (61, "spring-cloud-gateway"),
    (65, "SpringAsync"),
    (66, "JdkHttp"),
    (67, "spring-webflux"),
    (73, "pulsar-producer"),
    (74, "pulsar-consumer"),
    (77, "rest-high-level-client"),
    (78, "spring-tx"),
    (80, "JdkThreading"),
    (104, "mssql-jdbc-driver"),
    (109, "MyBatis"),
    (115, "AlibabaDruid"),
    (116, "HikariCP"),
    (119, "ClickHouse-jdbc-driver"),
    (6000, "Nginx"),
    (7000, "Python"),
    (7001, "Flask"),
    (7002, "Requests"),
];

/// Names of [`COMPONENTS`].
pub(crate) static COMPONENT_NAMES: FixedNames =
    LazyLock::new(|| known(COMPONENTS.iter().map(|(_, name)| *name)));

/// Names that a column may have, made once.
pub(crate) type FixedNames = LazyLock<Arc<StringViewArray>>;

fn known(names: impl IntoIterator<Item = &'static str>) -> Arc<StringViewArray> {
    Arc::new(StringViewArray::from_iter_values(names))
}

const MQ: i32 = 4;

/// A value of a column of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The known name with this index.
    Fixed(i32),
    /// An enum number without a name.
    Unknown(i32),
    /// No value.
    Null,
}

/// What a span is to its service. A messaging span consumes or produces.
pub(crate) fn kind(span_type: i32, layer: i32) -> Name {
    match (span_type, layer) {
        (0, MQ) => Name::Fixed(3),
        (1, MQ) => Name::Fixed(4),
        (0..=2, _) => Name::Fixed(span_type),
        _ => Name::Unknown(span_type),
    }
}

/// The technology of a span.
pub(crate) fn layer(number: i32) -> Name {
    match number {
        0 => Name::Null,
        1..=6 => Name::Fixed(number - 1),
        _ => Name::Unknown(number),
    }
}

/// The library that a span is about; null when its name is not known here.
pub(crate) fn component(number: i32) -> Name {
    COMPONENTS
        .binary_search_by_key(&number, |(number, _)| *number)
        .map_or(Name::Null, |at| Name::Fixed(index(at)))
}

/// Text of an enum number that has no name.
pub(crate) fn unknown(number: i32) -> String {
    format!("unknown({number})")
}

/// No name.
const NULL: i32 = -1;

/// A dictionary column over a few known names, and `unknown(N)` as needed.
#[derive(Debug)]
pub(crate) struct Names {
    /// [`NULL`] for those that are missing.
    keys: Vec<i32>,
    nulls: usize,
    known: &'static Arc<StringViewArray>,
    unknown: HashMap<i32, i32, foldhash::fast::RandomState>,
    unknown_in_order: Vec<i32>,
}

impl Names {
    pub(crate) fn new(known: &'static FixedNames) -> Names {
        Names { keys: Vec::new(), nulls: 0, known, unknown: HashMap::default(), unknown_in_order: Vec::new() }
    }

    pub(crate) fn reserve(&mut self, more: usize) {
        self.keys.reserve(more);
    }

    #[inline]
    pub(crate) fn push(&mut self, name: Name) {
        let key = match name {
            Name::Fixed(index) => index,
            Name::Unknown(number) => self.unknown(number),
            Name::Null => NULL,
        };
        self.keys.push(key);
        self.nulls += usize::from(name == Name::Null);
    }

    fn unknown(&mut self, number: i32) -> i32 {
        let next = index(self.known.len() + self.unknown_in_order.len());
        let Names { unknown, unknown_in_order, .. } = self;
        *unknown.entry(number).or_insert_with(|| {
            unknown_in_order.push(number);
            next
        })
    }

    pub(crate) fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = (self.nulls > 0).then(|| {
            let there = BooleanBuffer::collect_bool(self.keys.len(), |at| self.keys[at] != NULL);
            self.keys.iter_mut().filter(|key| **key == NULL).for_each(|key| *key = 0);
            NullBuffer::new(there)
        });
        if self.unknown_in_order.is_empty() {
            return dictionary(self.keys, nulls, Arc::clone(self.known) as ArrayRef);
        }
        let mut values = StringViewBuilder::new();
        for name in self.known.iter().flatten() {
            values.append_value(name);
        }
        let mut label = String::new();
        for number in self.unknown_in_order {
            label.clear();
            // Writing to a String does not fail.
            let _ = write!(label, "unknown({number})");
            values.append_value(&label);
        }
        dictionary(self.keys, nulls, Arc::new(values.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_in_the_order_that_the_search_needs() {
        assert!(COMPONENTS.is_sorted_by(|one, next| one.0 < next.0));
        assert_eq!(component(7001), Name::Fixed(index(COMPONENTS.len() - 2)));
        assert_eq!(component(99), Name::Null);
    }
}
