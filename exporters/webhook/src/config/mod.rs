//! The settings of the exporter.

mod kind;

use std::collections::BTreeMap;

use chrono_tz::Tz;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use weir_alarms::Message;
use weir_component::exporter_helper::{
    BatchConfig, BatchKeys, HelperConfig, QueueKeys, RetryConfig, RetryKeys,
};
use weir_config::{ByteSize, ComponentId, Duration, Secret, Tls};
use weir_http::{Connection, Proxy};

pub(crate) use kind::Kind;
use kind::OWN_KEYS;

use crate::email::{self, Mail, Mailbox};
use crate::notify::config::{NotifyKeys, Settings};
use crate::pace::Pace;
use crate::payload::text::Wording;
use crate::payload::{Encoding, Form, Mention, Payload, Template};
use crate::signature;

/// The section `webhook`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The tool that the alarms are for.
    #[serde(default)]
    pub(crate) kind: Kind,
    /// Where alarms are sent. Secret, because robots' addresses hold their access token.
    url: Option<Secret>,
    /// Where SkyWalking's resolved alarms are sent.
    recovery_url: Option<Secret>,
    /// The request's method.
    method: Option<Method>,
    /// Further headers.
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    /// Signs requests.
    secret: Option<Secret>,
    /// Signs them too, while the secret is being replaced.
    previous_secret: Option<Secret>,
    /// PagerDuty's integration.
    routing_key: Option<Secret>,
    /// Body and headers in place of Weir's own.
    template: Option<TemplateKeys>,
    /// What a message says, in place of the usual lines.
    text: Option<String>,
    /// Where to look.
    link: Option<String>,
    /// Of the times in messages.
    time_zone: Option<String>,
    /// Whom a message calls.
    mention: Option<MentionKeys>,
    /// Sender, receivers and login of e-mails.
    email: Option<EmailKeys>,
    /// Whether resolved alarms are sent.
    #[serde(default = "yes")]
    send_resolved: bool,
    /// When an Alertmanager takes an alarm as over by itself.
    expires: Option<Duration>,
    /// Requests in a minute, at most.
    max_per_minute: Option<u32>,
    /// When people are told, and together with which others.
    notify: Option<NotifyKeys>,
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

/// `template`: body and headers in place of Weir's own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateKeys {
    /// The body.
    body: Option<String>,
    /// Headers.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// `email`: sender, receivers and login.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmailKeys {
    /// Who writes.
    from: String,
    /// Who reads.
    to: Vec<String>,
    /// The user, when the server asks for one.
    #[serde(default)]
    username: String,
    /// The user's password.
    #[serde(default)]
    password: Secret,
}

/// `mention`: whom a message calls.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MentionKeys {
    /// Everyone.
    all: bool,
    /// Ids of users.
    users: Vec<String>,
    /// Numbers of mobile phones.
    mobiles: Vec<String>,
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

/// All that requests need.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) payload: Payload,
    pub(crate) method: reqwest::Method,
    pub(crate) headers: HeaderMap,
    pub(crate) connection: Connection,
    /// The keys of Standard Webhooks.
    pub(crate) keys: Vec<Vec<u8>>,
    /// Requests in a minute, at most; 0: no bound.
    pub(crate) max_per_minute: u32,
    /// How long one request may take.
    pub(crate) timeout: Duration,
}

/// Headers that the exporter sets itself.
const RESERVED: [&str; 6] =
    ["webhook-id", "webhook-timestamp", "webhook-signature", "content-length", "transfer-encoding", "host"];

/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// The path of Alertmanager's API for alerts.
const ALERTS: &str = "/api/v2/alerts";

