//! The names of SkyWalking's numbers: kinds, layers, statuses, components.

use std::sync::LazyLock;

use crate::columns::names::{FixedNames, Name, fixed_names};
use crate::columns::views::index;

/// Names of a span's status; `isError` chooses.
pub(super) static STATUSES: FixedNames = LazyLock::new(|| fixed_names(["ok", "error"]));
/// Names of a span's kind, see [`kind`].
pub(super) static KINDS: FixedNames =
    LazyLock::new(|| fixed_names(["server", "client", "internal", "consumer", "producer"]));
/// Names of layers 1 to 6. Layer 0 has none.
pub(super) static LAYERS: FixedNames =
    LazyLock::new(|| fixed_names(["database", "rpc_framework", "http", "mq", "cache", "faas"]));
/// Names of reference types 0 and 1.
pub(super) const REF_TYPES: &[&str] = &["cross_process", "cross_thread"];
/// Names of components, by number. Components with other numbers have no name here.
pub(super) const COMPONENTS: &[(i32, &str)] = &[
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
pub(super) static COMPONENT_NAMES: FixedNames =
    LazyLock::new(|| fixed_names(COMPONENTS.iter().map(|(_, name)| *name)));

const MQ: i32 = 4;

/// What a span is to its service. A messaging span consumes or produces.
pub(super) fn kind(span_type: i32, layer: i32) -> Name {
    match (span_type, layer) {
        (0, MQ) => Name::Fixed(3),
        (1, MQ) => Name::Fixed(4),
        (0..=2, _) => Name::Fixed(span_type),
        _ => Name::Unknown(span_type),
    }
}

/// The technology of a span.
pub(super) fn layer(number: i32) -> Name {
    match number {
        0 => Name::Null,
        1..=6 => Name::Fixed(number - 1),
        _ => Name::Unknown(number),
    }
}

/// The library that a span is about; null when its name is not known here.
pub(super) fn component(number: i32) -> Name {
    COMPONENTS
        .binary_search_by_key(&number, |(number, _)| *number)
        .map_or(Name::Null, |at| Name::Fixed(index(at)))
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
