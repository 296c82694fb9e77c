//! The content of requests, by the kind of the target.

mod alertmanager;
mod generic;
mod mention;
mod pagerduty;
mod robots;
mod skywalking;
pub(crate) mod text;

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use weir_alarms::Message;
use weir_component::ExportError;

pub(crate) use generic::Encoding;
pub(crate) use mention::Mention;

use crate::alarm::Alarm;
use crate::email::Mail;
use crate::payload::text::Wording;
use crate::{request_id, signature};

/// One request, without what all requests of the target have.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) url: Url,
    /// Also `content-type`.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The same whenever the same alarms are sent.
    pub(crate) id: String,
}

/// The form of a target's requests, with what it needs.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    Generic {
        template: Option<Template>,
    },
    Alertmanager {
        expires_ms: i64,
    },
    AlertmanagerWebhook {
        receiver: String,
    },
    Skywalking {
        recovery: Option<Url>,
    },
    Dingtalk {
        secret: Option<String>,
        mention: Mention,
    },
    Wecom {
        mention: Mention,
    },
    Feishu {
        secret: Option<String>,
        mention: Mention,
    },
    Slack,
    Pagerduty {
        routing_key: String,
    },
    /// Not over HTTP.
    Email {
        mail: Mail,
    },
}

/// `template` of the generic kind.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) body: Option<Message>,
    pub(crate) headers: Vec<(HeaderName, Message)>,
    pub(crate) encoding: Encoding,
}

/// Makes requests out of alarms.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) url: Url,
    pub(crate) form: Form,
    pub(crate) wording: Wording,
    pub(crate) send_resolved: bool,
}

impl Payload {
    /// Those of the alarms that the target wants to hear of.
    pub(crate) fn wanted(&self, mut alarms: Vec<Alarm>) -> Vec<Alarm> {
        if !self.send_resolved {
            alarms.retain(Alarm::is_firing);
        }
        alarms
    }

    /// The requests that deliver these alarms, in order; none when the target wants none of them.
    ///
    /// # Errors
    /// The alarms fit into no request.
    pub(crate) fn requests(
        &self,
        alarms: &[Alarm],
        group: &BTreeMap<String, String>,
        now_ms: i64,
    ) -> Result<Vec<Request>, ExportError> {
        if alarms.is_empty() {
            return Ok(Vec::new());
        }
        let wording = &self.wording;
        let body = match &self.form {
            Form::Generic { template } => {
                return self.generic(template.as_ref(), alarms).map(|one| vec![one]);
            }
            Form::Skywalking { recovery } => return Ok(self.skywalking(recovery.as_ref(), alarms)),
            Form::Dingtalk { secret, mention } => {
                let body = robots::dingtalk(wording, mention, alarms);
                let mut request = self.json(&body, alarms);
                if let Some(secret) = secret {
                    let sign = signature::dingtalk(secret, now_ms).map_err(unsigned)?;
                    let mut query = request.url.query_pairs_mut();
                    query.append_pair("timestamp", &now_ms.to_string()).append_pair("sign", &sign);
                    drop(query);
                }
                return Ok(vec![request]);
            }
            Form::Pagerduty { routing_key } => {
                let event = |alarm| {
                    self.json(&pagerduty::event(wording, routing_key, alarm), std::slice::from_ref(alarm))
                };
                return Ok(alarms.iter().map(event).collect());
            }
            Form::Alertmanager { expires_ms } => alertmanager::alerts(wording, alarms, now_ms, *expires_ms),
            Form::AlertmanagerWebhook { receiver } => alertmanager::webhook(wording, receiver, group, alarms),
            Form::Wecom { mention } => robots::wecom(wording, mention, alarms),
            Form::Feishu { secret, mention } => {
                let seconds = now_ms.div_euclid(1000);
                let sign = secret.as_ref().map(|secret| signature::feishu(secret, seconds)).transpose();
                let signed = sign.map_err(unsigned)?.map(|sign| (seconds, sign));
                robots::feishu(wording, mention, alarms, signed)
            }
            Form::Slack => robots::slack(wording, alarms),
            Form::Email { .. } => return Ok(Vec::new()),
        };
        Ok(vec![self.json(&body, alarms)])
    }

    fn generic(&self, template: Option<&Template>, alarms: &[Alarm]) -> Result<Request, ExportError> {
        let mut request = self.request(generic::body(alarms), alarms);
        let Some(template) = template else { return Ok(request) };
        if let Some(body) = &template.body {
            request.body = generic::templated(body, template.encoding, alarms)?;
        }
        for (name, value) in &template.headers {
            let value = generic::render(value, Encoding::Plain, alarms)?;
            let value = HeaderValue::from_str(&value).map_err(|_| {
                ExportError::permanent(format!(
                    "`template.headers.{name}` gives characters that no header may have with these alarms"
                ))
            })?;
            request.headers.insert(name, value);
        }
        Ok(request)
    }

    /// Resolved alarms go to an address of their own, or nowhere.
    fn skywalking(&self, recovery: Option<&Url>, alarms: &[Alarm]) -> Vec<Request> {
        let (firing, resolved): (Vec<Alarm>, Vec<Alarm>) = alarms.iter().cloned().partition(Alarm::is_firing);
        let to = |url: &Url, alarms: &[Alarm]| Request {
            url: url.clone(),
            ..self.json(&skywalking::messages(alarms.iter()), alarms)
        };
        let mut requests = Vec::new();
        if !firing.is_empty() {
            requests.push(to(&self.url, &firing));
        }
        if let Some(recovery) = recovery.filter(|_| !resolved.is_empty()) {
            requests.push(to(recovery, &resolved));
        }
        requests
    }

    fn json(&self, body: &Value, alarms: &[Alarm]) -> Request {
        self.request(body.to_string().into_bytes(), alarms)
    }

    fn request(&self, body: Vec<u8>, alarms: &[Alarm]) -> Request {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Request { url: self.url.clone(), headers, body, id: request_id::id(alarms.iter()) }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn unsigned(error: openssl::error::ErrorStack) -> ExportError {
    ExportError::permanent(format!("the request cannot be signed: {error}"))
}
