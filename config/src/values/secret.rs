//! Secrets: a type that does not print itself, and the rule by which keys are known to hold one.

use std::fmt;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// The text shown in place of a secret.
pub(crate) const REDACTED: &str = "[REDACTED]";

/// A text that must not be seen. `Debug`, `Display` and `Serialize` give `[REDACTED]`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True for the empty text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// Words that make a key secret wherever they stand in it.
const SECRET_WORDS: [&str; 15] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "keypem",
    "authorization",
    "credential",
    // PagerDuty's.
    "routingkey",
    // librdkafka and Java clients take a login's secrets in one text.
    "oauthbearerconfig",
    "jaasconfig",
];

/// Endings that make a key harmless again: it names a file, not the secret.
const HARMLESS_ENDINGS: [&str; 4] = ["file", "path", "location", "url"];

/// True when the value of a key (and everything below it) is treated as secret.
///
/// The key is compared in lower case without `_`, `-` and `.`. It is secret when it contains `password`,
/// `passwd`, `passphrase`, `secret`, `token`, `api_key`, `access_key`, `private_key`, `signing_key`,
/// `key_pem`, `authorization`, `credential`, `routing_key`, `oauthbearer.config` or `jaas.config`, or is
/// exactly `cookie` or `headers` (any of them may be a login), unless it ends in `file`, `path`, `location`
/// or `url`. So `sasl.password` and `ssl_key_pem` are, `password_file` and `ssl.key.location` are not.
#[must_use]
pub fn is_secret_key(key: &str) -> bool {
    let key = normal(key);
    (matches!(&*key, "cookie" | "headers") || SECRET_WORDS.iter().any(|word| key.contains(word)))
        && !HARMLESS_ENDINGS.iter().any(|ending| key.ends_with(ending))
}

/// True when the value of a key is an address whose path or query may be a secret: robots' addresses hold
/// their token.
pub(crate) fn is_address_key(key: &str) -> bool {
    let key = normal(key);
    ["url", "urls", "uri"].iter().any(|ending| key.ends_with(ending))
}

fn normal(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-' | '.')).flat_map(char::to_lowercase).collect()
}

/// An address without what stands behind its host.
pub(crate) fn redact_address(text: &str) -> String {
    let text = redact_text(text);
    let Some(host) = text.find("://").map(|at| at + 3) else { return text };
    match text[host..].find(['/', '?', '#']).map(|at| host + at) {
        Some(at) if text.len() > at + 1 => format!("{}{REDACTED}", &text[..=at]),
        _ => text,
    }
}

/// Redacts line `number` (from 1) of a text for an excerpt: all of it when it lies below a secret key (a
/// value on lines of its own), else the rest of the line after the first `key:` whose key is secret. A value
/// that only names a variable (`${env:NAME}`) stays. `start` and `length` (characters) follow the change.
pub(crate) fn redact_line(text: &str, number: usize, start: usize, length: usize) -> (String, usize, usize) {
    let line = text.lines().nth(number.saturating_sub(1)).unwrap_or("");
    let blank = line.chars().take_while(|c| c.is_whitespace()).count();
    let cut = if is_below_secret(text, number) { Some(blank) } else { secret_key_end(line) };
    let Some(cut) = cut else { return (redact_line_text(line), start, length) };
    let gap = line.chars().skip(cut).take_while(|c| c.is_whitespace()).count();
    let kept: String = line.chars().take(cut + gap).collect();
    let tail: String = line.chars().skip(cut + gap).collect();
    if tail.is_empty() || names_only_a_variable(tail.trim()) {
        return (line.to_owned(), start, length);
    }
    let redacted = format!("{kept}{REDACTED}");
    if start >= cut + gap { (redacted, cut + gap, REDACTED.len()) } else { (redacted, start, length) }
}

/// A line without secret key: addresses behind a key of theirs lose what stands behind the host.
fn redact_line_text(line: &str) -> String {
    let line = redact_text(line);
    let Some(at) = line.find("://") else { return line };
    let before =
        line[..at].trim_end_matches(|c: char| c.is_alphanumeric() || matches!(c, '"' | '\'' | '+' | ' '));
    let is_address = before.strip_suffix([':', '=']).is_some_and(|before| {
        let key = before.trim_end_matches(['"', '\'', ' ']);
        is_address_key(key.rsplit(['{', ',', ' ', '"', '\'', '.']).next().unwrap_or(key))
    });
    let behind = at + 3;
    let Some(path) = line[behind..].find(['/', '?', '#']).map(|at| behind + at).filter(|_| is_address) else {
        return line;
    };
    let end = line[path..].find([' ', '"', '\'', ',', '}']).map_or(line.len(), |at| path + at);
    if end <= path + 1 { line } else { format!("{}{REDACTED}{}", &line[..=path], &line[end..]) }
}

/// True when a line that this one is indented below has a secret key.
fn is_below_secret(text: &str, number: usize) -> bool {
    // The item of a list may stand as far left as the key that holds the list.
    let indentation = |line: &str| {
        let blank = line.chars().take_while(|c| c.is_whitespace()).count();
        if line.trim_start().starts_with('-') { 2 * blank + 1 } else { 2 * blank }
    };
    let lines: Vec<&str> = text.lines().take(number).collect();
    let Some((line, above)) = lines.split_last() else { return false };
    let mut left = indentation(line);
    for line in above.iter().rev().filter(|line| !line.trim().is_empty()) {
        if left == 0 {
            break;
        }
        if indentation(line) < left {
            left = indentation(line);
            if secret_key_end(line).is_some() {
                return true;
            }
        }
    }
    false
}

