//! Encryption and login: the settings `tls` and `sasl`.

use rdkafka::ClientConfig;
use serde::Deserialize;
use weir_config::{Secret, Tls};

/// How a client reaches the brokers: in plain text and unnamed, encrypted, logged in, or both.
#[derive(Clone, Copy, Debug, Default)]
pub struct Security<'a> {
    /// Encrypts the connections when present.
    pub tls: Option<&'a Tls>,
    /// Logs in when present.
    pub sasl: Option<&'a Sasl>,
}

/// `sasl`: how to log in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// How the password is proved.
    pub mechanism: Mechanism,
    /// The user.
    pub username: String,
    /// The user's password.
    pub password: Secret,
}

/// `sasl.mechanism`: how the password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    /// `PLAIN`: the password itself is sent. Without TLS everybody on the way can read it.
    #[serde(rename = "PLAIN")]
    Plain,
    /// `SCRAM-SHA-256`: the password is not sent.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// `SCRAM-SHA-512`: the password is not sent.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    /// The name in the settings, which is also Kafka's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Security<'_> {
    /// The faults of `tls` and `sasl`: the key, and why. Files are not opened: they may be on another
    /// machine.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, why: &str| problems.push((key.to_owned(), why.to_owned()));
        if let Some((key, why)) = self.tls.and_then(Tls::half_certificate) {
            wrong(key, why);
        }
        if let Some(sasl) = self.sasl {
            if sasl.username.is_empty() {
                wrong("sasl.username", "`username` is empty: write who logs in");
            }
            if sasl.password.is_empty() {
                wrong("sasl.password", "`password` is empty: no broker accepts that; is its variable set?");
            }
        }
        problems
    }

    /// Sets `security.protocol`, and what `tls` and `sasl` say, in `client`.
    pub fn apply(&self, client: &mut ClientConfig) {
        let protocol = match (self.tls, self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some(tls) = self.tls {
            apply_tls(tls, client);
        }
        if let Some(Sasl { mechanism, username, password }) = self.sasl {
            client.set("sasl.mechanism", mechanism.name());
            client.set("sasl.username", username);
            client.set("sasl.password", password.expose());
        }
    }
}

fn apply_tls(tls: &Tls, client: &mut ClientConfig) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sasl(mechanism: Mechanism, username: &str, password: &str) -> Sasl {
        Sasl { mechanism, username: username.to_owned(), password: password.into() }
    }

    fn client(security: Security<'_>) -> ClientConfig {
        let mut client = ClientConfig::new();
        security.apply(&mut client);
        client.create_native_config().unwrap();
        client
    }

    #[test]
    fn tls_and_sasl_choose_the_protocol() {
        let (tls, sasl) = (Tls::default(), sasl(Mechanism::Plain, "u", "p"));
        for (tls, sasl, protocol) in [
            (None, None, "plaintext"),
            (Some(&tls), None, "ssl"),
            (None, Some(&sasl), "sasl_plaintext"),
            (Some(&tls), Some(&sasl), "sasl_ssl"),
        ] {
            assert_eq!(client(Security { tls, sasl }).get("security.protocol"), Some(protocol));
        }
    }

    #[test]
    fn every_key_becomes_its_property() {
        let file = |name: &str| Some(format!("/{name}.pem"));
        let tls = Tls {
            ca_file: file("ca"),
            cert_file: file("c"),
            key_file: file("k"),
            insecure_skip_verify: true,
        };
        let sasl = sasl(Mechanism::ScramSha512, "weir", "hush");
        let client = client(Security { tls: Some(&tls), sasl: Some(&sasl) });
        for (name, value) in [
            ("ssl.ca.location", "/ca.pem"),
            ("ssl.certificate.location", "/c.pem"),
            ("ssl.key.location", "/k.pem"),
            ("enable.ssl.certificate.verification", "false"),
            ("ssl.endpoint.identification.algorithm", "none"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "weir"),
            ("sasl.password", "hush"),
        ] {
            assert_eq!(client.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn certificates_and_hosts_are_checked_unless_told_otherwise() {
        let client = client(Security { tls: Some(&Tls::default()), sasl: None });
        let native = client.create_native_config().unwrap();
        assert_eq!(native.get("enable.ssl.certificate.verification").unwrap(), "true");
        assert_eq!(native.get("ssl.endpoint.identification.algorithm").unwrap(), "https");
    }

    #[test]
    fn librdkafka_knows_every_mechanism() {
        for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
            let sasl = sasl(mechanism, "u", "p");
            let client = client(Security { tls: None, sasl: Some(&sasl) });
            // Unlike the properties alone, a client is only made when the mechanism is built in.
            let consumer: rdkafka::error::KafkaResult<rdkafka::consumer::BaseConsumer> = client.create();
            assert!(consumer.is_ok(), "{mechanism:?}: {:?}", consumer.err());
        }
    }

    #[test]
    fn half_a_certificate_and_half_a_login_are_refused() {
        let keys = |tls: Option<&Tls>, sasl: Option<&Sasl>| -> Vec<String> {
            Security { tls, sasl }.problems().into_iter().map(|(key, _)| key).collect()
        };
        let certificate = Tls { cert_file: Some("c".to_owned()), ..Tls::default() };
        let key = Tls { key_file: Some("k".to_owned()), ..Tls::default() };
        assert_eq!(keys(Some(&certificate), None), ["tls.cert_file"]);
        assert_eq!(keys(Some(&key), None), ["tls.key_file"]);
        assert_eq!(keys(None, Some(&sasl(Mechanism::Plain, "", ""))), ["sasl.username", "sasl.password"]);
        let both = Tls { key_file: Some("k".to_owned()), ..certificate };
        let none: [&str; 0] = [];
        assert_eq!(keys(Some(&both), Some(&sasl(Mechanism::Plain, "u", "p"))), none);
        assert_eq!(keys(Some(&Tls::default()), None), none);
    }

    #[test]
    fn a_password_is_not_printed() {
        let sasl = sasl(Mechanism::Plain, "u", "hush");
        assert!(!format!("{:?}", Security { tls: None, sasl: Some(&sasl) }).contains("hush"));
    }
}
