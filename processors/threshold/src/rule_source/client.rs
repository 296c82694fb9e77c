//! From settings to the client of the rules' topic.

use std::sync::Arc;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use weir_component::{Clock, Context, LogLimit};

use crate::config::KafkaConfig;

/// Properties that the reader depends on.
const OWNED: &[(&str, &str)] = &[
    ("enable.auto.commit", NOTHING_COMMITTED),
    ("auto.commit.enable", NOTHING_COMMITTED),
    ("enable.auto.offset.store", NOTHING_COMMITTED),
    ("enable.partition.eof", "the reader needs to see the end of the topic"),
];

const NOTHING_COMMITTED: &str = "the topic is read from its beginning by every start; nothing is committed";

/// The client's configuration. Errors name the key below `rules.kafka` that is wrong.
pub(crate) fn client_config(config: &KafkaConfig) -> Result<ClientConfig, Vec<(String, String)>> {
    let mut wrong = weir_kafka::broker_problems(&config.brokers);
    let mut say = |key: &str, message: &str| wrong.push((key.to_owned(), message.to_owned()));
    if config.topic.trim().is_empty() {
        say("topic", "the topic's name is empty");
    }
    if config.max_rules == 0 {
        say("max_rules", "`max_rules` must be at least 1");
    }
    wrong.extend(config.security().problems());
    wrong.extend(config.properties.problems(OWNED));
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.brokers.join(","))
        // Assigning partitions needs a group's name; the group is never joined and nothing is committed to
        // it.
        .set("group.id", "weir-rules")
        .set("auto.offset.reset", "earliest")
        .set("queued.max.messages.kbytes", "4096")
        .set("fetch.wait.max.ms", "100")
        .set("allow.auto.create.topics", "false")
        .set_log_level(weir_kafka::log_level(&config.properties));
    config.security().apply(&mut client);
    config.properties.apply(&mut client);
    client
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true");
    if wrong.is_empty() {
        wrong.extend(weir_kafka::problem(&client).map(|why| (String::new(), why)));
    }
    if wrong.is_empty() { Ok(client) } else { Err(wrong) }
}

/// Brings what librdkafka says into the program's log.
pub(crate) struct Logging {
    id: String,
    clock: Arc<dyn Clock>,
    logins: LogLimit,
    errors: LogLimit,
}

impl Logging {
    pub(crate) fn new(context: &Context) -> Logging {
        Logging {
            id: context.id.to_string(),
            clock: context.clock.clone(),
            logins: LogLimit::every_ms(10_000),
            errors: LogLimit::every_ms(10_000),
        }
    }
}

impl ClientContext for Logging {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        weir_kafka::log(&self.id, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let id = &self.id;
        let now = self.clock.now_ms();
        match error.rdkafka_error_code() {
            // No error: the reader asks to be told.
            Some(RDKafkaErrorCode::PartitionEOF) => {}
            Some(RDKafkaErrorCode::Authentication) => {
                if let Some(suppressed) = self.logins.allow(now) {
                    tracing::warn!(
                        suppressed,
                        "{id}: Kafka refuses the login for the rules: check `sasl`; retrying: {reason}"
                    );
                }
            }
            _ => {
                if let Some(suppressed) = self.errors.allow(now) {
                    tracing::warn!(suppressed, "{id}: Kafka client of the rules: {error}: {reason}");
                }
            }
        }
    }
}

impl ConsumerContext for Logging {}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_config::Tls;
    use weir_kafka::{Mechanism, Sasl};

    fn property(name: &str, value: &str) -> KafkaConfig {
        let properties = [(name.to_owned(), value.to_owned())].into_iter().collect();
        KafkaConfig { properties, ..KafkaConfig::default() }
    }

    fn wrong_keys(config: &KafkaConfig) -> Vec<String> {
        client_config(config).unwrap_err().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn tls_sasl_and_properties_reach_the_client() {
        let tls = Tls { ca_file: Some("/ca.pem".to_owned()), ..Tls::default() };
        let sasl =
            Sasl { mechanism: Mechanism::ScramSha512, username: "weir".to_owned(), password: "hush".into() };
        let both = KafkaConfig { tls: Some(tls), sasl: Some(sasl), ..property("fetch.wait.max.ms", "5") };
        let client = client_config(&both).unwrap();
        for (name, value) in [
            ("bootstrap.servers", "localhost:9092"),
            ("security.protocol", "sasl_ssl"),
            ("ssl.ca.location", "/ca.pem"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("fetch.wait.max.ms", "5"),
            ("enable.auto.commit", "false"),
        ] {
            assert_eq!(client.get(name), Some(value), "{name}");
        }
        let plain = client_config(&KafkaConfig::default()).unwrap();
        assert_eq!(plain.get("security.protocol"), Some("plaintext"));
    }

    #[test]
    fn wrong_settings_name_their_key() {
        let empty = KafkaConfig {
            brokers: Vec::new(),
            topic: " ".to_owned(),
            max_rules: 0,
            ..KafkaConfig::default()
        };
        assert_eq!(wrong_keys(&empty), ["brokers", "topic", "max_rules"]);
        let half = Tls { cert_file: Some("c".to_owned()), ..Tls::default() };
        let half = KafkaConfig { tls: Some(half), ..property("no.such.thing", "x") };
        assert_eq!(wrong_keys(&half), ["tls.cert_file", "properties.\"no.such.thing\""]);
    }

    #[test]
    fn what_the_reader_depends_on_cannot_be_changed() {
        for (name, _) in OWNED {
            let config = property(name, "x");
            assert_eq!(wrong_keys(&config), [format!("properties.\"{name}\"")]);
            let unknown = weir_kafka::problem(ClientConfig::new().set(*name, "x")).unwrap_or_default();
            assert!(!unknown.contains("No such configuration property"), "{name}: {unknown}");
        }
    }
}