impl Config {
    /// The settings of the queue in front of the exporter.
    #[must_use]
    pub(crate) fn helper(&self) -> HelperConfig {
        let max_rows = match self.kind {
            // People read it.
            Kind::Generic if self.template.is_some() && self.notify.is_some() => 8192,
            // Targets are advised to accept 20 KB; an alarm has about half a KB.
            Kind::Generic | Kind::AlertmanagerWebhook | Kind::Skywalking => 20,
            // It takes 4 MB and answers once for all.
            Kind::Alertmanager => 100,
            // An event has one alarm.
            Kind::Pagerduty => 1,
            // A message tells of a storm in a few lines.
            Kind::Dingtalk | Kind::Wecom | Kind::Feishu | Kind::Slack | Kind::Email => 8192,
        };
        let defaults = HelperConfig {
            batch: BatchConfig { max_rows, max_bytes: ByteSize::mib(1), timeout: Duration::from_millis(100) },
            // An older alarm needs no answer at once; it can be replayed.
            retry: RetryConfig { max_elapsed_time: Duration::from_secs(15 * 60), ..RetryConfig::default() },
            timeout: Duration::from_secs(10),
            // No event waits for who wants to hear of alarms.
            detached: true,
            ..HelperConfig::default()
        };
        let mut helper = defaults.with(self.queue.clone(), self.batch, self.retry, self.timeout);
        if self.kind.is_chat() {
            // A storm is one message, also when its rows are many bytes.
            helper.batch.max_bytes = helper.batch.max_bytes.max(ByteSize::mib(8));
        }
        if self.kind == Kind::Pagerduty {
            // Each has a request of its own, and one that fails must not repeat the others.
            helper.batch.max_rows = 1;
        }
        if !helper.timeout.is_zero() {
            // Of two requests at most; the turn of each is waited for before it is sent.
            helper.timeout = Duration::from(helper.timeout.get() * 2 + Pace::longest(self.per_minute()) * 8);
        }
        helper
    }

    /// The settings of `notify`, and of the queue in front of it, which takes more at once.
    pub(crate) fn notified(&self, helper: HelperConfig) -> (Option<Settings>, HelperConfig) {
        let Some(notify) = &self.notify else { return (None, helper) };
        let rows = helper.batch.max_rows;
        let digests = rows > 1 && (self.kind.is_chat() || self.template.is_some());
        let tells_all = self.kind == Kind::AlertmanagerWebhook;
        let settings = notify.settings(rows, digests, tells_all, self.send_resolved);
        let batch = BatchConfig { max_rows: rows.max(8192), ..helper.batch };
        (Some(settings), HelperConfig { batch, ..helper })
    }

    /// The faults of `notify`.
    pub(crate) fn notify_problems(&self) -> Vec<(String, String)> {
        let problems = self.notify.as_ref().map(NotifyKeys::problems).unwrap_or_default();
        problems.into_iter().map(|(key, why)| (format!("notify.{key}"), why)).collect()
    }

    fn per_minute(&self) -> u32 {
        self.max_per_minute.unwrap_or_else(|| self.kind.max_per_minute())
    }

    /// The target, or the faults: the key within the section, and why.
    pub(crate) fn target(&self, id: &ComponentId) -> Result<Target, Vec<(String, String)>> {
        let mut faults = Faults(self.foreign_keys());
        let mut url = self.address(&mut faults);
        if let Some(url) =
            url.as_mut().filter(|url| self.kind == Kind::Alertmanager && !url.path().ends_with(ALERTS))
        {
            let path = format!("{}{ALERTS}", url.path().trim_end_matches('/'));
            url.set_path(&path);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            match header(name, value) {
                Ok((name, value)) => drop(headers.insert(name, value)),
                Err(why) => faults.at(&format!("headers.{name}"), why),
            }
        }
        let method = match self.method.unwrap_or_default() {
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
        };
        let keys = self.standard_keys(&mut faults);
        let form = self.form(id, &headers, &mut faults);
        let wording = Wording {
            text: faults.template("text", self.text.as_deref()),
            link: faults.template("link", self.link.as_deref()),
            zone: self.zone(&mut faults),
        };
        let http = url.as_ref().filter(|_| self.kind != Kind::Email);
        let address = http.map_or("https://none", Url::as_str);
        let connection = Connection::new(address, self.tls.as_ref(), self.proxy.as_ref());
        let connection = connection.map_err(|wrong| faults.0.extend(wrong)).ok();
        match (url, form, connection) {
            (Some(url), Some(form), Some(connection)) if faults.0.is_empty() => Ok(Target {
                kind: self.kind,
                payload: Payload { url, form, wording, send_resolved: self.send_resolved },
                method,
                headers,
                connection,
                keys,
                max_per_minute: self.per_minute(),
                timeout: self.timeout.unwrap_or(Duration::from_secs(10)),
            }),
            _ => Err(faults.0),
        }
    }

