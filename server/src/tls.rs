//! `tls` of a protocol: the server's certificate, and whose clients may connect.

use std::fmt;
use std::sync::Arc;

use openssl::ssl::{AlpnError, SslAcceptor, SslFiletype, SslMethod, SslVerifyMode, select_next_proto};
use serde::Deserialize;

use crate::Problem;

/// Encryption, with the keys of the Collector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsKeys {
    /// PEM file with the server's certificate, and those between it and its authority.
    cert_file: String,
    /// PEM file with the certificate's private key.
    key_file: String,
    /// PEM file with the authorities whose clients may connect. `None`: every client may.
    #[serde(default)]
    client_ca_file: Option<String>,
}

/// The files, read.
#[derive(Clone)]
pub struct ServerTls(Arc<SslAcceptor>);

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// What both protocols may speak on one encrypted connection, the best first.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";
/// Whose sessions clients may resume. OpenSSL refuses all where clients have certificates and this is
/// missing. A session is only good for the acceptor that it is from: the keys of its tickets are its own.
const SESSIONS: &[u8] = b"weir";

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong: the key, and why.
    pub fn read(keys: &TlsKeys) -> Result<ServerTls, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, why: String| problems.push((format!("tls.{key}"), why));
        let mut acceptor = match SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()) {
            Ok(acceptor) => acceptor,
            Err(error) => return Err(vec![("tls".to_owned(), format!("TLS cannot be set up: {error}"))]),
        };
        for (key, file) in [("cert_file", &keys.cert_file), ("key_file", &keys.key_file)] {
            if let Err(error) = std::fs::read(file) {
                wrong(key, format!("`{file}` cannot be read: {error}"));
            }
        }
        let (certificate, key) = (&keys.cert_file, &keys.key_file);
        if let Some(file) = &keys.client_ca_file {
            if let Err(error) = std::fs::read(file) {
                wrong("client_ca_file", format!("`{file}` cannot be read: {error}"));
            } else if let Err(error) = acceptor.set_ca_file(file) {
                wrong("client_ca_file", format!("`{file}` holds no certificate in PEM: {error}"));
            }
            acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut wrong = |key: &str, why: String| problems.push((format!("tls.{key}"), why));
        if let Err(error) = acceptor.set_certificate_chain_file(certificate) {
            wrong("cert_file", format!("`{certificate}` holds no certificate in PEM: {error}"));
        } else if let Err(error) = acceptor.set_private_key_file(key, SslFiletype::PEM) {
            wrong("key_file", format!("`{key}` holds no private key in PEM: {error}"));
        } else if let Err(error) = acceptor.check_private_key() {
            wrong("key_file", format!("`{certificate}` and `{key}` do not fit together: {error}"));
        }
        if let Err(error) = acceptor.set_session_id_context(SESSIONS) {
            problems.push(("tls".to_owned(), format!("TLS cannot be set up: {error}")));
        }
        acceptor.set_alpn_select_callback(|_, offered| {
            select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::NOACK)
        });
        if problems.is_empty() { Ok(ServerTls(Arc::new(acceptor.build()))) } else { Err(problems) }
    }

    /// Makes encrypted connections.
    pub(crate) fn acceptor(&self) -> &SslAcceptor {
        &self.0
    }
}
