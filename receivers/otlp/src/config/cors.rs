//! `cors`: which pages may send from a browser.

use serde::Deserialize;
use weir_config::Duration;

/// Which pages may send from a browser, with the keys of the Collector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CorsKeys {
    /// Origins, such as `https://shop.example`. A `*` stands for any characters.
    pub(crate) allowed_origins: Vec<String>,
    /// Headers that pages may set, besides those that they always may. `*` allows all.
    #[serde(default)]
    pub(crate) allowed_headers: Vec<String>,
    /// How long a browser may remember the answer.
    #[serde(default)]
    pub(crate) max_age: Option<Duration>,
}

impl CorsKeys {
    /// What is wrong: the key, and why.
    pub(crate) fn problems(&self, at: &str) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.allowed_origins.is_empty() {
            problems.push((
                format!("{at}.allowed_origins"),
                "names no origin: leave `cors` out to allow none".to_owned(),
            ));
        }
        for (index, header) in self.allowed_headers.iter().enumerate() {
            if header != "*" && hyper::header::HeaderName::from_bytes(header.as_bytes()).is_err() {
                let why = format!("`{header}` is not a name of a header");
                problems.push((format!("{at}.allowed_headers[{index}]"), why));
            }
        }
        problems
    }
}

/// Whether an origin is one of these patterns. Origins have no capital letters.
pub(crate) fn origins(patterns: &[String], origin: &str) -> bool {
    patterns.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), origin))
}

/// Whether `text` is `pattern`, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, mut pattern)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    while let Some((part, rest)) = pattern.split_once('*') {
        let Some(at) = text.find(part) else { return false };
        (text, pattern) = (&text[at + part.len()..], rest);
    }
    text.ends_with(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, origin, expected) in [
            ("https://shop.example", "https://shop.example", true),
            ("https://Shop.example", "https://shop.example", true),
            ("https://shop.example", "https://shop.example.evil", false),
            ("https://*.example", "https://a.example", true),
            ("https://*.example", "https://a.b.example", true),
            ("https://*.example", "https://example", false),
            ("https://*.example", "https://a.example.evil", false),
            ("*", "null", true),
            ("https://a*b*c", "https://abc", true),
            ("https://a*b*c", "https://a-b-c", true),
            ("https://a*b*c", "https://acb", false),
        ] {
            assert_eq!(origins(&[pattern.to_owned()], origin), expected, "{pattern} {origin}");
        }
    }
}