    /// Keys that are for other kinds.
    fn foreign_keys(&self) -> Vec<(String, String)> {
        let given = |key: &str| match key {
            "method" => self.method.is_some(),
            "template" => self.template.is_some(),
            "secret" => self.secret.is_some(),
            "previous_secret" => self.previous_secret.is_some(),
            "recovery_url" => self.recovery_url.is_some(),
            "routing_key" => self.routing_key.is_some(),
            "mention" => self.mention.is_some(),
            "text" => self.text.is_some(),
            "time_zone" => self.time_zone.is_some(),
            "email" => self.email.is_some(),
            _ => self.expires.is_some(),
        };
        let foreign = OWN_KEYS.into_iter().filter(|(key, kinds)| given(key) && !kinds.contains(&self.kind));
        let fault = |(key, kinds): (&str, &[Kind])| {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            let own = self.kind.name();
            (key.to_owned(), format!("is not for the kind `{own}`; it is for {}", kinds.join(", ")))
        };
        foreign.map(fault).collect()
    }

    fn address(&self, faults: &mut Faults) -> Option<Url> {
        let text = match &self.url {
            Some(url) => url.expose(),
            None if self.kind == Kind::Pagerduty => PAGERDUTY,
            None => {
                faults.at("", "`url` is missing: say where alarms are sent".to_owned());
                return None;
            }
        };
        let url = if self.kind == Kind::Email {
            let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"));
            url.and_then(|url| email::check_url(&url).map(|()| url))
        } else {
            parse_url(text)
        };
        url.map_err(|why| faults.at("url", why)).ok()
    }

    fn standard_keys(&self, faults: &mut Faults) -> Vec<Vec<u8>> {
        if !self.kind.has_standard_signature() {
            return Vec::new();
        }
        let secrets = [("secret", &self.secret), ("previous_secret", &self.previous_secret)];
        let given = secrets.into_iter().filter_map(|(key, secret)| Some((key, secret.as_ref()?)));
        let mut keys = Vec::new();
        for (name, secret) in given {
            match signature::standard_key(secret.expose()) {
                Ok(key) => keys.push(key),
                Err(why) => faults.at(name, why),
            }
        }
        keys
    }

    fn form(&self, id: &ComponentId, headers: &HeaderMap, faults: &mut Faults) -> Option<Form> {
        let secret = || self.secret.as_ref().map(|secret| secret.expose().to_owned());
        let mention = || {
            let MentionKeys { all, users, mobiles } = self.mention.clone().unwrap_or_default();
            Mention { all, users, mobiles }
        };
        Some(match self.kind {
            Kind::Generic => Form::Generic { template: self.template(headers, faults) },
            Kind::Alertmanager => {
                let expires = self.expires.unwrap_or(Duration::from_secs(24 * 3600));
                Form::Alertmanager { expires_ms: expires.as_millis() }
            }
            Kind::AlertmanagerWebhook => Form::AlertmanagerWebhook { receiver: id.to_string() },
            Kind::Skywalking => {
                let recovery = self.recovery_url.as_ref().map(|url| parse_url(url.expose())).transpose();
                Form::Skywalking { recovery: recovery.map_err(|why| faults.at("recovery_url", why)).ok()? }
            }
            Kind::Dingtalk => Form::Dingtalk { secret: secret(), mention: mention() },
            Kind::Wecom => {
                let mention = mention();
                if !mention.mobiles.is_empty() {
                    faults.at("mention.mobiles", "WeCom's markdown calls `users` only".to_owned());
                }
                Form::Wecom { mention }
            }
            Kind::Feishu => {
                let mention = mention();
                if !mention.mobiles.is_empty() {
                    faults.at("mention.mobiles", "Feishu's cards call `users` only".to_owned());
                }
                Form::Feishu { secret: secret(), mention }
            }
            Kind::Slack => Form::Slack,
            Kind::Email => Form::Email { mail: self.mail(faults)? },
            Kind::Pagerduty => {
                let Some(key) = &self.routing_key else {
                    faults.at("", "`routing_key` is missing: it is the key of the integration".to_owned());
                    return None;
                };
                Form::Pagerduty { routing_key: key.expose().to_owned() }
            }
        })
    }

