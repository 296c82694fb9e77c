//! librdkafka properties that the user gives: the setting `properties`.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use serde::Deserialize;

/// `properties`: librdkafka properties by name. Printing shows the names only: a value may be a secret.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Properties(BTreeMap<String, String>);

/// Properties that a key beside `properties` sets in every component, aliases included, and what to do
/// instead.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "use `brokers`"),
    ("metadata.broker.list", "use `brokers`"),
    ("security.protocol", "it follows from `tls` and `sasl`; `tls: {}` encrypts"),
    ("ssl.ca.location", "use `tls.ca_file`"),
    ("ssl.certificate.location", "use `tls.cert_file`"),
    ("ssl.key.location", "use `tls.key_file`"),
    ("enable.ssl.certificate.verification", "use `tls.insecure_skip_verify`"),
    ("sasl.mechanism", "write it as `mechanism` in the section `sasl`"),
    ("sasl.mechanisms", "write it as `mechanism` in the section `sasl`"),
    ("sasl.username", "write it as `username` in the section `sasl`"),
    ("sasl.password", "write it as `password` in the section `sasl`, where it is kept secret"),
];

impl Properties {
    /// The faults in them, in the order of their names: the key, and why, as [`problem`] says it.
    ///
    /// Refused are those that [`Security`](crate::Security) and `brokers` set, those in `owned`, and what
    /// librdkafka does not know or accept. `owned`: the further properties that the component sets, aliases
    /// included, and what to do instead, or why it must be so.
    #[must_use]
    pub fn problems(&self, owned: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for (name, value) in &self.0 {
            let owned = owned.iter().chain(OWNED).find(|(owned, _)| owned == name);
            let why = match owned {
                Some((_, instead)) => {
                    Some(format!("`{name}` is set by Weir and cannot be changed here: {instead}"))
                }
                None => problem(ClientConfig::new().set(name, value)),
            };
            problems.extend(why.map(|why| (format!("properties.\"{name}\""), why)));
        }
        problems
    }

    /// Sets them in `client`, over what is there. Call it before what the user must not change is set.
    pub fn apply(&self, client: &mut ClientConfig) {
        for (name, value) in &self.0 {
            client.set(name, value);
        }
    }

    /// Whether the user gives this one.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl FromIterator<(String, String)> for Properties {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Properties {
        Properties(pairs.into_iter().collect())
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why librdkafka refuses these properties, if it does. The text that it refuses is left out, as it may be a
/// secret; a number outside its range and the path of a plugin are shown. Nothing is connected. No file is
/// opened but those in `plugin.library.paths`.
#[must_use]
pub fn problem(client: &ClientConfig) -> Option<String> {
    let why = match client.create_native_config() {
        Ok(_) => return None,
        Err(KafkaError::ClientConfig(_, reason, name, _)) => without_value(&reason, &name),
        Err(KafkaError::Nul(_)) => "a text contains a null character".to_owned(),
        Err(error) => error.to_string(),
    };
    Some(format!("librdkafka refuses it: {why}"))
}

/// librdkafka puts texts that it does not accept into some of its messages: behind `Invalid value`, or quoted
/// behind `Unsupported value` and `Failed to parse pattern`.
fn without_value(reason: &str, name: &str) -> String {
    let property = format!(" for configuration property \"{name}\"");
    if reason.starts_with("Invalid value") {
        return format!("Invalid value{property}");
    }
    if reason.starts_with("Failed to parse pattern") {
        return format!("Invalid regular expression{property}");
    }
    if reason.starts_with("Unsupported value") {
        let why =
            reason.rfind(&property).and_then(|at| reason.get(at + property.len()..)).unwrap_or_default();
        return format!("Unsupported value{property}{}", why.trim_end());
    }
    reason.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn owned_unknown_and_wrong_properties_are_refused_each_at_its_key() {
        let given = properties(&[
            ("group.id", "x"),
            ("no.such.thing", "1"),
            ("fetch.wait.max.ms", "soon"),
            ("fetch.min.bytes", "2"),
            ("ssl.ca.location", "/ca.pem"),
        ]);
        let found = given.problems(&[("group.id", "use `group_id`")]);
        let found: Vec<_> = found.iter().map(|(key, why)| (key.as_str(), why.as_str())).collect();
        assert_eq!(
            found,
            [
                (
                    "properties.\"fetch.wait.max.ms\"",
                    "librdkafka refuses it: Invalid value for configuration property \"fetch.wait.max.ms\""
                ),
                (
                    "properties.\"group.id\"",
                    "`group.id` is set by Weir and cannot be changed here: use `group_id`"
                ),
                (
                    "properties.\"no.such.thing\"",
                    "librdkafka refuses it: No such configuration property: \"no.such.thing\""
                ),
                (
                    "properties.\"ssl.ca.location\"",
                    "`ssl.ca.location` is set by Weir and cannot be changed here: use `tls.ca_file`"
                ),
            ]
        );
    }

    #[test]
    fn a_property_of_another_component_is_free() {
        assert!(properties(&[("group.id", "x")]).problems(&[]).is_empty());
    }

    #[test]
    fn no_refused_value_is_shown() {
        // One of each way in which librdkafka refuses a value: number, truth, choice, list of choices,
        // pattern.
        for name in [
            "fetch.wait.max.ms",
            "socket.keepalive.enable",
            "broker.address.family",
            "debug",
            "topic.blacklist",
        ] {
            for value in ["s3cret[", "generic,s3cret["] {
                let found = properties(&[(name, value)]).problems(&[]);
                for (_, why) in &found {
                    assert!(!why.contains("s3cret") && why.contains(name), "{name}: {why}");
                }
                assert_eq!(found.len(), 1, "{name}: {value}");
            }
        }
        let unsupported = r#"Unsupported value "s3cret" for configuration property "p": not in this build"#;
        assert_eq!(
            without_value(unsupported, "p"),
            r#"Unsupported value for configuration property "p": not in this build"#
        );
        assert!(!format!("{:?}", properties(&[("ssl.key.password", "s3cret")])).contains("s3cret"));
    }

    #[test]
    fn a_value_outside_its_range_is_told_the_range() {
        let found = properties(&[("fetch.min.bytes", "0")]).problems(&[]);
        assert!(found[0].1.ends_with("outside allowed range 1..100000000"), "{found:?}");
    }

    #[test]
    fn a_null_character_is_refused() {
        let found = properties(&[("client.rack", "a\0b")]).problems(&[]);
        assert_eq!(found[0].1, "librdkafka refuses it: a text contains a null character");
    }

    #[test]
    fn properties_win_over_what_is_set_before() {
        let mut client = ClientConfig::new();
        client.set("fetch.min.bytes", "1").set("client.id", "weir");
        properties(&[("fetch.min.bytes", "2")]).apply(&mut client);
        assert_eq!((client.get("fetch.min.bytes"), client.get("client.id")), (Some("2"), Some("weir")));
    }

    #[test]
    fn every_owned_property_exists() {
        for (name, _) in OWNED {
            let why = problem(ClientConfig::new().set(*name, "x")).unwrap_or_default();
            assert!(!why.contains("No such configuration property"), "{name}: {why}");
        }
    }
}
