//! From the receiver's settings to librdkafka's properties.
//!
//! The user's properties come last and win. Properties that Weir must set are refused.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::config::Config;

/// How often librdkafka gives lag, ends of partitions and broker states.
const STATISTICS_INTERVAL_MS: &str = "5000";

/// librdkafka's `session.timeout.ms`, unless `properties` has another.
const SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// Bytes of one fetch response, unless a single record is larger.
const FETCH_MAX_BYTES: u64 = 8 << 20;

/// About what librdkafka holds: for each of eight partitions its queue and what was fetched for it, and a
/// response that is read.
pub(crate) const LIBRDKAFKA_BYTES: u64 = (8 << 20) + FETCH_MAX_BYTES;

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
        // Start positions are always given (see `start_offsets`). This is for offsets that Kafka no longer
        // has: go on at the oldest record that it does have, so that no more is lost than must be.
        .set("auto.offset.reset", "earliest")
        .set("topic.metadata.refresh.interval.ms", config.metadata_refresh.as_millis().to_string())
        .set("socket.keepalive.enable", "true")
        .set("log.connection.close", "false")
        // For each partition. The receiver has its own bounded queues: what librdkafka holds beside them is
        // small, a queue and a fetch of half a MiB.
        .set("queued.max.messages.kbytes", "512")
        .set("max.partition.fetch.bytes", "524288")
        .set("queued.min.messages", "4096")
        .set("fetch.queue.backoff.ms", "10")
        // A fetch asks for the partitions whose queues have room just then. While it waits at the broker for
        // some that have nothing new, nothing is fetched for the others.
        .set("fetch.wait.max.ms", "20")
        .set("fetch.max.bytes", FETCH_MAX_BYTES.to_string());
    config.security().apply(&mut client);
    config.properties.apply(&mut client);
    if !config.properties.contains("receive.message.max.bytes") {
        client.set("receive.message.max.bytes", response_limit(config, &client).to_string());
    }
    client.set_log_level(weir_kafka::log_level(&config.properties));
    client
}

/// After how long a silence the group gives a consumer's partitions to another.
pub(crate) fn session_timeout(client: &ClientConfig) -> Duration {
    let set = client.get("session.timeout.ms").and_then(|millis| millis.parse().ok());
    set.map_or(SESSION_TIMEOUT, Duration::from_millis)
}

/// The largest response that is taken from a broker, in bytes. A record above `max_record_bytes` must still
/// come in, or it could not be set aside and its partition would stand still.
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
    use weir_config::{ByteSize, Document, SourceText};

    fn config(yaml: &str) -> Config {
        let text = format!("brokers: [\"a:9092\", \"b:9092\"]\n{yaml}");
        let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
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
    fn tls_and_sasl_reach_the_client() {
        let yaml = "tls: {ca_file: /ca.pem}\nsasl: {mechanism: SCRAM-SHA-512, username: u, password: p}";
        let client = client_config(&config(yaml));
        assert_eq!(client.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(client.get("ssl.ca.location"), Some("/ca.pem"));
        assert_eq!(client.get("sasl.mechanism"), Some("SCRAM-SHA-512"));
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
    fn the_session_timeout_is_that_of_the_client() {
        let client = client_config(&config(""));
        let native = client.create_native_config().unwrap();
        assert_eq!(
            native.get("session.timeout.ms").unwrap(),
            session_timeout(&client).as_millis().to_string()
        );
        let shorter = client_config(&config("properties: {session.timeout.ms: 2000}"));
        assert_eq!(session_timeout(&shorter), Duration::from_secs(2));
    }

    #[test]
    fn what_is_wrong_with_tls_sasl_and_properties_is_told() {
        let yaml = "tls: {key_file: k}\nsasl: {mechanism: PLAIN, username: '', password: p}\nproperties: {group.id: x}";
        let keys: Vec<_> = config(yaml).problems(0).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["tls.key_file", "sasl.username", "properties.\"group.id\""]);
    }

    #[test]
    fn every_owned_property_exists() {
        for (name, _) in crate::config::OWNED {
            let why = weir_kafka::problem(ClientConfig::new().set(*name, "x")).unwrap_or_default();
            assert!(!why.contains("No such configuration property"), "{name}: {why}");
        }
    }

    #[test]
    fn the_largest_record_still_comes_in() {
        let mut config = config("");
        config.max_record_bytes = ByteSize::mib(512);
        assert_eq!(client_config(&config).get("receive.message.max.bytes"), Some("2147483647"));
    }
}
