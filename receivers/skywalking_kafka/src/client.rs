//! From the receiver's settings to librdkafka's properties.
//!
//! Properties that the user gives come last and win, except for those that Weir must set: these are refused.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use crate::config::{Config, Mechanism};

/// How often librdkafka tells lag, ends of partitions and broker states.
const STATISTICS_INTERVAL_MS: &str = "5000";

/// Bytes of one fetch response, unless a single record is larger. librdkafka's queue holds about one.
const FETCH_MAX_BYTES: u64 = 8 << 20;

/// Properties that Weir sets, and what to do instead.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "use `brokers`"),
    ("metadata.broker.list", "use `brokers`"),
    ("group.id", "use `group_id`"),
    ("client.id", "use `client_id`"),
    ("auto.offset.reset", "use `initial_offset`"),
    ("topic.metadata.refresh.interval.ms", "use `metadata_refresh`"),
    ("enable.auto.commit", "Weir commits an offset when its records are safe"),
    ("auto.commit.enable", "Weir commits an offset when its records are safe"),
    ("auto.commit.interval.ms", "use `commit_interval`"),
    ("enable.auto.offset.store", "Weir commits an offset when its records are safe"),
    ("enable.partition.eof", "Weir needs it to know when a partition is idle"),
    ("partition.assignment.strategy", "Weir needs `cooperative-sticky`"),
    ("group.protocol", "Weir needs the `classic` protocol"),
    ("statistics.interval.ms", "Weir reads the statistics for lag and idle partitions"),
    ("ssl.ca.location", "use `tls.ca_file`"),
    ("ssl.certificate.location", "use `tls.cert_file`"),
    ("ssl.key.location", "use `tls.key_file`"),
    ("enable.ssl.certificate.verification", "use `tls.insecure_skip_verify`"),
    ("sasl.username", "use `sasl.username`"),
    ("sasl.password", "use `sasl.password`, which is kept secret"),
];

/// What is wrong with `properties`: the key within the receiver's section, and why.
pub(crate) fn property_problems(config: &Config) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    for (name, value) in &config.properties {
        let key = format!("properties.\"{name}\"");
        if let Some((_, instead)) = OWNED.iter().find(|(owned, _)| owned == name) {
            problems.push((key, format!("`{name}` is set by Weir and cannot be changed here: {instead}")));
            continue;
        }
        let mut one = ClientConfig::new();
        one.set(name, value);
        match one.create_native_config() {
            Ok(_) => {}
            Err(KafkaError::ClientConfig(_, reason, _, _)) => {
                problems.push((key, format!("librdkafka refuses it: {reason}")));
            }
            Err(error) => problems.push((key, format!("librdkafka refuses it: {error}"))),
        }
    }
    problems
}

