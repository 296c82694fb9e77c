//! From the keys to the target that requests go to.

use chrono_tz::Tz;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use weir_alarms::Message;
use weir_config::{ComponentId, Duration};
use weir_http::Connection;

use super::address::{header, header_name, parse_url};
use super::kind::{Kind, OWN_KEYS};
use super::{Config, MentionKeys, Method};
use crate::email::{self, Mail, Mailbox};
use crate::payload::text::Wording;
use crate::payload::{Encoding, Form, Mention, Payload, Template};
use crate::signature;

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

/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// The path of Alertmanager's API for alerts.
const ALERTS: &str = "/api/v2/alerts";

impl Config {
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
