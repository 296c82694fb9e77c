//! What all exporters that talk HTTP share: the settings `tls` and `proxy`, and [`retry_after()`].
//!
//! Guaranteed: files and addresses are checked when an exporter is made, so by `validate`; secrets are not
//! shown. Not here: clients. Each exporter gives [`Connection::tls`] and [`Connection::proxy`], or a
//! [`Connector`], to its own.

mod connector;
mod retry_after;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use native_tls::{Certificate, Identity, TlsConnector};
use serde::Deserialize;
use weir_config::{Secret, Tls};

pub use connector::Connector;
pub use retry_after::{LONGEST_WAIT, retry_after};

/// `proxy`: through whom requests go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// `http://host:port`.
    pub url: String,
    /// The user, when the proxy asks for one.
    #[serde(default)]
    pub username: String,
    /// The user's password.
    #[serde(default)]
    pub password: Secret,
}

/// The faults: the key within the section, and why.
pub type Problem = (String, String);

/// The needs of a client besides the address.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Makes encrypted connections.
    pub tls: TlsConnector,
    /// The proxy, checked.
    pub proxy: Option<Proxy>,
}

impl Connection {
    /// Reads the files of `tls` and checks `proxy`. `address` is where requests go.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn new(address: &str, tls: Option<&Tls>, proxy: Option<&Proxy>) -> Result<Connection, Vec<Problem>> {
        Connection::speaking(&[], address, tls, proxy)
    }

    /// The same, for a client that speaks HTTP/2 only, and tells the server so.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn http2(
        address: &str,
        tls: Option<&Tls>,
        proxy: Option<&Proxy>,
    ) -> Result<Connection, Vec<Problem>> {
        Connection::speaking(&["h2"], address, tls, proxy)
    }

    fn speaking(
        protocols: &[&str],
        address: &str,
        tls: Option<&Tls>,
        proxy: Option<&Proxy>,
    ) -> Result<Connection, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, why: String| problems.push((key.to_owned(), why));
        if tls.is_some() && address.starts_with("http://") {
            wrong(
                "tls",
                "the address begins with http://, so nothing is encrypted; write https://".to_owned(),
            );
        }
        let connector = connector(tls.unwrap_or(&Tls::default()), protocols, &mut wrong);
        if let Some(why) = proxy.and_then(Proxy::problem) {
            wrong("proxy.url", why);
        }
        if proxy.is_some_and(|proxy| proxy.username.is_empty() && !proxy.password.is_empty()) {
            wrong("proxy.username", "there is a password, but no user".to_owned());
        }
        match connector {
            Some(tls) if problems.is_empty() => Ok(Connection { tls, proxy: proxy.cloned() }),
            _ => Err(problems),
        }
    }
}

impl Proxy {
    /// The value of the header `proxy-authorization`.
    #[must_use]
    pub fn authorization(&self) -> Option<Secret> {
        if self.username.is_empty() {
            return None;
        }
        let login = format!("{}:{}", self.username, self.password.expose());
        Some(Secret::new(format!("Basic {}", STANDARD.encode(login))))
    }

    fn problem(&self) -> Option<String> {
        let right = "write `http://host:port`";
        let Some(rest) = self.url.strip_prefix("http://") else {
            return Some(format!("the address of a proxy begins with http://; {right}"));
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Some("must not hold a user or password: use `username` and `password`".to_owned());
        }
        if authority.contains(|c: char| matches!(c, '/' | '?' | '#') || c.is_whitespace()) {
            return Some(format!("has more than a host and a port; {right}"));
        }
        let port = authority.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        match port.map(|(_, port)| port.parse::<u16>()) {
            Some(Ok(_)) => None,
            _ => Some(format!("has no port; {right}")),
        }
    }
}

