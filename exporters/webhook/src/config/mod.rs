//! The settings of the exporter.

mod address;
mod kind;
mod target;

use std::collections::BTreeMap;

use serde::Deserialize;
use weir_component::exporter_helper::{
    BatchConfig, BatchKeys, HelperConfig, QueueKeys, RetryConfig, RetryKeys,
};
use weir_config::{ByteSize, Duration, Secret, Tls};
use weir_http::Proxy;

pub(crate) use kind::Kind;
pub(crate) use target::Target;

use crate::notify::config::{NotifyKeys, Settings};
use crate::pace::Pace;

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
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use weir_config::ComponentId;

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