/// The consumer's properties.
pub(crate) fn client_config(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.brokers.join(","))
        .set("group.id", &config.group_id)
        .set("client.id", &config.client_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("statistics.interval.ms", STATISTICS_INTERVAL_MS)
        // Start positions are always given (see `start`). This is for offsets that Kafka no longer has: go on at the
        // oldest record that it does have, so that no more is lost than must be.
        .set("auto.offset.reset", "earliest")
        .set("topic.metadata.refresh.interval.ms", config.metadata_refresh.as_millis().to_string())
        .set("socket.keepalive.enable", "true")
        .set("log.connection.close", "false")
        // The receiver has its own bounded queues: what librdkafka holds beside them is small. Pausing a partition
        // throws away what librdkafka holds of it.
        .set("queued.max.messages.kbytes", "8192")
        .set("queued.min.messages", "4096")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.max.bytes", FETCH_MAX_BYTES.to_string());
    if let Some(tls) = &config.tls {
        let files = [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.cert_file),
            ("ssl.key.location", &tls.key_file),
        ];
        for (property, file) in files {
            if let Some(file) = file {
                client.set(property, file);
            }
        }
        if tls.insecure_skip_verify {
            client.set("enable.ssl.certificate.verification", "false");
            client.set("ssl.endpoint.identification.algorithm", "none");
        }
    }
    if let Some(sasl) = &config.sasl {
        let mechanism = match sasl.mechanism {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        client.set("sasl.mechanism", mechanism);
        client.set("sasl.username", &sasl.username);
        client.set("sasl.password", sasl.password.expose());
    }
    let protocol = match (config.tls.is_some(), config.sasl.is_some()) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    for (name, value) in &config.properties {
        client.set(name, value);
    }
    if !config.properties.contains_key("receive.message.max.bytes") {
        client.set("receive.message.max.bytes", response_limit(config, &client).to_string());
    }
    let debug = config.properties.contains_key("debug")
        || tracing::enabled!(target: "librdkafka", tracing::Level::DEBUG);
    client.set_log_level(if debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    client
}

/// The largest response that is taken from a broker, in bytes. A record above `max_record_bytes` must still come in, or
/// it could not be set aside and its partition would stand still.
fn response_limit(config: &Config, client: &ClientConfig) -> u64 {
    let fetch =
        client.get("fetch.max.bytes").and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(FETCH_MAX_BYTES);
    let records = config.max_record_bytes.get().saturating_mul(4);
    let most = u64::from(i32::MAX.unsigned_abs());
    records.max(fetch.saturating_add(1 << 20)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_config::{ByteSize, Document, Source};

    fn config(yaml: &str) -> Config {
        let text = format!("brokers: [\"a:9092\", \"b:9092\"]\n{yaml}");
        let document = Document::load(vec![Source::new("test.yaml", text)], &[], &|_| None).unwrap();
        document.read(document.root(), "").unwrap()
    }

    #[test]
    fn the_plain_case_sets_what_the_receiver_depends_on() {
        let client = client_config(&config(""));
        assert_eq!(client.get("bootstrap.servers"), Some("a:9092,b:9092"));
        assert_eq!(client.get("enable.auto.commit"), Some("false"));
        assert_eq!(client.get("enable.auto.offset.store"), Some("false"));
        assert_eq!(client.get("partition.assignment.strategy"), Some("cooperative-sticky"));
        assert_eq!(client.get("security.protocol"), Some("plaintext"));
        assert_eq!(client.get("receive.message.max.bytes"), Some("268435456"));
        client.create_native_config().unwrap();
    }

    #[test]
    fn tls_and_sasl_choose_the_protocol() {
        let sasl = "sasl: {mechanism: SCRAM-SHA-512, username: u, password: p}";
        assert_eq!(client_config(&config("tls: {}")).get("security.protocol"), Some("ssl"));
        assert_eq!(client_config(&config(sasl)).get("security.protocol"), Some("sasl_plaintext"));
        let both =
            client_config(&config(&format!("tls: {{ca_file: /ca.pem, insecure_skip_verify: true}}\n{sasl}")));
        assert_eq!(both.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(both.get("ssl.ca.location"), Some("/ca.pem"));
        assert_eq!(both.get("enable.ssl.certificate.verification"), Some("false"));
        assert_eq!(both.get("sasl.password"), Some("p"));
        both.create_native_config().unwrap();
    }

    #[test]
    fn properties_win_over_defaults() {
        let client = client_config(&config("properties: {fetch.max.bytes: 500000000, client.rack: r1}"));
        assert_eq!(client.get("client.rack"), Some("r1"));
        assert_eq!(client.get("fetch.max.bytes"), Some("500000000"));
        assert_eq!(
            client.get("receive.message.max.bytes"),
            Some("501048576"),
            "librdkafka wants more than a fetch"
        );
    }

    #[test]
    fn owned_unknown_and_wrong_properties_are_refused() {
        let yaml = "properties: {group.id: x, no.such.thing: 1, fetch.wait.max.ms: soon, fetch.min.bytes: 2}";
        let problems = property_problems(&config(yaml));
        let keys: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            ["properties.\"fetch.wait.max.ms\"", "properties.\"group.id\"", "properties.\"no.such.thing\""]
        );
        assert!(problems[1].1.contains("use `group_id`"), "{problems:?}");
    }

    #[test]
    fn every_owned_property_exists() {
        for (name, _) in OWNED {
            let mut client = ClientConfig::new();
            client.set(*name, "x");
            if let Err(KafkaError::ClientConfig(_, reason, _, _)) = client.create_native_config() {
                assert!(!reason.contains("No such configuration property"), "{name}: {reason}");
            }
        }
    }

    #[test]
    fn the_largest_record_still_comes_in() {
        let mut config = config("");
        config.max_record_bytes = ByteSize::mib(512);
        assert_eq!(client_config(&config).get("receive.message.max.bytes"), Some("2147483647"));
    }
}
