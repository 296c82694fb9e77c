//! From settings to the client of the rules' topic.

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use weir_component::{Clock, Context, LogLimit};

use std::sync::Arc;

use crate::config::{KafkaConfig, Sasl, Tls};

/// Properties that the reader depends on.
const RESERVED: [(&str, &str); 4] = [
    ("bootstrap.servers", "write `brokers`"),
    ("enable.auto.commit", "the topic is read from its beginning by every start; nothing is committed"),
    ("enable.auto.offset.store", "the topic is read from its beginning by every start; nothing is committed"),
    ("enable.partition.eof", "the reader needs to see the end of the topic"),
];

/// The client's configuration. Errors name the key below `rules.kafka` that is wrong.
pub(crate) fn client_config(config: &KafkaConfig) -> Result<ClientConfig, Vec<(String, String)>> {
    let mut wrong = Vec::new();
    let mut say = |key: &str, message: &str| wrong.push((key.to_owned(), message.to_owned()));
    if config.brokers.iter().all(|broker| broker.trim().is_empty()) {
        say("brokers", "no broker; write for example `[\"kafka-1:9092\"]`");
    }
    if config.topic.trim().is_empty() {
        say("topic", "the topic's name is empty");
    }
    if config.max_rules == 0 {
        say("max_rules", "`max_rules` must be at least 1");
    }
    if let Some(tls) = &config.tls
        && tls.cert_file.is_some() != tls.key_file.is_some()
    {
        say("tls", "`cert_file` and `key_file` belong together; one is missing");
    }
    for (name, why) in RESERVED {
        if config.properties.contains_key(name) {
            say(&format!("properties.\"{name}\""), &format!("`{name}` cannot be set here: {why}"));
        }
    }
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.brokers.join(","))
        // Assigning partitions needs a group's name; the group is never joined and nothing is committed to it.
        .set("group.id", "weir-rules")
        .set("auto.offset.reset", "earliest")
        .set("queued.max.messages.kbytes", "4096")
        .set("fetch.wait.max.ms", "100")
        .set("allow.auto.create.topics", "false")
        .set_log_level(RDKafkaLogLevel::Info);
    security(&mut client, config.tls.as_ref(), config.sasl.as_ref());
    for (name, value) in &config.properties {
        client.set(name, value);
        let mut alone = ClientConfig::new();
        if let Err(error) = alone.set(name, value).create_native_config() {
            wrong.push((format!("properties.\"{name}\""), describe(&error)));
        }
    }
    client
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true");
    if wrong.is_empty()
        && let Err(error) = client.create_native_config()
    {
        wrong.push((String::new(), describe(&error)));
    }
    if wrong.is_empty() { Ok(client) } else { Err(wrong) }
}

fn security(client: &mut ClientConfig, tls: Option<&Tls>, sasl: Option<&Sasl>) {
    let protocol = match (tls, sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(tls) = tls {
        let files = [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.cert_file),
            ("ssl.key.location", &tls.key_file),
        ];
        for (name, file) in files {
            if let Some(file) = file {
                client.set(name, file);
            }
        }
        if tls.insecure_skip_verify {
            client.set("enable.ssl.certificate.verification", "false");
        }
    }
    if let Some(sasl) = sasl {
        client.set("sasl.mechanism", &sasl.mechanism);
        if let Some(username) = &sasl.username {
            client.set("sasl.username", username);
        }
        if let Some(password) = &sasl.password {
            client.set("sasl.password", password.expose());
        }
    }
}

/// The reason without the value, which may be a secret.
fn describe(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, reason, name, _) => {
            format!("librdkafka does not accept `{name}`: {reason}")
        }
        other => other.to_string(),
    }
}

/// Brings what librdkafka says into the program's log.
pub(crate) struct Logging {
    id: String,
    clock: Arc<dyn Clock>,
    errors: LogLimit,
}

impl Logging {
    pub(crate) fn new(context: &Context) -> Logging {
        Logging {
            id: context.id.to_string(),
            clock: context.clock.clone(),
            errors: LogLimit::every_ms(10_000),
        }
    }
}

impl ClientContext for Logging {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let id = &self.id;
        match level {
            RDKafkaLogLevel::Debug => tracing::debug!("{id}: librdkafka {facility}: {message}"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!("{id}: librdkafka {facility}: {message}");
            }
            // Told again as an error, which is limited.
            _ if facility == "FAIL" => tracing::debug!("{id}: librdkafka {facility}: {message}"),
            _ => tracing::warn!("{id}: librdkafka {facility}: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(held_back) = self.errors.allow(self.clock.now_ms()) {
            tracing::warn!(held_back, "{}: Kafka client of the rules: {error}: {reason}", self.id);
        }
    }
}

impl ConsumerContext for Logging {}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(name: &str, value: &str) -> KafkaConfig {
        KafkaConfig { properties: [(name.to_owned(), value.to_owned())].into(), ..KafkaConfig::default() }
    }

    #[test]
    fn tls_and_sasl_choose_the_protocol_and_any_property_goes_through() {
        let tls = Tls { ca_file: Some("/ca.pem".to_owned()), insecure_skip_verify: true, ..Tls::default() };
        let sasl = Sasl {
            mechanism: "SCRAM-SHA-512".to_owned(),
            username: Some("weir".to_owned()),
            password: Some("hush".into()),
        };
        let both = KafkaConfig { tls: Some(tls), sasl: Some(sasl), ..property("client.id", "me") };
        let client = client_config(&both).unwrap();
        for (name, value) in [
            ("security.protocol", "sasl_ssl"),
            ("ssl.ca.location", "/ca.pem"),
            ("enable.ssl.certificate.verification", "false"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "weir"),
            ("sasl.password", "hush"),
            ("client.id", "me"),
            ("enable.auto.commit", "false"),
        ] {
            assert_eq!(client.get(name), Some(value), "{name}");
        }
        assert_eq!(
            client_config(&KafkaConfig::default()).unwrap().get("security.protocol"),
            Some("plaintext")
        );
    }

    #[test]
    fn wrong_settings_name_their_key_and_never_show_the_value() {
        let wrong = client_config(&property("no.such.thing", "s3cret")).unwrap_err();
        assert_eq!(wrong[0].0, "properties.\"no.such.thing\"");
        assert!(!wrong[0].1.contains("s3cret"), "{wrong:?}");
        let wrong = client_config(&property("enable.auto.commit", "true")).unwrap_err();
        assert!(wrong[0].1.contains("cannot be set here"), "{wrong:?}");
        let empty = KafkaConfig {
            brokers: Vec::new(),
            topic: " ".to_owned(),
            max_rules: 0,
            ..KafkaConfig::default()
        };
        let keys: Vec<_> = client_config(&empty).unwrap_err().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["brokers", "topic", "max_rules"]);
        let half = Tls { cert_file: Some("c".to_owned()), ..Tls::default() };
        let half = KafkaConfig { tls: Some(half), ..KafkaConfig::default() };
        assert_eq!(client_config(&half).unwrap_err()[0].0, "tls");
    }
}