/// `None` when something was wrong.
fn connector(tls: &Tls, protocols: &[&str], wrong: &mut dyn FnMut(&str, String)) -> Option<TlsConnector> {
    let mut builder = TlsConnector::builder();
    builder.request_alpns(protocols);
    let mut fine = true;
    if let Some(file) = &tls.ca_file {
        match authorities(file) {
            Ok(authorities) => {
                builder.disable_built_in_roots(true);
                for authority in authorities {
                    builder.add_root_certificate(authority);
                }
            }
            Err(why) => {
                wrong("tls.ca_file", why);
                fine = false;
            }
        }
    }
    match (&tls.cert_file, &tls.key_file) {
        (Some(certificate), Some(key)) => match identity(certificate, key) {
            Ok(identity) => drop(builder.identity(identity)),
            Err((key, why)) => {
                wrong(key, why);
                fine = false;
            }
        },
        _ => {
            if let Some((key, why)) = tls.half_certificate() {
                wrong(key, why.to_owned());
                fine = false;
            }
        }
    }
    builder.danger_accept_invalid_certs(tls.insecure_skip_verify);
    builder.danger_accept_invalid_hostnames(tls.insecure_skip_verify);
    let built = builder.build().map_err(|error| wrong("tls", format!("TLS cannot be set up: {error}"))).ok();
    built.filter(|_| fine)
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

fn authorities(file: &str) -> Result<Vec<Certificate>, String> {
    let text = read(file)?;
    let mut found = Vec::new();
    for part in text.split(BEGIN).skip(1) {
        let (body, _) = part.split_once(END).ok_or_else(|| format!("`{file}`: a certificate has no end"))?;
        let pem = format!("{BEGIN}{body}{END}\n");
        let certificate = Certificate::from_pem(pem.as_bytes());
        found.push(certificate.map_err(|error| format!("`{file}` holds no certificate: {error}"))?);
    }
    if found.is_empty() {
        return Err(format!("`{file}` holds no certificate in PEM (`{BEGIN}`)"));
    }
    Ok(found)
}

fn identity(certificate: &str, key: &str) -> Result<Identity, (&'static str, String)> {
    let chain = read(certificate).map_err(|why| ("tls.cert_file", why))?;
    if !chain.contains(BEGIN) {
        return Err(("tls.cert_file", format!("`{certificate}` holds no certificate in PEM (`{BEGIN}`)")));
    }
    let private = read(key).map_err(|why| ("tls.key_file", why))?;
    if !private.contains("-----BEGIN PRIVATE KEY-----") {
        let right = format!("write it with `openssl pkcs8 -topk8 -nodes -in {key}`");
        return Err(("tls.key_file", format!("`{key}` holds no unencrypted key in PKCS #8; {right}")));
    }
    Identity::from_pkcs8(chain.as_bytes(), private.as_bytes()).map_err(|error| {
        ("tls.cert_file", format!("`{certificate}` and `{key}` do not fit together: {error}"))
    })
}

fn read(file: &str) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("`{file}` cannot be read: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn keys(address: &str, tls: Option<&Tls>, proxy: Option<&Proxy>) -> Vec<String> {
        let connection = Connection::new(address, tls, proxy);
        connection.err().unwrap_or_default().into_iter().map(|(key, _)| key).collect()
    }

    fn proxy(url: &str) -> Option<Proxy> {
        Some(Proxy { url: url.to_owned(), username: String::new(), password: Secret::default() })
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        for good in ["http://proxy:3128", "http://proxy:3128/", "http://[::1]:3128", "http://10.0.0.1:80"] {
            assert_eq!(keys("https://a", None, proxy(good).as_ref()), [""; 0], "{good}");
        }
        for bad in [
            "proxy:3128",
            "https://proxy:3128",
            "http://proxy",
            "http://:3128",
            "http://u:p@proxy:1",
            "http://p:1/x",
            "",
        ] {
            assert_eq!(keys("https://a", None, proxy(bad).as_ref()), ["proxy.url"], "{bad}");
        }
    }

    #[test]
    fn a_login_is_basic_and_not_shown() {
        let mut proxy = proxy("http://proxy:3128").unwrap();
        assert_eq!(proxy.authorization(), None);
        (proxy.username, proxy.password) = ("Aladdin".to_owned(), Secret::new("open sesame"));
        // The example of RFC 7617.
        assert_eq!(proxy.authorization().unwrap().expose(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{proxy:?}").contains("sesame"));
        proxy.username.clear();
        assert_eq!(keys("https://a", None, Some(&proxy)), ["proxy.username"]);
    }

    #[test]
    fn tls_names_the_key_that_is_wrong() {
        let missing = || Some("/nonexistent/file.pem".to_owned());
        let ca = Tls { ca_file: missing(), ..Tls::default() };
        assert_eq!(keys("https://a", Some(&ca), None), ["tls.ca_file"]);
        assert_eq!(keys("http://a", Some(&ca), None), ["tls", "tls.ca_file"]);
        let half = Tls { cert_file: missing(), ..Tls::default() };
        assert_eq!(keys("https://a", Some(&half), None), ["tls.cert_file"]);
        let half = Tls { key_file: missing(), ..Tls::default() };
        assert_eq!(keys("https://a", Some(&half), None), ["tls.key_file"]);
        let no_certificate = Tls {
            ca_file: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").to_owned()),
            ..Tls::default()
        };
        assert_eq!(keys("https://a", Some(&no_certificate), None), ["tls.ca_file"]);
    }
}