    fn mail(&self, faults: &mut Faults) -> Option<Mail> {
        let Some(keys) = &self.email else {
            faults.at("", "`email` is missing: say `from` whom `to` whom".to_owned());
            return None;
        };
        for (key, given) in [("headers", !self.headers.is_empty()), ("proxy", self.proxy.is_some())] {
            if given {
                faults.at(key, "is not for the kind `email`".to_owned());
            }
        }
        let mut mailbox = |key: &str, text: &str| {
            let parsed = Mailbox::parse(text);
            if parsed.is_none() {
                faults
                    .at(key, format!("`{text}` is not an address: write `Name <user@host>` or `user@host`"));
            }
            parsed
        };
        let from = mailbox("email.from", &keys.from);
        let to: Vec<Option<Mailbox>> = keys
            .to
            .iter()
            .enumerate()
            .map(|(number, to)| mailbox(&format!("email.to[{number}]"), to))
            .collect();
        if to.is_empty() {
            faults.at("email.to", "must name at least one address".to_owned());
        }
        let login = (keys.username.clone(), keys.password.expose().to_owned());
        Some(Mail {
            from: from?,
            to: to.into_iter().collect::<Option<Vec<_>>>()?,
            login: Some(login).filter(|(user, _)| !user.is_empty()),
        })
    }

    fn template(&self, headers: &HeaderMap, faults: &mut Faults) -> Option<Template> {
        let template = self.template.as_ref()?;
        let mut made = Vec::new();
        for (name, value) in &template.headers {
            let key = format!("template.headers.{name}");
            let value = faults.template(&key, Some(value));
            match header_name(name) {
                Ok(name) => made.extend(value.map(|value| (name, value))),
                Err(why) => faults.at(&key, why),
            }
        }
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Some(Template {
            body: faults.template("template.body", template.body.as_deref()),
            headers: made,
            encoding: Encoding::of(content_type.unwrap_or("application/json")),
        })
    }

    fn zone(&self, faults: &mut Faults) -> Tz {
        let Some(name) = &self.time_zone else { return Tz::UTC };
        name.parse().unwrap_or_else(|_| {
            faults.at(
                "time_zone",
                format!("there is no time zone `{name}`; write a name such as UTC or Asia/Shanghai"),
            );
            Tz::UTC
        })
    }
}

/// What is wrong: the key within the section, and why.
struct Faults(Vec<(String, String)>);

impl Faults {
    fn at(&mut self, key: &str, why: String) {
        self.0.push((key.to_owned(), why));
    }

    fn template(&mut self, key: &str, text: Option<&str>) -> Option<Message> {
        Message::parse(text?).map_err(|error| self.at(key, error.to_string())).ok()
    }
}

fn yes() -> bool {
    true
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
    let parsed = header_name(name)?;
    let mut value = HeaderValue::from_str(value.expose())
        .map_err(|_| "the value has characters that no header may have, such as a line break".to_owned())?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    let parsed =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a name of a header"))?;
    if RESERVED.contains(&parsed.as_str()) {
        return Err(format!("`{parsed}` is set by the exporter itself"));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, headers: &[(&str, &str)]) -> Config {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value)));
        let empty = serde_json::from_value::<Config>(serde_json::json!({"url": url})).unwrap();
        Config { headers: headers.collect(), ..empty }
    }

    fn id() -> ComponentId {
        "webhook".parse().unwrap()
    }

    #[test]
    fn a_target_is_an_http_address_without_a_password() {
        assert!(config("https://robot/send?access_token=x", &[]).target(&id()).is_ok());
        for bad in ["robot/send", "ftp://robot", "http://u:p@robot", "http://u@robot", ""] {
            let problems = config(bad, &[]).target(&id()).unwrap_err();
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
        let problems = config("http://robot", &headers).target(&id()).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["headers.Webhook-Id", "headers.a b", "headers.x"]);
        assert!(!format!("{problems:?}").contains("s3cret"));
        let target = config("http://robot", &headers[..1]).target(&id()).unwrap();
        assert!(!format!("{target:?}").contains("s3cret"));
    }
}
