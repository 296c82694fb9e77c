//! The settings of the exporter.

use std::collections::BTreeMap;

use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use weir_component::exporter_helper::{BatchConfig, BatchKeys, HelperConfig, QueueKeys, RetryKeys};
use weir_config::{ByteSize, Duration, Secret, Tls};
use weir_http::{Connection, Proxy};

/// What stands below `otlp:`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where the server is: `http://host:port` or `https://host:port`.
    endpoint: String,
    /// How it is spoken to.
    #[serde(default)]
    protocol: Protocol,
    /// Further headers.
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    /// How requests are compressed.
    #[serde(default)]
    compression: Compression,
    /// Whom to trust, and how to be known.
    #[serde(default)]
    tls: Option<Tls>,
    /// Through whom requests go.
    #[serde(default)]
    proxy: Option<Proxy>,
    /// Waiting batches.
    #[serde(default)]
    queue: QueueKeys,
    /// What goes into one request.
    #[serde(default)]
    batch: BatchKeys,
    /// What happens after a failed request.
    #[serde(default)]
    retry: RetryKeys,
    /// How long one request may take.
    timeout: Option<Duration>,
}

/// `protocol`: how the server is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Protocol {
    /// gRPC.
    #[default]
    #[serde(rename = "grpc")]
    Grpc,
    /// HTTP with protobuf.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// HTTP with JSON.
    #[serde(rename = "http/json")]
    HttpJson,
}

/// `compression`: how requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    /// gzip, which every server reads.
    #[default]
    Gzip,
    /// zstd.
    Zstd,
    /// Not at all.
    None,
}

/// What requests are sent with.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The server, without a path for gRPC, and without a `/` at its end.
    pub(crate) address: String,
    pub(crate) protocol: Protocol,
    pub(crate) compression: Compression,
    pub(crate) headers: HeaderMap,
    pub(crate) connection: Connection,
}

/// Headers that the exporter sets itself.
const RESERVED: [&str; 7] =
    ["content-type", "content-length", "content-encoding", "transfer-encoding", "host", "te", "user-agent"];

impl Config {
    /// The settings of the queue in front of the exporter.
    pub(crate) fn helper(&self) -> HelperConfig {
        let defaults = HelperConfig {
            // A Collector takes messages of up to 4 MiB by default.
            batch: BatchConfig { max_bytes: ByteSize::mib(2), ..BatchConfig::default() },
            ..HelperConfig::default()
        };
        defaults.with(self.queue.clone(), self.batch, self.retry, self.timeout)
    }

    /// What to send requests with, or what is wrong: the key within the section, and why.
    pub(crate) fn target(&self) -> Result<Target, Vec<(String, String)>> {
        let mut problems = Vec::new();
        let address = address(self.endpoint.trim(), self.protocol)
            .map_err(|why| problems.push(("endpoint".to_owned(), why)))
            .ok();
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            match header(name, value) {
                Ok((name, value)) => drop(headers.insert(name, value)),
                Err(why) => problems.push((format!("headers.{name}"), why)),
            }
        }
        let (endpoint, tls, proxy) = (self.endpoint.trim(), self.tls.as_ref(), self.proxy.as_ref());
        let connection = match self.protocol {
            Protocol::Grpc => Connection::http2(endpoint, tls, proxy),
            Protocol::HttpProtobuf | Protocol::HttpJson => Connection::new(endpoint, tls, proxy),
        };
        let connection = connection.map_err(|wrong| problems.extend(wrong)).ok();
        match (address, connection) {
            (Some(address), Some(connection)) if problems.is_empty() => Ok(Target {
                address,
                protocol: self.protocol,
                compression: self.compression,
                headers,
                connection,
            }),
            _ => Err(problems),
        }
    }
}

fn address(text: &str, protocol: Protocol) -> Result<String, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!(
            "must say whether it is encrypted: write `https://{text}`, or `http://{text}` if it is not"
        ));
    };
    let uri: Uri = text.parse().map_err(|error| format!("is not an address: {error}"))?;
    if !matches!(scheme, "http" | "https") || uri.host().is_none_or(str::is_empty) {
        return Err("must begin with http:// or https:// and name a host".to_owned());
    }
    if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
        return Err("must not hold a user or password: use `headers: {authorization: …}`".to_owned());
    }
    if uri.query().is_some() {
        return Err("must have nothing behind its path".to_owned());
    }
    let path = uri.path().trim_end_matches('/');
    if protocol == Protocol::Grpc && !path.is_empty() {
        return Err("has a path, and gRPC has none: write host and port, or another `protocol`".to_owned());
    }
    if path.ends_with("/v1/traces") || path.ends_with("/v1/metrics") || path.ends_with("/v1/logs") {
        return Err("must not end with the path of a signal: that is added for each".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn header(name: &str, value: &Secret) -> Result<(HeaderName, HeaderValue), String> {
    let parsed =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a name of a header"))?;
    if RESERVED.contains(&parsed.as_str()) || parsed.as_str().starts_with("grpc-") {
        return Err(format!("`{parsed}` is set by the exporter itself"));
    }
    if parsed.as_str().ends_with("-bin") {
        return Err("headers of bytes (`-bin`) cannot be set".to_owned());
    }
    let mut value = HeaderValue::from_str(value.expose())
        .map_err(|_| "the value has characters that no header may have, such as a line break".to_owned())?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_whether_it_is_encrypted() {
        for (good, protocol, expected) in [
            ("https://otel:4317", Protocol::Grpc, "https://otel:4317"),
            ("http://otel:4317/", Protocol::Grpc, "http://otel:4317"),
            ("http://otel/base/", Protocol::HttpProtobuf, "http://otel/base"),
            ("http://[::1]:4318", Protocol::HttpJson, "http://[::1]:4318"),
        ] {
            assert_eq!(address(good, protocol).as_deref(), Ok(expected));
        }
        for (bad, why) in [
            ("otel:4317", "write `https://otel:4317`, or `http://otel:4317`"),
            ("ftp://otel", "must begin with http"),
            ("http://", "is not an address"),
            ("http://u:p@otel:4317", "must not hold a user"),
            ("http://otel:4317/v1", "has a path"),
            ("http://otel:4317?a=b", "nothing behind its path"),
        ] {
            let error = address(bad, Protocol::Grpc).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!(address("http://otel:4318/v1/traces", Protocol::HttpJson).unwrap_err().contains("is added"));
    }

    #[test]
    fn headers_are_checked_and_never_shown() {
        for bad in ["a b", "Content-Type", "grpc-timeout", "trace-bin"] {
            assert!(header(bad, &"s3cret".into()).is_err(), "{bad}");
        }
        let (_, value) = header("authorization", &"Bearer s3cret".into()).unwrap();
        assert!(!format!("{value:?}").contains("s3cret"));
        let error = header("x", &"s3cret\n".into()).unwrap_err();
        assert!(!error.contains("s3cret"));
    }
}
