//! Addresses and headers, as they are written in a configuration.

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use weir_config::Secret;

/// Headers that the exporter sets itself.
const RESERVED: [&str; 6] =
    ["webhook-id", "webhook-timestamp", "webhook-signature", "content-length", "transfer-encoding", "host"];

/// The address of a server that speaks HTTP.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("must begin with http:// or https:// and name a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password: use `headers: {authorization: …}`".to_owned());
    }
    Ok(url)
}

/// A header, whose value is not shown.
pub(super) fn header(name: &str, value: &Secret) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = header_name(name)?;
    let mut value = HeaderValue::from_str(value.expose())
        .map_err(|_| "the value has characters that no header may have, such as a line break".to_owned())?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// A name that is not one of ours.
pub(super) fn header_name(name: &str) -> Result<HeaderName, String> {
    let parsed =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a name of a header"))?;
    if RESERVED.contains(&parsed.as_str()) {
        return Err(format!("`{parsed}` is set by the exporter itself"));
    }
    Ok(parsed)
}
