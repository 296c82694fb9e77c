//! `tls`: encrypted connections, with the same keys in every component.

use serde::Deserialize;

/// Encrypted connections. Empty (`tls: {}`) is encryption with the system's authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file with the authorities to trust, in place of the system's.
    pub ca_file: Option<String>,
    /// PEM file with the client's certificate; together with `key_file`.
    pub cert_file: Option<String>,
    /// PEM file with the client's private key; together with `cert_file`.
    pub key_file: Option<String>,
    /// Accept any certificate, for any host.
    pub insecure_skip_verify: bool,
}

impl Tls {
    /// The key that has half of a certificate, and what is wrong with it. Files are not opened: they may be
    /// on another machine.
    #[must_use]
    pub fn half_certificate(&self) -> Option<(&'static str, &'static str)> {
        let both = "`cert_file` and `key_file` go together: give both or none";
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => Some(("tls.cert_file", both)),
            (None, Some(_)) => Some(("tls.key_file", both)),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_and_its_key_go_together() {
        let file = || Some("/file.pem".to_owned());
        let key = |tls: Tls| tls.half_certificate().map(|(key, _)| key);
        assert_eq!(key(Tls::default()), None);
        assert_eq!(key(Tls { cert_file: file(), ..Tls::default() }), Some("tls.cert_file"));
        assert_eq!(key(Tls { key_file: file(), ..Tls::default() }), Some("tls.key_file"));
        assert_eq!(key(Tls { cert_file: file(), key_file: file(), ..Tls::default() }), None);
    }
}