/// Characters up to and with the `:` (or `=`) behind the first secret key of a line.
fn secret_key_end(line: &str) -> Option<usize> {
    let characters: Vec<char> = line.chars().collect();
    for (index, &c) in characters.iter().enumerate() {
        if !matches!(c, ':' | '=') {
            continue;
        }
        let word: Vec<char> = characters[..index]
            .iter()
            .rev()
            .skip_while(|c| matches!(c, '"' | '\'' | ' '))
            .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
            .copied()
            .collect();
        let word: String = word.into_iter().rev().collect();
        // Ids such as `webhook/token` name components, not secrets.
        let secret = is_secret_key(&word) && !word.contains('/');
        // `a.token.b=c` in a `--set` option: every part counts.
        if secret || (c == '=' && word.split('.').any(is_secret_key)) {
            return Some(index + 1);
        }
    }
    None
}

fn names_only_a_variable(text: &str) -> bool {
    let text = text.trim_matches(['"', '\'']);
    text.strip_prefix("${env:")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// Redacts secrets inside a harmless value: the password of `scheme://user:password@host`, and query
/// parameters such as `access_token=...`.
pub(crate) fn redact_text(text: &str) -> String {
    redact_query(&redact_userinfo(text))
}

fn redact_userinfo(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        let end = tail.find(['/', '?', '#', ' ', '"', '\'', ',']).unwrap_or(tail.len());
        let authority = &tail[..end];
        match authority.rsplit_once('@') {
            Some((user, host)) => {
                if let Some((name, _)) = user.split_once(':') {
                    out.push_str(name);
                    out.push(':');
                    out.push_str(REDACTED);
                } else {
                    out.push_str(user);
                }
                out.push('@');
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

/// Names of query parameters that are too short for keys of a configuration.
fn is_secret_parameter(name: &str) -> bool {
    is_secret_key(name) || matches!(&*normal(name), "key" | "sig" | "sign" | "signature" | "auth" | "pwd")
}

fn redact_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['?', '&']) {
        let (head, tail) = rest.split_at(at + 1);
        out.push_str(head);
        let end = tail.find(['?', '&', '#', ' ', '"', '\'']).unwrap_or(tail.len());
        match tail[..end].split_once('=') {
            Some((name, value)) if !value.is_empty() && is_secret_parameter(name) => {
                out.push_str(name);
                out.push('=');
                out.push_str(REDACTED);
            }
            _ => out.push_str(&tail[..end]),
        }
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "[REDACTED] [REDACTED] [REDACTED]");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn keys_are_secret_by_their_name() {
        for key in [
            "password",
            "sasl.password",
            "API-Key",
            "bearer_token",
            "Authorization",
            "ssl.key.pem",
            "client_secret",
            "sasl.oauthbearer.config",
            "sasl.jaas.config",
            "headers",
        ] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in ["brokers", "password_file", "ssl.key.location", "token_url", "group_by", "key"] {
            assert!(!is_secret_key(key), "{key}");
        }
    }

    #[test]
    fn passwords_inside_urls_and_queries_are_redacted() {
        assert_eq!(redact_text("http://u:p@h/x, http://v@i"), "http://u:[REDACTED]@h/x, http://v@i");
        assert_eq!(
            redact_text("http://h/?access_token=abc&x=1#f"),
            "http://h/?access_token=[REDACTED]&x=1#f"
        );
        assert_eq!(redact_text("http://h/send?key=abc&b=1"), "http://h/send?key=[REDACTED]&b=1");
        assert_eq!(redact_text("a & b = c?"), "a & b = c?");
    }

    #[test]
    fn addresses_of_robots_are_shown_to_the_host() {
        for (address, shown) in [
            ("https://open.feishu.cn/open-apis/bot/v2/hook/abc-1", "https://open.feishu.cn/[REDACTED]"),
            ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/[REDACTED]"),
            (
                "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k",
                "https://qyapi.weixin.qq.com/[REDACTED]",
            ),
            ("https://h?key=k", "https://h?[REDACTED]"),
            ("https://u:p@h:1/x", "https://u:[REDACTED]@h:1/[REDACTED]"),
            ("http://h:8080", "http://h:8080"),
            ("http://h:8080/", "http://h:8080/"),
            ("no address", "no address"),
        ] {
            assert_eq!(redact_address(address), shown);
        }
        assert!(is_address_key("url") && is_address_key("webhook_url") && !is_address_key("endpoint"));
        let text = "webhook:\n  url: https://h/hook/abc # x\n  {url: 'https://h/hook/abc', b: c}\n  see: https://h/docs\n  url: ${env:U}";
        let lines: Vec<String> = (2..=5).map(|number| redact_line(text, number, 0, 1).0).collect();
        assert_eq!(
            lines,
            [
                "  url: https://h/[REDACTED] # x",
                "  {url: 'https://h/[REDACTED]', b: c}",
                "  see: https://h/docs",
                "  url: ${env:U}"
            ]
        );
    }

    #[test]
    fn excerpts_show_no_secret_on_the_line_of_the_key_or_below_it() {
        let text = "a:\n  password: x # y\n  tokens:\n  - one\n  key_pem: |\n    two\n  user: z\n  secret: '${env:S}'\n";
        let lines: Vec<String> = (1..=8).map(|number| redact_line(text, number, 0, 1).0).collect();
        assert_eq!(
            lines,
            [
                "a:",
                "  password: [REDACTED]",
                "  tokens:",
                "  [REDACTED]",
                "  key_pem: [REDACTED]",
                "    [REDACTED]",
                "  user: z",
                "  secret: '${env:S}'"
            ]
        );
        assert_eq!(
            redact_line("k.sasl.password=x", 1, 16, 1),
            ("k.sasl.password=[REDACTED]".to_owned(), 16, 10)
        );
    }
}
