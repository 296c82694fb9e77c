//! The settings of the exporter.

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use weir_component::exporter_helper::{
    BatchConfig, BatchKeys, HelperConfig, QueueKeys, RetryConfig, RetryKeys,
};
use weir_config::{ByteSize, Duration, Secret, Tls};
use weir_http::{Connection, Proxy};

/// The section `webhook`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where alarms are sent. Secret, because robots' addresses hold their access token.
    pub(crate) url: Secret,
    /// The request's method.
    #[serde(default)]
    pub(crate) method: Method,
    /// Further headers.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Secret>,
    /// Whom to trust, and how to be known.
    #[serde(default)]
    pub(crate) tls: Option<Tls>,
    /// Through whom requests go.
    #[serde(default)]
    pub(crate) proxy: Option<Proxy>,
    /// Waiting batches.
    #[serde(default)]
    pub(crate) queue: QueueKeys,
    /// The size of a request.
    #[serde(default)]
    pub(crate) batch: BatchKeys,
    /// Retries after a failed request.
    #[serde(default)]
    pub(crate) retry: RetryKeys,
    /// How long one request may take.
    pub(crate) timeout: Option<Duration>,
}

/// `method`: the request's method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
}

/// The parts of every request that do not change.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) url: Url,
    pub(crate) method: reqwest::Method,
    pub(crate) headers: HeaderMap,
    pub(crate) connection: Connection,
}

/// Headers that the exporter sets itself.
const RESERVED: [&str; 6] =
    ["webhook-id", "webhook-timestamp", "webhook-signature", "content-length", "transfer-encoding", "host"];

impl Config {
    /// The settings of the queue in front of the exporter.
    #[must_use]
    pub(crate) fn helper(&self) -> HelperConfig {
        let defaults = HelperConfig {
            // Targets are advised to accept 20 KB; an alarm has about half a KB.
            batch: BatchConfig {
                max_rows: 20,
                max_bytes: ByteSize::mib(1),
                timeout: Duration::from_millis(100),
            },
            // An older alarm needs no answer at once; it can be replayed.
            retry: RetryConfig { max_elapsed_time: Duration::from_secs(15 * 60), ..RetryConfig::default() },
            timeout: Duration::from_secs(10),
            // No event waits for who wants to hear of alarms.
            detached: true,
            ..HelperConfig::default()
        };
        defaults.with(self.queue.clone(), self.batch, self.retry, self.timeout)
    }

    /// The parts of a request, or the faults: the key within the section, and why.
    pub(crate) fn target(&self) -> Result<Target, Vec<(String, String)>> {
        let mut problems = Vec::new();
        let url = parse_url(self.url.expose()).map_err(|why| problems.push(("url".to_owned(), why))).ok();
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            match header(name, value) {
                Ok((name, value)) => drop(headers.insert(name, value)),
                Err(why) => problems.push((format!("headers.{name}"), why)),
            }
        }
        let method = match self.method {
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
        };
        let connection = Connection::new(self.url.expose(), self.tls.as_ref(), self.proxy.as_ref());
        let connection = connection.map_err(|wrong| problems.extend(wrong)).ok();
        match (url, connection) {
            (Some(url), Some(connection)) if problems.is_empty() => {
                Ok(Target { url, method, headers, connection })
            }
            _ => Err(problems),
        }
    }
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("must begin with http:// or https:// and name a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password: use `headers: {authorization: …}`".to_owned());
    }
    Ok(url)
}

fn header(name: &str, value: &Secret) -> Result<(HeaderName, HeaderValue), String> {
    let parsed =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a name of a header"))?;
    if RESERVED.contains(&parsed.as_str()) {
        return Err(format!("`{parsed}` is set by the exporter itself"));
    }
    let mut value = HeaderValue::from_str(value.expose())
        .map_err(|_| "the value has characters that no header may have, such as a line break".to_owned())?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, headers: &[(&str, &str)]) -> Config {
        Config {
            url: url.into(),
            method: Method::Post,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect(),
            tls: None,
            proxy: None,
            queue: QueueKeys::default(),
            batch: BatchKeys::default(),
            retry: RetryKeys::default(),
            timeout: None,
        }
    }

    #[test]
    fn a_target_is_an_http_address_without_a_password() {
        assert!(config("https://robot/send?access_token=x", &[]).target().is_ok());
        for bad in ["robot/send", "ftp://robot", "http://u:p@robot", "http://u@robot", ""] {
            let problems = config(bad, &[]).target().unwrap_err();
            assert_eq!(problems[0].0, "url", "{bad}");
        }
    }

    #[test]
    fn no_input_waits_and_retries_end_after_fifteen_minutes_unless_told_otherwise() {
        let helper = config("http://robot", &[]).helper();
        assert!(helper.detached);
        assert_eq!(helper.retry.max_elapsed_time, Duration::from_secs(900));
        assert_eq!(helper.retry.max_interval, RetryConfig::default().max_interval);
    }

    #[test]
    fn headers_are_checked_and_their_values_never_shown() {
        let headers = [
            ("authorization", "Bearer s3cret"),
            ("Webhook-Id", "s3cret"),
            ("a b", "s3cret"),
            ("x", "s3cret\n"),
        ];
        let problems = config("http://robot", &headers).target().unwrap_err();
        let keys: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["headers.Webhook-Id", "headers.a b", "headers.x"]);
        assert!(!format!("{problems:?}").contains("s3cret"));
        let target = config("http://robot", &headers[..1]).target().unwrap();
        assert!(!format!("{target:?}").contains("s3cret"));
    }
}
