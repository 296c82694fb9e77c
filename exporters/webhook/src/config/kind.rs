//! The kind of a target, and which keys are for which kinds.

use serde::Deserialize;

/// `kind`: the tool that the alarms are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Weir's own JSON, or a template.
    #[default]
    Generic,
    /// The API of an Alertmanager.
    Alertmanager,
    /// A receiver of Alertmanager's webhooks.
    AlertmanagerWebhook,
    /// A receiver of SkyWalking's webhooks.
    Skywalking,
    /// A robot of DingTalk.
    Dingtalk,
    /// A robot of WeCom.
    Wecom,
    /// A robot of Feishu or Lark.
    Feishu,
    /// An incoming webhook of Slack.
    Slack,
    /// PagerDuty's Events API v2.
    Pagerduty,
    /// A mail server.
    Email,
}

/// Keys that only some kinds have, with those kinds.
pub(crate) const OWN_KEYS: [(&str, &[Kind]); 11] = {
    use Kind::{
        Alertmanager, AlertmanagerWebhook, Dingtalk, Email, Feishu, Generic, Pagerduty, Skywalking, Slack,
        Wecom,
    };
    [
        ("method", &[Generic]),
        ("template", &[Generic]),
        ("secret", &[Generic, AlertmanagerWebhook, Skywalking, Dingtalk, Feishu]),
        ("previous_secret", &[Generic, AlertmanagerWebhook, Skywalking]),
        ("recovery_url", &[Skywalking]),
        ("routing_key", &[Pagerduty]),
        ("mention", &[Dingtalk, Wecom, Feishu]),
        ("text", &[Dingtalk, Wecom, Feishu, Slack, Email]),
        ("time_zone", &[Dingtalk, Wecom, Feishu, Slack, Email]),
        ("email", &[Email]),
        ("expires", &[Alertmanager]),
    ]
};

impl Kind {
    /// The name in the configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Generic => "generic",
            Kind::Alertmanager => "alertmanager",
            Kind::AlertmanagerWebhook => "alertmanager_webhook",
            Kind::Skywalking => "skywalking",
            Kind::Dingtalk => "dingtalk",
            Kind::Wecom => "wecom",
            Kind::Feishu => "feishu",
            Kind::Slack => "slack",
            Kind::Pagerduty => "pagerduty",
            Kind::Email => "email",
        }
    }

    /// Whether requests are signed as Standard Webhooks are.
    pub(crate) fn has_standard_signature(self) -> bool {
        matches!(self, Kind::Generic | Kind::AlertmanagerWebhook | Kind::Skywalking)
    }

    /// Whether people read its messages: many alarms go into one.
    pub(crate) fn is_chat(self) -> bool {
        matches!(self, Kind::Dingtalk | Kind::Wecom | Kind::Feishu | Kind::Slack | Kind::Email)
    }

    /// Messages in a minute, at most; 0: no bound. Robots have these, less a little.
    pub(crate) fn max_per_minute(self) -> u32 {
        match self {
            Kind::Dingtalk | Kind::Wecom => 18,
            Kind::Feishu => 90,
            // One in a second.
            Kind::Slack => 60,
            // Nobody reads more.
            Kind::Email => 20,
            _ => 0,
        }
    }
}
